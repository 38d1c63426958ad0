"""All conditions must hold, force and dry runs leave their trail, and rollback is one alias."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monge.errors import InputError, ParamsError
from monge.params import Condition, PromoteParams, load
from monge.registry import Registry, promote, rollback
from monge.registry.compare import compare, listing
from monge.registry.conditions import Finding, judge
from monge.registry.gate import ReportedFigure

Generator = Callable[[float], Path]


def figure(
    metric: str, value: float | None, better: Any = "lower", noise: float = 0.1
) -> ReportedFigure:
    return ReportedFigure(metric, value, noise, better, "p")


GOOD = {"frechet": figure("frechet", 5.0), "accuracy": figure("accuracy", 0.9, "higher", 0.01)}
STANDING = {"frechet": figure("frechet", 6.0), "accuracy": figure("accuracy", 0.9, "higher", 0.01)}


@pytest.mark.parametrize(
    ("conditions", "holds", "told"),
    [
        ([{"metric": "frechet", "at_most": 5.0}], True, "frechet 5 ± 0.1, at most 5 was asked"),
        ([{"metric": "frechet", "at_most": 4.9}], False, "at most 4.9 was asked"),
        ([{"metric": "accuracy", "at_least": 0.95}], False, "accuracy 0.9 ± 0.01, at least 0.95"),
        ([{"metric": "frechet", "improvement": 2.0}], True, "better by 1"),
        (
            [{"metric": "frechet", "improvement": 2.0}, {"metric": "accuracy", "improvement": 0.0}],
            False, "accuracy 0.9 ± 0.01 against the champion's 0.9 ± 0.01",
        ),
        ([{"metric": "frechet", "improvement": 2.0, "at_most": 1.0}], False, "at most 1 was asked"),
        ([{"metric": "frechet", "at_least": 1.0, "at_most": 9.0}], True, "; frechet"),
    ],
)  # fmt: skip
def test_every_condition_must_hold_and_says_why(
    conditions: list[dict[str, Any]], holds: bool, told: str
) -> None:
    verdict = judge([Condition(**c) for c in conditions], GOOD, STANDING)
    assert verdict.promote is holds
    assert told in verdict.reason
    assert verdict.reason.startswith("Promoted: " if holds else "Not promoted: ")


def test_a_bound_holds_for_the_first_candidate_too_and_never_for_what_is_no_number() -> None:
    bound = [Condition(metric="frechet", at_most=4.0), Condition(metric="frechet", improvement=2.0)]
    assert not judge(bound, GOOD, None).promote
    assert judge(bound[1:], GOOD, None).promote
    assert not judge([bound[0]], {"frechet": figure("frechet", None)}, None).promote


def test_below_the_floor_nothing_is_promoted_and_above_it_the_rest_decides() -> None:
    better = [Condition(metric="frechet", improvement=2.0)]
    failed = judge(better, GOOD, None, Finding(False, "not nearer than blurred ones (75 to 60)"))
    assert failed.reason == "Not promoted: not nearer than blurred ones (75 to 60)."
    assert not failed.promote
    held = judge(better, GOOD, STANDING, Finding(True, "nearer than blurred ones"))
    assert held.promote
    assert held.reason.endswith("; nearer than blurred ones.")
    worse = judge(better, STANDING, GOOD, Finding(True, "nearer than blurred ones"))
    assert not worse.promote
    assert "blurred" not in worse.reason


def report(value: float) -> dict[str, Any]:
    entry = {"value": value, "noise": 0.1, "better": "lower", "protocol": [{"protocol_hash": "p"}]}
    return {"frechet": entry}


def run(project: Path, model: Path, value: float, force: str | None = None, **changes: Any) -> Any:
    params = PromoteParams(name="digits", **changes)
    return promote(
        Registry(project, "digits"), model, report(value), params, run_key="run", tags={},
        rejudge=lambda path: pytest.fail(f"{path} was judged again"), force=force,
    )  # fmt: skip


def aliases(project: Path) -> dict[str, int]:
    versions = Registry(project, "digits").versions()
    return {alias: version.number for version in versions for alias in version.aliases}


def test_dry_run_and_off_leave_the_champion_and_force_overrules_with_its_reason(
    project: Path, generator: Generator
) -> None:
    run(project, generator(1.0), 10.0)
    dry = run(project, generator(2.0), 5.0, mode="dry-run")
    assert not dry.promoted
    assert "promote.mode is dry-run. The gate: Promoted: frechet 5 ± 0.1" in dry.reason
    off = run(project, generator(3.0), 5.0, mode="off")
    assert off.reason == "Not promoted: promote.mode is off."
    assert aliases(project) == {"champion": 1, "challenger": 3}
    forced = run(project, generator(4.0), 99.0, force="the customer's wish")
    assert forced.promoted
    assert aliases(project) == {"champion": 4, "challenger": 4, "previous": 1}
    assert forced.version.tags["monge.forced"] == "the customer's wish"
    assert "worse by 89" in forced.version.tags["monge.reason"]


def test_rollback_goes_to_the_previous_or_the_named_version_and_back(
    project: Path, generator: Generator
) -> None:
    registry = Registry(project, "digits")
    with pytest.raises(InputError, match="there is no champion"):
        rollback(registry, "why")
    for weight, value in ((1.0, 10.0), (2.0, 5.0), (3.0, 1.0)):
        run(project, generator(weight), value)
    done = rollback(registry, "blurred")
    assert (done.champion.number, done.before.number) == (2, 3)
    assert aliases(project) == {"champion": 2, "previous": 3, "challenger": 3}
    tags = {version.number: version.tags for version in registry.versions()}
    assert tags[2]["monge.rollback"] == "from version 3: blurred"
    rollback(registry, "further", to=1)
    assert aliases(project)["champion"] == 1
    with pytest.raises(InputError, match="version 1 is the champion already"):
        rollback(registry, "again", to=1)
    with pytest.raises(InputError, match="there is no version 9. Name one with --to: 1, 2, 3"):
        rollback(registry, "again", to=9)


def test_a_rollback_that_was_killed_has_moved_the_champion(
    project: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for weight, value in ((1.0, 10.0), (2.0, 5.0)):
        run(project, generator(weight), value)
    plain = Registry.set_alias

    def dies(self: Registry, alias: str, version: Any) -> None:
        if alias == "previous":
            raise KeyboardInterrupt
        plain(self, alias, version)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "set_alias", dies)
        with pytest.raises(KeyboardInterrupt):
            rollback(Registry(project, "digits"), "blurred")
    assert aliases(project)["champion"] == 1


def test_versions_are_compared_figure_by_figure_in_standard_errors(
    project: Path, generator: Generator
) -> None:
    for weight, value in ((1.0, 10.0), (2.0, 9.9), (3.0, 5.0)):
        run(project, generator(weight), value)
    one, two, three = Registry(project, "digits").versions()
    (alike,) = compare(one, two)
    assert alike.why == "no difference beyond noise"
    (better,) = compare(one, three)
    assert better.errors == pytest.approx(5.0 / 0.1 / 2**0.5)
    assert better.why.startswith("better by 35.4")
    assert compare(three, one)[0].why.startswith("worse by 35.4")


def test_conditions_are_read_from_the_file_and_an_empty_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("promote:\n  mode: off\n  conditions: [{metric: frechet, at_most: 30.0}]\n")
    read = load(path).promote
    assert (read.mode, read.conditions[0].at_most) == ("off", 30.0)
    path.write_text("promote: {conditions: [{metric: frechet}]}\n")
    with pytest.raises(ParamsError, match="frechet: asks for nothing"):
        load(path)
    path.write_text("promote: {conditions: [{metric: frechet, at_mots: 3.0}]}\n")
    with pytest.raises(ParamsError, match="at_mots: unknown key"):
        load(path)


def test_versions_are_listed_newest_first_and_found_by_number_or_alias(
    project: Path, generator: Generator
) -> None:
    for weight, value in ((1.0, 10.0), (2.0, 5.0)):
        run(project, generator(weight), value)
    registry = Registry(project, "digits")
    head, newest, oldest = listing(registry.versions(), ["frechet", "unheard"])
    assert head.split()[:4] == ["version", "aliases", "frechet", "unheard"]
    assert newest.split()[:5] == ["2", "challenger,", "champion", "5", "±"]
    assert oldest.split()[:2] == ["1", "previous"]
    assert oldest.endswith("just now")
    assert registry.find("champion").number == registry.find("2").number == 2
    with pytest.raises(InputError, match="no version or alias 'best'; digits has version 1 @prev"):
        registry.find("best")
