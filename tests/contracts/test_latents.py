"""monge latents v1: the same bits in numpy, plain Python and JavaScript, and truly normal."""

from __future__ import annotations

import json
import math
import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from monge import normals as module
from monge.errors import InputError
from monge.latents import latents, latents_of, share_within, slerp
from monge.normals import normal, philox

HERE = Path(__file__).parent
VECTORS: list[dict[str, Any]] = json.loads((HERE / "latents.json").read_text())
ONES = 0xFFFFFFFF


def _hex(values: np.ndarray) -> list[str]:
    return [f"{word:08x}" for word in values.ravel().view(np.uint32)]


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ONES,) * 4, (ONES,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_answers_of_random123(
    counter: tuple[int, int, int, int], key: tuple[int, int], words: str
) -> None:
    assert " ".join(f"{int(word):08x}" for word in philox(counter, key)) == words


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['seed']}-{v['first']}-{v['dim']}")
def test_latents_are_the_committed_bits(vector: dict[str, Any]) -> None:
    drawn = latents(int(vector["seed"]), int(vector["first"]), vector["count"], vector["dim"])
    assert drawn.dtype == np.float32
    assert _hex(drawn) == vector["float32"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['seed']}-{v['first']}-{v['dim']}")
def test_a_plain_python_twin_gives_the_same_bits(vector: dict[str, Any]) -> None:
    seed, first = int(vector["seed"]), int(vector["first"])
    values = [
        _twin(seed, first + row, column)
        for row in range(vector["count"])
        for column in range(vector["dim"])
    ]
    assert [f"{word:08x}" for word in values] == vector["float32"]


def test_a_javascript_twin_gives_the_same_bits() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here; the plain Python twin above did the comparison")
    for vector in VECTORS:
        arguments = [str(vector[key]) for key in ("seed", "first", "count", "dim")]
        done = subprocess.run(
            [node, str(HERE / "latents.mjs"), *arguments],
            capture_output=True, text=True, check=True, timeout=400,
        )  # fmt: skip
        assert done.stdout.split() == vector["float32"]


@pytest.mark.parametrize("truncation", [0.01, 0.5, 1.7, 6.0])
def test_a_javascript_twin_truncates_to_the_same_bits(truncation: float) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here")
    command = [node, str(HERE / "latents.mjs"), "9", "3", "40", "50", str(truncation)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=400)
    expected = latents(9, 3, 40, 50, truncation).view(np.uint32).ravel()
    assert done.stdout.split() == [f"{word:08x}" for word in expected]


@pytest.mark.parametrize("word", [0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 322122547])
def test_the_twin_agrees_at_the_edges_of_the_word(word: int) -> None:
    got = normal(np.array([word], np.uint64)).astype(np.float32)
    assert int(got.view(np.uint32)[0]) == _twin_normal(word)


def test_the_inverse_distribution_agrees_with_scipy() -> None:
    edge = np.arange(20_000, dtype=np.uint64)
    middle = np.random.default_rng(0).integers(0, 2**32, 300_000, dtype=np.uint64)
    words = np.concatenate([edge, np.uint64(2**32 - 1) - edge, middle])
    expected = special.ndtri((words.astype(np.float64) + 0.5) / 2.0**32)
    np.testing.assert_allclose(normal(words), expected, rtol=1e-13, atol=0)


def test_latents_are_standard_normal_and_uncorrelated() -> None:
    drawn = latents(7, 0, 20_000, 64).astype(np.float64)
    moments = [drawn.mean(), drawn.var(), stats.skew(drawn, None), stats.kurtosis(drawn, None)]
    n = drawn.size
    for value, expected, variance in zip(moments, (0, 1, 0, 0), (1, 2, 6, 24), strict=True):
        assert abs(value - expected) < 5 * math.sqrt(variance / n)
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    correlation = np.corrcoef(drawn, rowvar=False) - np.eye(64)
    assert np.abs(correlation).max() < 6 / math.sqrt(len(drawn))


@pytest.mark.parametrize(
    "other",
    [(8, 0), (7 + 2**32, 0), (7, 2000), (7, 2**32)],
    ids=["seed", "high-seed", "index", "high-index"],
)
def test_other_seeds_and_indices_give_unrelated_latents(other: tuple[int, int]) -> None:
    a = latents(7, 0, 2000, 32).ravel()
    b = latents(*other, 2000, 32).ravel()
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / math.sqrt(a.size)


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**64 - 1),
    first=st.integers(0, 2**64 - 200),
    cut=st.integers(0, 100),
    dim=st.integers(1, 40),
)
def test_a_row_does_not_depend_on_the_rows_drawn_with_it(
    seed: int, first: int, cut: int, dim: int
) -> None:
    whole = latents(seed, first, 100, dim)
    parts = [latents(seed, first, cut, dim), latents(seed, first + cut, 100 - cut, dim)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_a_row_is_the_same_where_many_are_drawn_in_chunks() -> None:
    rows = module.AT_A_TIME // 64
    count = 3 * rows + 5
    whole = latents(3, 10, count, 64)
    for row in (0, rows - 1, rows, rows + 1, count - 1):
        np.testing.assert_array_equal(whole[row], latents(3, 10 + row, 1, 64)[0])


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**64 - 1),
            st.none() | st.floats(0.01, 6.0),
        ),
        max_size=20,
    ),
    dim=st.integers(1, 40),
)
def test_rows_of_any_seeds_and_truncations_drawn_together_are_those_drawn_alone(
    rows: list[tuple[int, int, float | None]], dim: int
) -> None:
    seeds = np.array([seed for seed, _, _ in rows], np.uint64)
    indices = np.array([index for _, index, _ in rows], np.uint64)
    kept = np.array([1.0 if t is None else share_within(t) for _, _, t in rows])
    drawn = latents_of(seeds, indices, kept, dim)
    assert drawn.shape == (len(rows), dim)
    for row, (seed, index, truncation) in zip(drawn, rows, strict=True):
        assert _hex(row) == _hex(latents(seed, index, 1, dim, truncation)[0])


