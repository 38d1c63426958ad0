"""Protects: after an import the garbage collector is back, however that went."""

import subprocess
import sys

import pytest

LOOK = """
import gc, sys
from monge import imports
imports.LARGE, imports.MANY = frozenset({"large", "broken"}), 1000
imports.uncollected()
imports.uncollected()
"""


@pytest.fixture
def ask(tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "__init__.py").write_text(
        "import gc\ncollects = gc.isenabled()\nkept = [[i] for i in range(5000)]\n"
        "from large import part\n"
    )
    (tmp_path / "large" / "part.py").write_text("import gc\ncollects = gc.isenabled()\n")
    (tmp_path / "broken.py").write_text("import gc\nseen = gc.isenabled()\n1 / 0\n")
    (tmp_path / "small.py").write_text("import gc\ncollects = gc.isenabled()\n")

    def told(code):
        done = subprocess.run(
            [sys.executable, "-c", LOOK + code], cwd=tmp_path, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return told


def test_it_is_off_within_a_large_package_alone(ask):
    code = "import small, large\nprint(small.collects, large.collects, large.part.collects)\n"
    assert ask(code + "print(gc.isenabled())") == ["True", "False", "False", "True"]


def test_what_a_large_package_made_is_not_looked_through_again(ask):
    code = "before = gc.get_freeze_count()\nimport large\n"
    assert ask(code + "print(gc.get_freeze_count() - before > 5000)") == ["True"]
    assert ask("imports.MANY = 10**9\nimport large\nprint(gc.get_freeze_count())") == ["0"]


def test_it_is_back_after_an_import_that_failed(ask):
    code = "try:\n    import broken\nexcept ZeroDivisionError:\n    print(gc.isenabled())\n"
    assert ask(code) == ["True"]


def test_who_works_without_it_goes_on_so(ask):
    assert ask("gc.disable()\nimport large\nprint(gc.isenabled())") == ["False"]


def test_one_finder_is_enough_and_knows_the_paths_of_python(ask):
    code = "print(sum(isinstance(each, imports._Uncollected) for each in sys.meta_path))\n"
    assert ask(code + "import large\nprint(large.__spec__.origin[-17:])") == [
        "1", "large/__init__.py"
    ]  # fmt: skip
