"""Protects: a name used for other images is refused, and nothing half-made is registered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from monge.errors import InputError
from monge.registry import Registry, promote
from monge.registry.kind import KIND_TAG, Kind, kind_of
from tests.unit.registry.test_promote import PARAMS, never, report

Generator = Callable[[float], Path]
DIGITS = Kind((8, 8, 1), ("0", "1"))


def run(project: Path, model: Path, kind: Kind, figure: float = 5.0) -> None:
    promote(
        Registry(project, "digits"), model, report(figure), PARAMS,
        run_key="run", tags={"git": "abc"}, kind=kind, rejudge=never,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (Kind((32, 32, 3), ("0", "1")), "these are 32x32 colour images of 0, 1"),
        (Kind((8, 16, 1), ("0", "1")), "these are 16x8 grey images of 0, 1"),
        (Kind((8, 8, 1), ("a", "b")), "these are 8x8 grey images of a, b"),
    ],
)
def test_images_of_another_kind_are_refused_before_anything_is_registered(
    project: Path, generator: Generator, other: Kind, told: str
) -> None:
    run(project, generator(1.0), DIGITS)
    with pytest.raises(InputError) as caught:
        run(project, generator(2.0), other)
    assert "digits version 1 draws 8x8 grey images of 0, 1" in str(caught.value)
    assert told in str(caught.value)
    assert "promote.name=digits-2" in str(caught.value)
    assert len(Registry(project, "digits").versions()) == 1
    assert Registry(project, "digits").names() == ["digits"]


@pytest.mark.parametrize(
    "other", [Kind((8, 8, 1), ("0", "1", "2")), Kind((8, 8, 1)), Kind((8, 8, 1), ("0", "1"), True)]
)
def test_a_set_that_grew_and_labels_that_came_are_the_same_product(
    project: Path, generator: Generator, other: Kind
) -> None:
    run(project, generator(1.0), DIGITS)
    run(project, generator(2.0), other, figure=1.0)
    newest = Registry(project, "digits").versions()[-1]
    assert newest.number == 2
    assert kind_of(newest) == other


@pytest.mark.parametrize("other", [Kind((8, 8, 1), ("0", "1")), Kind((8, 8, 1), ("1", "0"), True)])
def test_labels_that_applications_ask_for_stay(
    project: Path, generator: Generator, other: Kind
) -> None:
    run(project, generator(1.0), Kind((8, 8, 1), ("0", "1"), True))
    with pytest.raises(InputError, match="Take another name"):
        run(project, generator(2.0), other)


@pytest.mark.parametrize(
    "tag",
    [
        "", "[", "[[8, 8, 1]]", "7", "[[8, 8], [], false]", "[[8, 8, 1, 1], [], false]",
        "[[8, 8, 2], [], false]", '[["8", 8, 1], [], false]', "[[8, 0, 1], [], false]",
        '[[8, 8, 1], "01", false]', "[[8, 8, 1], [0, 1], false]", "[[8, 8, 1], [], 1]",
        "[[8, 8, 1], [], false, false]", "[[8, 8, [1]], [], false]", "[null, [], false]",
    ],
)  # fmt: skip
def test_a_damaged_note_of_the_kind_refuses_nothing(
    project: Path, generator: Generator, tag: str
) -> None:
    run(project, generator(1.0), DIGITS)
    registry = Registry(project, "digits")
    registry.set_tags(registry.versions()[0], {KIND_TAG: tag})
    assert kind_of(registry.versions()[0]) is None
    run(project, generator(2.0), Kind((32, 32, 3)), figure=1.0)
    assert len(registry.versions()) == 2
