"""Protects: a batch in shares has the images of the whole one, and small work is left whole."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from monge.serving import shares as module
from monge.serving.sampler import Sampler
from monge.serving.shares import EACH, LOOKS, Shares
from tests.running import DIM, SHARES, write


class Session:
    """Draws the first number of each row, slowly if asked, and notes who asked for how much."""

    def __init__(self, image_s: float = 0.0) -> None:
        self.image_s, self.seen = image_s, list[tuple[int, str]]()
        self.under_way, self.most = 0, 0  # at a time

    def run(self, _, feeds):
        rows = feeds["latents"]
        self.seen.append((len(rows), threading.current_thread().name))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        time.sleep(self.image_s * len(rows))
        self.under_way -= 1
        return [(rows[:, :1] + feeds["labels"][:, None]).astype(np.uint8)]


def feeds(n: int) -> dict[str, np.ndarray]:
    return {"latents": np.arange(2 * n).reshape(n, 2) % 200, "labels": np.arange(n) % 7}


def test_large_batches_are_cut_once_they_have_been_timed(monkeypatch):
    monkeypatch.setattr(module, "_SURELY_S", math.inf)
    whole, single, opened = Session(0.0002), Session(0.01), list[Session]()

    def start() -> Session:
        opened.append(single)
        return single

    drawing = Shares(whole, start, 3)
    n = 3 * EACH + 2
    expected = whole.run(None, feeds(n))[0]
    whole.seen.clear()
    for _ in range(LOOKS + 2):
        assert np.array_equal(drawing.draw(feeds(n)), expected)
    assert [size for size, _ in whole.seen] == [n] * LOOKS
    assert sorted(size for size, _ in single.seen) == [8, 8, 9, 9, 9, 9]
    assert len({name for _, name in single.seen}) == 3
    assert opened == [single]


def test_a_batch_that_surely_pays_is_timed_twice():
    whole, single = Session(0.002), Session()
    drawing = Shares(whole, lambda: single, 2)
    for _ in range(4):
        drawing.draw(feeds(40))
    assert [size for size, _ in whole.seen] == [40, 40]


def test_a_size_is_not_judged_by_another_one(monkeypatch):
    """A call has costs of its own: an image of a small batch takes longer."""
    monkeypatch.setattr(module, "_SURELY_S", math.inf)
    whole = Session()
    drawing = Shares(whole, lambda: pytest.fail("nothing is to be cut"), 2)
    whole.image_s = 0.0004
    for _ in range(LOOKS):
        drawing.draw(feeds(2))
        drawing.draw(feeds(16))
    whole.image_s = 0.0
    for _ in range(LOOKS + 1):
        drawing.draw(feeds(512))


def test_shares_of_two_batches_go_to_one_pool():
    whole, single = Session(0.001), Session(0.001)
    drawing = Shares(whole, lambda: single, 2)
    for _ in range(2):
        drawing.draw(feeds(32))
    expected = whole.run(None, feeds(32))[0]
    with ThreadPoolExecutor(2) as callers:
        for images in callers.map(lambda _: drawing.draw(feeds(32)), range(12)):
            assert np.array_equal(images, expected)
    assert 2 <= single.most <= 3  # three for a moment, when one begins alone and another follows


def test_one_thread_is_one_however_many_draw():
    whole = Session(0.001)
    drawing = Shares(whole, lambda: pytest.fail("nothing is to be cut"), 1)
    began_s = time.monotonic()
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda _: drawing.draw(feeds(20)), range(4)))
    assert time.monotonic() - began_s >= 0.08


@pytest.mark.parametrize(("n", "threads", "image_s"), [(23, 3, 0.001), (200, 1, 1e-4), (24, 3, 0)])
def test_few_images_one_thread_and_quick_networks_are_left_whole(monkeypatch, n, threads, image_s):
    if not image_s:  # quick is what a busy machine makes of no work at all
        monkeypatch.setattr(module, "WORTH_S", 1.0)
    whole = Session(image_s)
    drawing = Shares(whole, lambda: pytest.fail("nothing is to be cut"), threads)
    for _ in range(LOOKS + 3):
        drawing.draw(feeds(n))
    assert {size for size, _ in whole.seen} == {n}


@pytest.mark.parametrize("form", ["wide", "conditional"])
def test_images_have_the_same_bits_in_shares_from_several_threads(
    form, conditional, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "WORTH_S", 0.0)
    path = conditional if form == "conditional" else write(tmp_path / "wide.onnx", features=16)
    sampler = Sampler.load(path, "cpu", threads=3)
    reference = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    dice = np.random.default_rng(0)
    batch = dice.standard_normal((257, DIM)).astype(np.float32)
    labels = dice.integers(0, len(SHARES), 257) if form == "conditional" else None
    given = {"latents": batch} | ({} if labels is None else {"labels": labels})
    expected = reference.run(["images"], given)[0]

    def draw(n: int) -> bool:
        images = sampler.run(batch[:n], None if labels is None else labels[:n])
        return np.array_equal(images, expected[:n])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(draw, [1, 2, 3, 7, 24, 25, 64, 257] * 4))
    assert sampler._session._shares is not None
    assert sampler._session._shares._single is not None


def test_calibration_decides_before_the_first_client_comes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "WORTH_S", 0.0)
    for _ in range(2):  # also where the batch size is known
        sampler = Sampler.load(write(tmp_path / "wide.onnx", features=16), "cpu", threads=2)
        sampler.calibrate()
        assert sampler._session._shares is not None
        assert sampler._session._shares._single is not None
