"""Protects: an address means what SQLAlchemy and MLflow take it for, or is refused in one line."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from monge.errors import InputError, MissingExtra
from monge.registry.names import known_names, resolve
from monge.tracking import address, mlflow_store, open_run


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("127.0.0.1:5000", "Write http://127.0.0.1:5000"),
        ("mlflow.example:5000/x", "Write http://mlflow.example:5000/x"),
        ("localhost", "Write http://localhost:5000"),
        ("./mlruns", "a folder can hold no registry. Write http://HOST:PORT"),
        ("mlruns", "a folder can hold no registry"),
        ("file:///srv/mlruns", "a folder can hold no registry"),
        ("sqlite:////no/such/place/m.db", "no such folder: /no/such/place"),
        ("sqlite://", "a database in memory forgets everything"),
        ("sqlite:///:memory:", "a database in memory forgets everything"),
        ("sqlite://srv/m.db", "one slash is missing"),
        ("sqlit:////srv/m.db", "not an address that is understood"),
        ("sqlite:m.db", "not an address that is understood"),
        ("postgres://u:hushhush@h/db", "write postgresql://***@h/db"),
        ("postgresql://u:hushhush@h:port/db", "not an address that is understood"),
        ("postgresql+nodriver://u:hushhush@h/db", "Can't load plugin"),
        ("http://", "not an address that is understood"),
        ("http://u:hush/hush@h:5000", "a sign in a password is written by its code"),
        ("http://h:99999", "Write http://HOST:PORT"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_write_before_the_work(
    typed: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", typed)
    with pytest.raises(InputError) as refused:
        open_run("key", root=tmp_path, state=tmp_path / "state", experiment="x")
    said = str(refused.value)
    assert told in said
    assert said.startswith("MLFLOW_TRACKING_URI=")
    assert "hush" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_database_whose_driver_is_missing_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for where in ("postgresql://u:hushhush@h/db", "mysql://u:hushhush@h/db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
        with pytest.raises(MissingExtra, match="needs the driver") as refused:
            address.given(tmp_path)
        assert "hushhush" not in str(refused.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://u:p@h/db")
    with pytest.raises(MissingExtra, match=r"pip install 'monge\[servers\]'"):
        address.given(tmp_path)


def test_a_server_s_address_is_as_a_browser_shows_it_and_its_password_goes_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "before")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "before")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " HTTP://al:s3cr%40t@h:5000/x/#/experiments ")
    assert address.given(tmp_path) == "http://h:5000/x"
    address.give_credentials()
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "al"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "s3cr@t"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://other:one@r")  # MLflow has room for one pair
    assert address.given(tmp_path) == "http://al:s3cr%40t@h:5000/x"
    assert address.shown(tmp_path) == "http://h:5000/x"


@pytest.mark.parametrize(
    "typed", ["sqlite:///m.db?timeout=60", "sqlite:///m.db", "sqlite:////{}/m.db?timeout=60"]
)
def test_an_sqlite_address_is_one_file_wherever_one_stands(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = typed.format(str(tmp_path)[1:])
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", typed)
    assert address.database(tmp_path) == tmp_path / "m.db"
    mine = make_url(address.given(tmp_path))
    assert (mine.database, mine.query) == (str(tmp_path / "m.db"), make_url(typed).query)


def test_a_project_whose_folder_has_a_question_mark_keeps_its_database_to_itself(
    project: Path, tmp_path: Path
) -> None:
    odd = project.rename(tmp_path / "is it?x=1 #2 %20")
    mlflow_store.connect(odd).create_experiment("mine")
    with sqlite3.connect(odd / "mlflow.db") as database:
        names = {name for (name,) in database.execute("select name from experiments")}
    database.close()
    assert names == {"Default", "mine"}
    assert {path.name for path in tmp_path.iterdir()} == {odd.name}
    assert {path.name for path in odd.iterdir()} == {"mlflow.db", ".monge"}
    assert known_names(odd) == []


def test_a_typing_error_makes_no_empty_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mflow.db")
    for ask in (lambda: known_names(tmp_path), lambda: resolve("models:/x@champion", tmp_path)):
        with pytest.raises(InputError, match=r"no registry at sqlite:.*mflow\.db: no such file"):
            ask()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert known_names(tmp_path) == []


def test_a_registered_name_is_found_from_below_the_project(tmp_path: Path) -> None:
    below = tmp_path / "project/src/app"
    below.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / "project" / name).touch()
    done = subprocess.run(
        [sys.executable, "-m", "monge", "sample", "models:/x@champion"],
        cwd=below, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"no registry at sqlite:///{tmp_path}/project/mlflow.db" in done.stderr
