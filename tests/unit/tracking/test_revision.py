"""Protects: a changed tree is said to be one, what a run writes is no change, and it comes back."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from monge.tracking.revision import CHANGED, MOST_BYTES, code_revision, revision

ROOT = Path(__file__).parents[3]


def git(folder: Path, *arguments: str, text: str | None = None) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True,
        input=text, errors="replace",
    ).stdout.strip()  # fmt: skip


def difference(folder: Path) -> str:
    found = revision(folder)
    assert found is not None
    return found.difference


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "a tree"
    (folder / "src").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "src/code.py").write_text("one = 1\n")
    (folder / "params.yaml").write_text("train: {}\n")
    (folder / ".gitignore").write_text("*.pyc\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "a")
    return folder


def test_the_revision_of_the_code_is_that_of_the_checkout_which_it_runs_from(tree, tmp_path):
    """A project may be worked on with the package of another checkout, and then says which."""
    here, there = revision(ROOT), revision(tree)
    assert code_revision(tree) == there  # it has no package of its own: what runs is installed
    (tree / "src/monge").mkdir()
    assert code_revision(tree) == here
    other = tmp_path / "other"
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src/monge", other / "src/monge", ignore=without)
    shutil.copy(ROOT / ".gitignore", other)
    git(other, "init", "-q")
    git(other, "add", "-A")
    git(other, "commit", "-qm", "b")
    script = (
        "import sys; from pathlib import Path; from monge.tracking.revision import code_revision; "
        "print(code_revision(Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tree], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(other / "src")},
    )  # fmt: skip
    assert done.stdout.strip() == git(other, "rev-parse", "HEAD")


def test_a_clean_tree_is_its_commit(tree):
    found = revision(tree)
    assert found is not None
    assert (found.commit, found.difference) == (git(tree, "rev-parse", "HEAD"), "")
    assert str(found) == found.commit


@pytest.mark.parametrize(
    "name",
    ["params.yaml", "dvc.lock", "data/raw.dvc", "data/.gitignore", "reports/m.json", "src/a.pyc",
     "note.txt"],
)  # fmt: skip
def test_what_a_run_writes_or_git_is_not_to_know_is_no_change(tree, name):
    (tree / "reports").mkdir()
    (tree / name).write_text("another\n")
    assert difference(tree) == ""


def test_edited_new_deleted_and_binary_files_come_back_bit_by_bit(tree, tmp_path):
    commit = git(tree, "rev-parse", "HEAD")
    (tree / "src/code.py").write_bytes("one = 'é'\r\n".encode("latin-1"))
    (tree / "src/new").mkdir()
    (tree / "src/new/méthode.py").write_text("two = 2\n")
    (tree / "src/table.bin").write_bytes(bytes(range(256)))
    (tree / ".gitignore").unlink()
    (tree / "staged.txt").write_text("x\n")
    git(tree, "add", "staged.txt")
    before = git(tree, "status", "--porcelain")
    found = revision(tree)
    assert found is not None
    assert str(found) == f"{commit}{CHANGED}"
    assert git(tree, "status", "--porcelain") == before, "the person's own index was touched"
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(tree), str(clone))
    patch = tmp_path / "p.patch"
    patch.write_bytes(found.difference.encode("utf-8", "surrogateescape"))
    git(clone, "apply", str(patch))
    for name in ("src/code.py", "src/new/méthode.py", "src/table.bin"):
        assert (clone / name).read_bytes() == (tree / name).read_bytes(), name


def test_a_project_in_a_folder_of_a_repository_has_its_own_difference(tree):
    (tree / "inner/src").mkdir(parents=True)
    (tree / "inner/src/a.py").write_text("a\n")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "b")
    (tree / "src/code.py").write_text("another\n")
    assert difference(tree / "inner") == ""
    (tree / "inner/src/a.py").write_text("b\n")
    assert "a/src/a.py" in difference(tree / "inner")


def test_a_hooks_environment_does_not_lead_to_another_repository(tree, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert revision(tree) is not None


def test_a_difference_too_long_to_keep_is_said_to_be_there(tree):
    (tree / "src/data.txt").write_text("0123456789\n" * (MOST_BYTES // 10))
    found = revision(tree)
    assert found is not None
    assert str(found).endswith(CHANGED)
    assert len(found.difference) < 100


def test_no_repository_and_no_commit_are_no_revision(tmp_path):
    assert revision(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert revision(tmp_path) is None
