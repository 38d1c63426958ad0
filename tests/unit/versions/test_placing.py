"""Protects: new images are laid out beside the old ones without changing what was settled."""

from __future__ import annotations

import pytest

from monge.errors import InputError
from monge.params import PrepareParams
from monge.versions.placing import census, place

PARAMS = PrepareParams(source="folder")
TAG = "0001-00000000000a"
FLAT = [f"{number}.png" for number in range(30)]
CLASSES = [f"{each}/{number}.png" for each in ("cat", "dog") for number in range(30)]
WRAPPED = [f"pets/{name}" for name in CLASSES]
SPLITS = [f"{split}/{name}" for split in ("train", "test") for name in CLASSES]


def placed(there, new, into=""):
    return list(place(there, new, TAG, {}, PARAMS, into).values())


def test_new_images_go_where_those_of_their_class_are():
    new = ["cat/new.png", "fish/1.png"]
    assert placed(CLASSES, new) == new
    assert placed(WRAPPED, new) == [f"pets/{name}" for name in new]
    assert placed(CLASSES, [f"more/{name}" for name in new]) == new
    assert placed(WRAPPED, [f"more/{name}" for name in new]) == [f"pets/{name}" for name in new]
    assert placed(FLAT, ["new.png"]) == ["new.png"]
    assert placed([], ["cat/new.png"]) == ["cat/new.png"]


def test_what_would_be_left_out_is_refused_with_the_way_to_say_where():
    with pytest.raises(InputError, match=r"new\.png would be left out.*--into"):
        placed(CLASSES, ["new.png"])
    assert placed(CLASSES, ["new.png"], into="cat") == ["cat/new.png"]
    with pytest.raises(InputError, match="cat, which is no split"):
        placed(SPLITS, ["cat/new.png"])
    assert placed(SPLITS, ["cat/new.png"], into="train") == ["train/cat/new.png"]
    assert placed(SPLITS, ["test/cat/new.png", "train/cat/new.png"])[0] == "test/cat/new.png"


def test_images_that_would_change_the_split_of_old_ones_are_refused():
    with pytest.raises(InputError, match="would be left out"):
        placed(CLASSES, SPLITS)


def test_many_loose_images_do_not_take_the_classes_away():
    with pytest.raises(InputError, match="would be of the class None, and is of cat"):
        placed(CLASSES, [f"{number}.png" for number in range(50)])


def test_a_census_counts_what_would_be_packed():
    counts = census(CLASSES, {}, PARAMS)
    assert (counts.images, counts.held_out, counts.classes) == (60, 12, {"cat": 30, "dog": 30})
    assert census(["1.png"], {}, PARAMS).images == 1
