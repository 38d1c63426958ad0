"""Which images a judgement rests on: sizes, disjointness, and the bounds that keep it fair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monge.data.packed import PackedDataset
from monge.data.writer import PackedWriter
from monge.evaluation.evidence import Evidence
from monge.params import EvaluateParams


def _dataset(folder: Path, train: int, held_out: int, side: int = 4) -> PackedDataset:
    generator = np.random.default_rng(0)
    with PackedWriter(folder, (1, side, side)) as writer:
        for split, count in (("train", train), ("validation", held_out)):
            pixels = generator.integers(0, 256, (count, 1, side, side), dtype=np.uint8)
            writer.append(split, pixels)  # type: ignore[arg-type]
        return writer.finish()


def _numbered(first: int, count: int) -> np.ndarray:
    """Image i carries i in its first two pixels."""
    images = np.zeros((count, 4, 4, 1), np.uint8)
    numbers = np.arange(first, first + count)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = numbers // 256, numbers % 256
    return images


@pytest.mark.parametrize(
    ("images", "held_out", "subsets", "size"),
    [(5000, 360, 14, 357), (5000, 4000, 5, 1000), (600, 360, 5, 120), (5000, 3, 5, 1000)],
)
def test_a_subset_is_never_larger_than_the_held_out_split_that_gives_its_floor(
    tmp_path: Path, images: int, held_out: int, subsets: int, size: int
) -> None:
    dataset = _dataset(tmp_path / "d", 1500, held_out)
    evidence = Evidence(_numbered, dataset, EvaluateParams(images=images), "x")
    assert (evidence.subsets, evidence.subset_size) == (subsets, size)
    assert evidence.transport_size == min(1000, size)


def test_subsets_of_generated_images_are_disjoint_and_within_the_count(tmp_path: Path) -> None:
    params = EvaluateParams(images=700, repeats=5, batch_size=33)
    evidence = Evidence(_numbered, _dataset(tmp_path / "d", 400, 100), params, "x")
    size = evidence.subset_size
    seen = np.concatenate([evidence.generated_subset(k, size) for k in range(evidence.subsets)])
    numbers = seen[:, 0, 0, 0].astype(int) * 256 + seen[:, 0, 0, 1]
    assert numbers.tolist() == list(range(size * evidence.subsets))
    assert len(numbers) <= 700


def test_real_images_are_chosen_once_each_by_the_seed(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path / "d", 400, 100)
    first, second, other = (
        Evidence(_numbered, dataset, EvaluateParams(images=200, seed=seed), "x")
        for seed in (0, 0, 1)
    )
    assert len(set(first.reference.tolist())) == len(first.reference) == 200
    assert sorted(first.held_out.tolist()) == list(range(100))
    np.testing.assert_array_equal(first.reference, second.reference)
    assert (first.reference != other.reference).any()


def test_large_images_are_compared_in_smaller_subsets_to_bound_the_memory(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path / "d", 1000, 1000, side=64)
    dataset.image_shape = (3, 1024, 1024)
    evidence = Evidence(_numbered, dataset, EvaluateParams(images=5000), "x")
    assert evidence.transport_size == 2**29 // (3 * 1024 * 1024)
    assert evidence.subset_size == 1000
