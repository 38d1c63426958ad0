"""Protects: what is registered holds no password, and its forms take nothing that cannot work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.schema_tools.validation import ValidationError, validate

from pipelines import deploy
from pipelines.deployments import TABLE

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("git", ["https://me:hushhush@h/o/r.git", "https://hushhush@h/o/r.git"])
def test_a_password_in_the_code_s_address_is_refused_and_not_told(
    git: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(["--git", git]) == 2
    said = capsys.readouterr().err
    assert "the server would keep the password and show it" in said
    assert "hushhush" not in said


@pytest.mark.parametrize("git", ["ssh://git@h/o/r.git", "git@h:o/r.git", "https://h/o/r.git"])
def test_an_address_without_one_is_asked_about_the_server_next(
    git: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://u:hushhush@127.0.0.1:9/api")
    assert deploy.main(["--git", git]) == 3
    said = capsys.readouterr().err
    assert "no Prefect server at http://***@127.0.0.1:9/api" in said


def test_a_worker_finds_every_flow_of_the_table() -> None:
    """Prefect looks for what a flow imports in the flow's own folder first."""
    code = (
        "import sys; from prefect.flows import load_flow_from_entrypoint as load\n"
        "for one in sys.argv[1:]: load(one, use_placeholder_flow=False)\n"
    )
    words = [sys.executable, "-P", "-c", code, *(row.flow for row in reversed(TABLE))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


ROWS = {row.name: row for row in TABLE}
REQUIRED: dict[str, dict[str, Any]] = {"sweep": {"name": "tried"}}


def numbers(told: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a parameter's schema that are numbers."""
    parts = [told, *told.get("anyOf", [])]
    return [part for part in parts if part.get("type") in ("integer", "number")]


def just_outside(part: dict[str, Any]) -> list[float]:
    """The values nearest to a number's bounds that are not to be taken."""
    below = [part["minimum"] - 1] if "minimum" in part else []
    above = [part["maximum"] + 1] if "maximum" in part else []
    return below + above + [part[at] for at in part if at.startswith("exclusive")]


@pytest.mark.parametrize("name", ROWS)
def test_every_form_says_what_its_parameters_mean_and_refuses_numbers_that_cannot_be(
    name: str,
) -> None:
    row = ROWS[name]
    form, given = deploy.form(deploy._loaded(row)), {**row.parameters, **REQUIRED.get(name, {})}
    validate(given, form, raise_on_error=True)
    for key, told in form["properties"].items():
        assert told.get("description"), key
        for part in numbers(told):
            assert just_outside(part), f"{key} has no bound"
            for value in just_outside(part):
                with pytest.raises(ValidationError):
                    validate({**given, key: value}, form, raise_on_error=True)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_ends_in_time_and_its_flow_is_watched(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ROWS[name]
    assert row.parameters["hours"] > 0
    flow = deploy._loaded(row)
    monkeypatch.setitem(flow.fn.__globals__, "looked_after", lambda hours, _work: ("hours", hours))
    assert flow.fn(**{**row.parameters, **REQUIRED.get(name, {})}) == (
        "hours", row.parameters["hours"],
    )  # fmt: skip
