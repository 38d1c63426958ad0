"""Promotion moves the champion's alias only for a better file, and leaves a trail."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from sqlalchemy import event
from sqlalchemy.pool import Pool

from monge.errors import InputError, ModelFileError, StorageError
from monge.params import Condition, PromoteParams
from monge.registry import Promotion, Registry, fetch, promote
from monge.tracking import mlflow_store

Generator = Callable[[float], Path]
PARAMS = PromoteParams(name="digits")


def report(value: float | None, protocol: str = "p", noise: float = 0.1) -> dict[str, Any]:
    frechet = {
        "value": value, "noise": noise, "better": "lower",
        "protocol": [{"protocol_hash": protocol}],
    }  # fmt: skip
    return {"frechet": frechet, "seconds": 3.0}


def never(_: Path) -> dict[str, Any]:
    raise AssertionError("the champion was measured again without need")


def run(
    project: Path,
    model: Path,
    figures: dict[str, Any],
    rejudge: Callable[[Path], dict[str, Any]] = never,
) -> Promotion:
    registry = Registry(project, "digits")
    return promote(
        registry, model, figures, PARAMS, run_key="run", tags={"git": "abc"}, rejudge=rejudge
    )


def aliases(project: Path) -> dict[str, int]:
    versions = Registry(project, "digits").versions()
    return {alias: version.number for version in versions for alias in version.aliases}


def test_the_better_file_becomes_champion_and_the_old_one_previous(
    project: Path, generator: Generator
) -> None:
    first = run(project, generator(1.0), report(10.0))
    assert first.promoted
    assert aliases(project) == {"challenger": 1, "champion": 1}
    worse = run(project, generator(2.0), report(9.9))
    assert not worse.promoted
    assert worse.champion is not None
    assert worse.champion.number == 1
    assert aliases(project) == {"challenger": 2, "champion": 1}
    better = run(project, generator(3.0), report(5.0))
    assert better.promoted
    assert better.version == better.champion
    assert aliases(project) == {"challenger": 3, "champion": 3, "previous": 1}
    assert better.reason == better.version.tags["monge.reason"]
    assert "5 ± 0.1 against the champion's 10 ± 0.1" in better.reason
    assert better.version.tags["monge.verdict"] == "promoted"
    assert better.version.tags["monge.against"] == "1"
    assert better.version.tags["git"] == "abc"
    assert json.loads(better.version.tags["monge.figure.frechet"])["value"] == 5.0


def test_the_champion_promoted_again_changes_nothing(project: Path, generator: Generator) -> None:
    run(project, generator(1.0), report(10.0))
    run(project, generator(2.0), report(11.0))
    before = Registry(project, "digits").versions()
    again = run(project, generator(1.0), report(1.0))
    assert not again.promoted
    assert again.reason == "Unchanged: this file is the champion already (version 1)."
    assert Registry(project, "digits").versions() == before


def test_the_champion_is_measured_again_under_a_new_protocol_from_its_own_file(
    project: Path, generator: Generator
) -> None:
    champion = generator(1.0)
    run(project, champion, report(10.0, protocol="old"))
    judged: list[bytes] = []

    def rejudge(path: Path) -> dict[str, Any]:
        judged.append(path.read_bytes())
        return report(2.0, protocol="new")

    kept = run(project, generator(2.0), report(5.0, protocol="new"), rejudge)
    assert judged == [champion.read_bytes()]
    assert not kept.promoted  # 5 beats the old 10, not the 2 of the same protocol
    assert aliases(project)["champion"] == 1


def test_a_figure_that_the_champion_cannot_have_is_the_candidates_alone(
    project: Path, generator: Generator
) -> None:
    """A conditional generator's `label_accuracy` beside an unconditional champion."""
    run(project, generator(1.0), report(10.0))
    candidate = report(5.0)
    candidate["label_accuracy"] = candidate["frechet"] | {"value": 0.9, "better": "higher"}
    registry = Registry(project, "digits")
    for bound, promoted in ((0.95, False), (0.8, True)):
        params = PARAMS.model_copy(update={"conditions": [
            Condition(metric="label_accuracy", at_least=bound, improvement=2.0)
        ]})  # fmt: skip
        done = promote(
            registry, generator(2.0 + bound), candidate, params, run_key="run", tags={},
            rejudge=lambda path: report(10.0),
        )  # fmt: skip
        assert done.promoted == promoted
    assert "which the champion cannot have" in done.reason


def test_a_figure_that_is_no_number_is_registered_but_never_champion(
    project: Path, generator: Generator
) -> None:
    result = run(project, generator(1.0), report(None))
    assert not result.promoted
    assert result.champion is None
    assert aliases(project) == {"challenger": 1}
    assert "unknown" in result.reason


