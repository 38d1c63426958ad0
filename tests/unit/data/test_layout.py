"""Folders become splits and classes by rule, and the held-out share is fair and repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from monge.data.layout import organise
from monge.errors import SourceError


def names(*folders: str, each: int = 3) -> list[str]:
    return sorted(f"{folder}{number}.png" for folder in folders for number in range(each))


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        (names("cat/", "dog/"), ["cat", "dog"]),
        (names("set/cat/", "set/dog/"), ["cat", "dog"]),
        (names("cat/a/", "dog/b/c/"), ["cat", "dog"]),
        (names("train/cat/", "train/dog/", "test/dog/"), ["cat", "dog"]),
        (names("set/Training/cat/", "set/Training/dog/", "set/VAL/dog/"), ["cat", "dog"]),
        (names("train/cat/", "train/dog/"), ["cat", "dog"]),
        (names(""), []),
        (names("cat/"), []),
        (names("cat/", "dog/", ""), []),
        (names("train/", "test/"), []),
        (names("train/cat/", "test/cat/"), []),
        (names("train/", "other/"), ["other", "train"]),
    ],
)
def test_class_names_come_from_folders(paths: list[str], classes: list[str]) -> None:
    layout = organise(paths, 0.2, 0)
    assert layout.class_names == classes
    if not classes:
        assert layout.labels is None
        return
    assert layout.labels is not None
    for path, label in zip(paths, layout.labels, strict=True):
        assert classes[label] in path.split("/")


@pytest.mark.parametrize("prefix", ["", "set/"])
def test_given_splits_are_respected(prefix: str) -> None:
    paths = names(f"{prefix}train/cat/", f"{prefix}test/cat/", f"{prefix}val/cat/")
    layout = organise(paths, 0.01, 0)
    assert layout.held_out.tolist() == ["/train/" not in f"/{path}" for path in paths]
    assert len(layout.rows("train")) == 3
    assert len(layout.rows("validation")) == 6


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.35, 0.5])
def test_the_held_out_share_is_stratified(fraction: float) -> None:
    sizes = {"a": 100, "b": 51, "c": 7, "d": 1}
    paths = sorted(f"{c}/{n:03d}.png" for c, size in sizes.items() for n in range(size))
    layout = organise(paths, fraction, 3)
    assert layout.labels is not None
    held = np.bincount(layout.labels[layout.held_out], minlength=4)
    assert held.sum() == max(1, round(fraction * len(paths)))
    for count, size in zip(held, sizes.values(), strict=True):
        assert abs(count - fraction * size) < 1.5
        assert count < size


def test_the_choice_depends_on_seed_and_names_only() -> None:
    paths = names("cat/", "dog/", each=50)
    first = organise(paths, 0.2, 0).held_out
    np.testing.assert_array_equal(first, organise(paths, 0.2, 0).held_out)
    assert not np.array_equal(first, organise(paths, 0.2, 1).held_out)
    inside = organise([f"set/{path}" for path in paths], 0.2, 0).held_out
    np.testing.assert_array_equal(first, inside)


def test_the_choice_is_written_down_for_other_programs() -> None:
    # A change here silently moves images between the splits of every user.
    held = organise([f"{n}.png" for n in range(10)], 0.3, 7).held_out
    assert np.flatnonzero(held).tolist() == [0, 1, 4]


def test_the_choice_is_no_stripe() -> None:
    held = organise(names("", each=1000), 0.5, 0).held_out
    assert 200 < np.count_nonzero(np.diff(held.astype(int))) < 800


@pytest.mark.parametrize("count", [2, 3])
def test_few_images_still_fill_both_splits(count: int) -> None:
    for paths in (names("", each=count), [f"{n}/x.png" for n in range(count)]):
        held = organise(paths, 0.01, 0).held_out
        assert held.sum() == 1


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_are_refused(count: int) -> None:
    with pytest.raises(SourceError, match="two are needed"):
        organise(names("", each=count), 0.2, 0)
