"""Protects: an image's label is a function of seed and index, and one that is asked for exists."""

import numpy as np
import pytest

from monge import labels as labels_module
from monge.errors import InputError
from monge.labels import checked, chosen, drawn, named
from monge.normals import philox

SHARES = (0.5, 0.25, 0.0, 0.25)
CLASSES = ("cat", "dog", "eel", "7")


def test_a_label_is_the_interval_that_the_word_falls_into():
    """By the definition, one image at a time, in Python's own numbers."""
    for seed, index in ((0, 0), (7, 3), (2**64 - 1, 2**64 - 2), (5, 2**32 + 1)):
        word = int(
            philox((0, index & 0xFFFFFFFF, index >> 32, 1), (seed & 0xFFFFFFFF, seed >> 32))[0]
        )
        place, end, expected = (word + 0.5) / 2**32, 0.0, 0
        for label, share in enumerate(SHARES):
            end += share
            if place < end:
                expected = label
                break
        assert drawn(seed, index, 1, SHARES).tolist() == [expected]


def test_labels_do_not_depend_on_where_a_batch_begins_and_follow_the_shares():
    whole = drawn(3, 0, 40_000, SHARES)
    assert whole.dtype == np.int64
    assert np.array_equal(whole[1234:1300], drawn(3, 1234, 66, SHARES))
    counts = np.bincount(whole, minlength=4) / len(whole)
    assert counts[2] == 0.0  # no training image, no generated one
    assert np.abs(counts - SHARES).max() < 4 * 0.5 / np.sqrt(len(whole))
    assert not np.array_equal(whole[:100], drawn(4, 0, 100, SHARES))


def test_shares_whose_sum_rounds_below_one_give_labels_that_exist(monkeypatch):
    """The last place, beyond the sum of the shares, belongs to the last label that has any."""
    monkeypatch.setattr(
        labels_module, "philox", lambda counter, key: np.full((4, 3), 0xFFFFFFFF, np.uint64)
    )
    assert drawn(0, 0, 3, [0.1] * 9 + [0.1 - 1e-7, 0.0]).tolist() == [9, 9, 9]


def test_a_label_is_asked_for_by_number_or_name_for_all_or_for_each():
    assert chosen(3, 2, SHARES, CLASSES).tolist() == [3, 3]
    assert chosen("dog", 2, SHARES, CLASSES).tolist() == [1, 1]
    assert chosen(["dog", 0, "eel"], 3, SHARES, CLASSES).tolist() == [1, 0, 2]
    assert chosen(np.array([2, 1]), 2, SHARES, CLASSES).tolist() == [2, 1]
    assert named("7", SHARES, CLASSES) == 3  # a name before a number
    assert named("2", SHARES, CLASSES) == 2


def test_a_number_that_could_mean_two_classes_is_refused_with_both():
    classes = tuple(f"{n:03d}" for n in range(1, 5))
    assert named("002", SHARES, classes) == 1
    with pytest.raises(InputError, match="'1' is not the name of a class: there is '001', and la"):
        named("1", SHARES, classes)
    with pytest.raises(InputError, match="there is '004'. Write the name"):
        named("4", SHARES, classes)
    assert named("0", SHARES, classes) == 0  # nothing else is meant by it
    assert named("1", SHARES, ("0", "01", "2", "3")) == 1  # both say the same


def test_a_name_is_the_same_in_every_form_of_unicode():
    composed, apart = "caf\u00e9", "cafe\u0301"
    for typed in (composed, apart):
        assert named(typed, SHARES, ("tea", composed, "x", "y")) == 1
        assert chosen([typed, 0], 2, SHARES, ("tea", apart, "x", "y")).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (4, "labels are from 0 to 3, got 4"),
        (-1, "labels are from 0 to 3, got -1"),
        ("cow", "no class is called 'cow'. There are: cat, dog, eel, 7"),
        (True, "whole number or the name of a class, got True"),
        ([1.5, 2], "whole number or the name of a class, got 1.5"),
        ([1], "2 images need 2 labels, or one for all: got 1"),
        (3.0, "whole number or the name of a class, got 3.0"),
        (np.array(3.0), "whole number or the name of a class"),
    ],
)
def test_a_label_that_is_none_is_refused(wanted, message):
    with pytest.raises(InputError, match=message):
        chosen(wanted, 2, SHARES, CLASSES)


def test_what_goes_to_the_network_is_checked():
    assert checked(None, 2, ()) is None
    good = checked(np.array([3, 0], np.int32), 2, SHARES)
    assert good is not None
    assert good.dtype == np.int64
    assert good.tolist() == [3, 0]
    for labels, shares, message in (
        ([0, 1], (), "takes no labels"),
        (None, SHARES, "labels are needed: 2 whole numbers from 0 to 3"),
        ([0, 4], SHARES, "must be from 0 to 3"),
        ([-1, 0], SHARES, "must be from 0 to 3"),
        ([0.0, 1.0], SHARES, r"whole numbers of shape \[2\], got float64 \[2\]"),
        ([[0, 1]], SHARES, r"whole numbers of shape \[2\], got int64 \[1, 2\]"),
    ):
        with pytest.raises(InputError, match=message):
            checked(labels, 2, shares)
    for seed, first in ((-1, 0), (2**64, 0), (0, -1), (0, 2**64)):
        with pytest.raises(InputError, match="2\\^64"):
            drawn(seed, first, 1, SHARES)