def test_a_version_is_told_only_what_it_does_not_say_already(
    project: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(project, generator(1.0), report(10.0))
    run(project, generator(2.0), report(9.9))
    told: list[str] = []
    tell = MlflowClient.set_model_version_tag

    def told_of(self: MlflowClient, name: str, version: str, key: str, value: str) -> None:
        told.append(key)
        tell(self, name, version, key, value)

    monkeypatch.setattr(MlflowClient, "set_model_version_tag", told_of)
    run(project, generator(2.0), report(9.9))
    assert told == []
    run(project, generator(2.0), report(9.8))
    assert "monge.figure.frechet" in told
    assert "monge.against" not in told


def test_a_report_without_the_metric_registers_nothing(project: Path, generator: Generator) -> None:
    with pytest.raises(InputError, match="no figure 'frechet'"):
        run(project, generator(1.0), {"seconds": 3.0})
    assert Registry(project, "digits").names() == []


@pytest.mark.parametrize("call", ["set_tags", "set_alias"])
def test_dying_before_the_champions_alias_is_completed_by_the_next_call(
    project: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    run(project, generator(1.0), report(10.0))

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Registry, call, dies)
        with pytest.raises(KeyboardInterrupt):
            run(project, generator(2.0), report(5.0))
    assert aliases(project)["champion"] == 1
    assert run(project, generator(2.0), report(5.0)).promoted
    assert aliases(project) == {"challenger": 2, "champion": 2, "previous": 1}


def test_of_two_processes_promoting_at_once_the_better_file_wins(
    project: Path, generator: Generator
) -> None:
    run(project, generator(1.0), report(10.0))
    code = """
import json, sys
from pathlib import Path
from monge.params import PromoteParams
from monge.registry import Registry, promote
root, model, report = sys.argv[1:]
promote(
    Registry(Path(root), "digits"), Path(model), json.loads(report), PromoteParams(name="digits"),
    run_key="run", tags={}, rejudge=lambda path: sys.exit("rejudged"),
)
"""
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", code, project, generator(weight), json.dumps(report(value))]
        )
        for weight, value in ((2.0, 5.0), (3.0, 3.0))
    ]
    assert [rival.wait(400) for rival in rivals] == [0, 0]
    champion = Registry(project, "digits").champion()
    assert champion is not None
    assert json.loads(champion.tags["monge.figure.frechet"])["value"] == 3.0
    assert list(aliases(project)).count("champion") == 1


def stored(project: Path, number: int) -> Path:
    """The file of a version where the embedded registry keeps it."""
    (found,) = (
        path for path in project.glob("mlartifacts/**/model.onnx")
        if hashlib.sha256(path.read_bytes()).hexdigest()
        == Registry(project, "digits").find(str(number)).model_hash
    )  # fmt: skip
    return found


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_a_stored_file_that_is_gone_or_damaged_is_told_and_promote_brings_it_back(
    project: Path, generator: Generator, harm: str
) -> None:
    run(project, generator(1.0), report(10.0))
    run(project, generator(2.0), report(5.0))
    assert aliases(project) == {"challenger": 2, "champion": 2, "previous": 1}
    champion = Registry(project, "digits").champion()
    assert champion is not None
    if harm == "changed":
        stored(project, 2).write_bytes(b"other")
    else:
        shutil.rmtree(project / "mlartifacts")
    said = r"models:/digits/2: " + (
        "the registry's file is not the one"
        if harm == "changed"
        else r"its model\.onnx is gone from"
    )
    with pytest.raises(ModelFileError, match=said) as told:
        fetch("models:/digits@champion", project)
    assert "monge promote" in str(told.value)

    again = run(project, generator(2.0), report(5.0))
    assert again.reason == (
        "Promoted: the stored file of version 2 was gone, and this is the same."
    )
    assert aliases(project) == {"challenger": 3, "champion": 3, "previous": 1}
    assert fetch("models:/digits@champion", project).read_bytes() == generator(2.0).read_bytes()
    once_more = run(project, generator(2.0), report(5.0))
    assert once_more.reason == "Unchanged: this file is the champion already (version 3)."


def test_a_model_whose_files_cannot_be_sent_is_left_failed_and_not_pending(
    project: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def refused(*_: object, **__: object) -> None:
        raise OSError("An error occurred (SignatureDoesNotMatch) when calling PutObject")

    def states() -> list[str]:
        client = mlflow_store.connect(project)
        experiment = client.get_experiment_by_name("monge").experiment_id
        return sorted(str(item.status) for item in client.search_logged_models([experiment]))

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", refused)
        with pytest.raises(InputError, match="its store of files refuses the key"):
            run(project, generator(1.0), report(10.0))
        assert states() == ["FAILED"]
        patch.setattr(MlflowClient, "finalize_logged_model", refused)  # as if the server went, too
        with pytest.raises(InputError, match="its store of files refuses the key"):
            run(project, generator(1.0), report(10.0))
        assert states() == ["FAILED", "PENDING"]
    assert run(project, generator(1.0), report(10.0)).promoted
    assert states() == ["FAILED", "FAILED", "READY"]


def test_a_full_database_is_said_in_a_line_and_promotion_is_completed_when_there_is_room(
    project: Path, generator: Generator, capfd: pytest.CaptureFixture[str]
) -> None:
    long = "p" * 4200  # more than a page of the database
    run(project, generator(1.0), report(10.0, long))
    room = iter([0] * 999)

    def limited(connection: Any, *_: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + next(room)}")

    event.listen(Pool, "checkout", limited)
    try:
        with pytest.raises(StorageError, match="its disk is full") as refused:
            run(project, generator(2.0), report(5.0, long))
        room = iter([1 << 20] * 999)
        last = run(project, generator(2.0), report(5.0, long))
    finally:
        event.remove(Pool, "checkout", limited)
    assert "\n" not in str(refused.value)
    assert "Traceback" not in capfd.readouterr().err
    assert last.promoted
    assert aliases(project) == {"challenger": 2, "champion": 2, "previous": 1}