def test_many_rows_of_as_many_seeds_are_those_drawn_alone() -> None:
    count = 2 * module.AT_A_TIME // 64 + 3
    seeds = np.arange(count, dtype=np.uint64) * np.uint64(2**40 + 1)
    indices, kept = seeds[::-1].copy(), np.linspace(0.5, 1.0, count)
    drawn = latents_of(seeds, indices, kept, 64)
    for row in (0, 1, 511, 512, 513, 1024, count - 1):
        one = slice(row, row + 1)
        np.testing.assert_array_equal(
            drawn[one], latents_of(seeds[one], indices[one], kept[one], 64)
        )


def test_threads_do_not_draw_into_each_others_memory() -> None:
    expected = [latents(seed, 0, 700, 64) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            drawn = threads.map(lambda seed: latents(seed, 0, 700, 64), range(4))
            for ours, alone in zip(drawn, expected, strict=True):
                np.testing.assert_array_equal(ours, alone)


def test_a_truncation_that_is_no_number_is_refused_even_after_its_equal() -> None:
    share_within(1.0)
    for wrong in (True, "1", [1.0]):
        with pytest.raises(InputError, match="must be a number"):
            share_within(wrong)  # type: ignore[arg-type]


def test_a_shorter_latent_begins_like_a_longer_one() -> None:
    np.testing.assert_array_equal(latents(1, 2, 3, 5), latents(1, 2, 3, 9)[:, :5])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((-1, 0, 1, 4), "seed"),
        ((2**64, 0, 1, 4), "seed"),
        ((0, -1, 1, 4), "indices"),
        ((0, 2**64, 1, 4), "indices"),
        ((0, 2**64 - 1, 2, 4), "indices"),
        ((0, 0, -1, 4), "number of latents"),
        ((0, 0, 1, 0), "dimension"),
        ((0, 0, 1, 65_537), "dimension"),
    ],
)
def test_what_lies_outside_is_refused(arguments: tuple[int, int, int, int], told: str) -> None:
    with pytest.raises(InputError, match=told):
        latents(*arguments)


def test_no_latents_are_an_empty_array() -> None:
    assert latents(0, 2**64, 0, 4).shape == (0, 4)


def test_slerp_keeps_the_ends_and_turns_evenly() -> None:
    a, b = np.array([2.0, 0.0]), np.array([0.0, 2.0])
    steps = slerp(a, b, np.linspace(0, 1, 4))
    angles = np.radians([0, 30, 60, 90])
    expected = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(steps, expected, atol=1e-6)
    drawn = latents(0, 0, 2, 64)
    np.testing.assert_array_equal(slerp(drawn[0], drawn[1], 0.0), drawn[0])
    np.testing.assert_array_equal(slerp(drawn[0], drawn[1], 1.0), drawn[1])


def test_slerp_is_stable_where_the_arc_vanishes_or_is_not_defined() -> None:
    a = latents(0, 0, 1, 64)[0].astype(np.float64)
    nearly = a * (1 + 1e-9)
    np.testing.assert_allclose(slerp(a, nearly, 0.3), a, rtol=1e-6)
    turned = a + 1e-5 * latents(0, 1, 1, 64)[0]
    np.testing.assert_allclose(slerp(a, turned, 0.5), (a + turned) / 2, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(slerp(a, -a, 0.25), 0.5 * a, rtol=1e-5)
    np.testing.assert_allclose(slerp(np.zeros(64), a, 0.5), 0.5 * a, rtol=1e-6)


# A scalar twin, written from docs/reference/latents.md: integers, floats, no numpy.


def _twin(seed: int, index: int, column: int) -> int:
    counter = [column // 4, index % 2**32, index >> 32, 0]
    key = [seed % 2**32, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b % 2**32,
                   (a >> 32) ^ counter[3] ^ key[1], a % 2**32]  # fmt: skip
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return _twin_normal(counter[column % 4])


def _twin_normal(word: int) -> int:
    p = (word + 0.5) / 4294967296.0
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        value = q * (_polynomial(module._CENTRE_TOP, r) / _polynomial(module._CENTRE_BOTTOM, r))
    else:
        r = math.sqrt(-_twin_log(min(p, 1.0 - p))) - 1.6
        value = _polynomial(module._TAIL_TOP, r) / _polynomial(module._TAIL_BOTTOM, r)
        value = -value if q < 0 else value
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def _twin_log(x: float) -> float:
    exponent = 0
    while x < 0.7071067811865476:
        x, exponent = x * 2.0, exponent - 1
    s = (x - 1.0) / (x + 1.0)
    return exponent * 0.6931471805599453 + 2.0 * (
        s * _polynomial([1.0 / k for k in range(23, 0, -2)], s * s)
    )


def _polynomial(coefficients: Any, x: float) -> float:
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return float(value)
