"""Protects: what a run leaves is there for the next one, whose own clone is another folder."""

import subprocess
from pathlib import Path

import pytest

from monge.errors import InputError
from pipelines import kept, place
from pipelines.project import Owner, owner


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def origin(tmp_path):
    folder = tmp_path / "origin"
    (folder / "src").mkdir(parents=True)
    (folder / "src/code.py").write_text("one")
    (folder / "src/old.py").write_text("gone soon")
    (folder / "params.yaml").write_text("steps: auto\n")
    (folder / "dvc.lock").write_text("committed\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    return folder


def cloned(origin, tmp_path, name):
    """As Prefect's pull step does it: of the newest commit alone."""
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{origin}", name)
    return tmp_path / name


def test_two_clones_one_after_the_other_work_in_the_same_checkout(origin, tmp_path):
    root = tmp_path / "state"
    root.mkdir()
    kept.follow(cloned(origin, tmp_path, "first"), root, lambda _: None)
    # What a run writes, and how a killed one leaves it.
    (root / "checkpoints/step-00000020").mkdir(parents=True)
    (root / "dvc.lock").write_text("of the run\n")
    (root / "params.yaml").write_text("steps: 400\n")
    (root / "src/code.py").write_text("changed by somebody in the kept checkout")
    (origin / "src/code.py").write_text("two")
    (origin / "src/old.py").unlink()
    git(origin, "commit", "-qam", "two")
    kept.follow(cloned(origin, tmp_path, "second"), root, lambda _: None)
    assert (root / "src/code.py").read_text() == "two"
    assert not (root / "src/old.py").exists()
    assert (root / "checkpoints/step-00000020").is_dir()
    assert (root / "dvc.lock").read_text() == "of the run\n"
    assert (root / "params.yaml").read_text() == "steps: 400\n"

    # What somebody committed since is theirs.
    (origin / "params.yaml").write_text("steps: 800\n")
    git(origin, "commit", "-qam", "three")
    kept.follow(cloned(origin, tmp_path, "third"), root, lambda _: None)
    assert (root / "params.yaml").read_text() == "steps: 800\n"
    assert (root / "dvc.lock").read_text() == "of the run\n"


def test_the_locks_of_a_git_that_was_killed_hold_no_later_run_up(origin, tmp_path, monkeypatch):
    root = tmp_path / "state"
    said: list[str] = []
    root.mkdir()
    kept.follow(cloned(origin, tmp_path, "first"), root, said.append)
    monkeypatch.setattr(kept, "GIT_ENDS_S", 0.2)
    for name in ("shallow.lock", "index.lock", "HEAD.lock"):
        (root / ".git" / name).touch()
    (origin / "src/code.py").write_text("two")
    git(origin, "commit", "-qam", "two")
    kept.follow(cloned(origin, tmp_path, "second"), root, said.append)
    assert (root / "src/code.py").read_text() == "two"
    assert sum("a git was killed here: its lock" in line for line in said) == 3


def test_a_name_that_another_place_holds_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("MONGE_PROJECT", "digits")
    ours, theirs = owner(tmp_path), Owner("digits", "", "elsewhere:/srv/digits")
    ours.require("retrain/digits-nightly", [*ours.tags, "train"])
    with pytest.raises(InputError, match="MONGE_PROJECT=NAME") as refused:
        ours.require("retrain/digits-nightly", theirs.tags)
    assert "place:elsewhere:/srv/digits" in str(refused.value)
    with pytest.raises(InputError):  # made by hand, or by a monge that did not sign its work
        ours.require("retrain/digits-nightly", [])
    # `a` with a product `b-nightly` would have the same name as the product `b` of `a` has.
    one, other = Owner("a", "b", "here:/a"), Owner("a", "", "here:/a")
    with pytest.raises(InputError):
        other.require("retrain/a-b-nightly", one.tags)
    # Who works on the same repository deploys the same; from a folder to its address is one way.
    address = "https://example.com/digits.git"
    shared = owner(tmp_path, git=address)
    assert shared.owns(ours.tags)
    assert shared.owns(Owner("digits", "", address, "elsewhere:/srv").tags)
    assert not shared.owns(theirs.tags)
    assert not ours.owns(shared.tags)
    monkeypatch.setenv("MONGE_PROJECT", "a/b")
    with pytest.raises(InputError, match="cannot name a project"):
        owner(tmp_path)


def test_a_flow_within_a_flow_is_there_already_and_a_clone_may_be_gone_at_the_end(
    origin, tmp_path, monkeypatch
):
    clone, root = cloned(origin, tmp_path, "clone"), tmp_path / "state"
    monkeypatch.setenv(place.STATE, str(root))
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.chdir(clone)
    with place.entered(print):
        assert Path.cwd() == root
        with place.entered(print):
            assert Path.cwd() == root
        assert Path.cwd() == root
    assert Path.cwd() == clone
