"""Protects: images that break the contract are refused by figure and bound, and change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from monge.data.packed import PackedDataset
from monge.data.prepare import prepare
from monge.errors import SourceError
from monge.params import ContractParams, PrepareParams


@pytest.fixture
def root(tmp_path):
    """20 cats of which two are copies and one nearly one, 5 dogs; one picture is 9 pixels high."""
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (25, 32, 32, 3), np.uint8)
    pictures[1] = pictures[2] = pictures[0]
    pictures[3] = pictures[4]
    pictures[3, 0, 0, 0] ^= 1
    for number, picture in enumerate(pictures):
        folder = tmp_path / "raw" / ("cat" if number < 20 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        shown = picture[:9] if number == 24 else picture
        Image.fromarray(shown).save(folder / f"{number}.png")
    return tmp_path


def packed(root, **bounds) -> PackedDataset:
    params = PrepareParams(
        source="folder", path="raw", resolution=32, colour="rgb", fit="pad", workers=1,
        contract=ContractParams(**bounds),
    )  # fmt: skip
    return prepare(params, root, root / "downloads", root / "prepared")


@pytest.mark.parametrize(
    ("key", "kept", "broken", "told"),
    [
        ("min_images", 25, 26, "images: 25, at least 26"),
        ("min_images_per_class", 5, 6, "images of dog 5: at least 6"),
        ("class_names", "cat, dog", "cat", "not agreed on: dog"),
        ("class_names", "dog,cat", "cat, dog, fish", "no image of the classes fish"),
        ("min_side", 9, 10, "1 images, dog/24.png among them, have a side of under 10"),
        ("max_class_fraction", 0.8, 0.79, "80.0% are of the class cat, at most 79.0%"),
        ("max_copies_fraction", 0.08, 0.07, "8.0% are exact copies of others, at most 7.0%"),
        ("max_near_copies_fraction", 0.12, 0.11, "12.0% are like another one, at most 11.0%"),
    ],
)
def test_a_bound_is_kept_or_named_with_its_figure(root, key, kept, broken, told):
    before = packed(root, **{key: kept})
    bytes_before = (root / "prepared" / "manifest.json").read_bytes()
    with pytest.raises(SourceError, match=told) as refused:
        packed(root, **{key: broken})
    assert f"({key})" in str(refused.value)
    assert refused.value.exit_code == 2
    assert (root / "prepared" / "manifest.json").read_bytes() == bytes_before
    before.verify()


def test_every_broken_bound_is_told_at_once(root):
    with pytest.raises(SourceError, match=r"(?s)min_images\).*max_class_fraction"):
        packed(root, min_images=100, max_class_fraction=0.5)
