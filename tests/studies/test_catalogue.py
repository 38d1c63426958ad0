"""The list of studies, what a run leaves, and what is said of a wrong name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from studies import __main__ as command
from studies import catalogue
from studies.study import Conditions, Finding, Number

ROOT = Path(__file__).parents[2]


def number(value: float) -> Number:
    return Number("a number", value, 0.0, 1.0)


def test_every_script_is_in_the_list_and_says_what_it_tries():
    scripts = {
        path.relative_to(ROOT / "studies").with_suffix("").as_posix()
        for path in (ROOT / "studies").rglob("*.py")
        if "STUDY = Study(" in path.read_text(encoding="utf-8")
    }
    assert scripts - {"catalogue"} == set(catalogue.NAMES)
    for name in catalogue.NAMES:
        told = catalogue.told(name)
        quick, default = told.seconds
        assert quick <= 20, name
        assert default <= 300, name
        assert told.claim.endswith("."), name
        assert min(told.title, told.source), name


def test_the_list_needs_no_torch():
    listed = subprocess.run(
        [sys.executable, "-c", "import sys; from studies.__main__ import main; main([]); "
         "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert listed.returncode == 0, listed.stderr
    assert all(name in listed.stdout for name in catalogue.NAMES)


def test_the_numbers_decide():
    def verdict(*values: float) -> str:
        return Finding([number(value) for value in values], Figure()).verdict

    assert verdict(0.0, 1.0) == "holds"
    assert verdict(0.5, 2.0) == "holds in part"
    assert verdict(-1.0, float("nan")) == "does not hold here"


def test_a_run_leaves_its_picture_and_its_numbers(tmp_path, capsys):
    out = tmp_path / "out"
    assert command.main(["parallel_lines", "--quick", "--seed", "3", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "the claim holds." in said
    assert "wanted: 0 to" in said
    record = json.loads((out / "wgan-parallel_lines-quick-3.json").read_text(encoding="utf-8"))
    assert (record["verdict"], record["seed"], record["scale"]) == ("holds", 3, "quick")
    with Image.open(out / "wgan-parallel_lines-quick-3.png") as picture:
        assert picture.size[0] > 400


def test_quick_without_a_name_runs_all_of_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(catalogue, "NAMES", ("weng/piles", "weng/divergences"))
    assert command.main(["--quick", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" (")[0] for line in said[:2]] == [
        "weng/piles: holds", "weng/divergences: holds"
    ]  # fmt: skip
    assert said[2] == f"2 studies; their pictures and numbers are in {tmp_path}"
    assert (tmp_path / "weng-divergences-quick-0.png").is_file()


@pytest.mark.parametrize("name", ["wgan/parallel_lines", "studies/wgan/parallel_lines.py",
                                  "parallel_lines", "wgan.parallel_lines"])  # fmt: skip
def test_a_study_is_found_by_what_people_type(name):
    assert catalogue.found(name) == "wgan/parallel_lines"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["nothing"], "nothing: no such study. `python -m studies` lists them."),
        (["two_gaussians", "--full"], "its default is the paper's size already"),
        (["sprites", "--images", "/no/such"], "--images: /no/such: no such folder or file."),
        (["two_gaussians", "--images", "/no/such"], "it is not about images, and takes none"),
        (["piles", "--seed", "-1"], "--seed: -1 is none: take 0, 1, 2 and so on."),
        (["--seed", "1"], "which study? Name one of `python -m studies`"),
        (["--quick", "--images", "."], "which study? Name one of `python -m studies`"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_line(typed, said, capsys):
    assert command.main(typed) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_said_before_the_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(catalogue, "work_of", None)
    (tmp_path / "file").touch()
    assert command.main(["piles", "--out", str(tmp_path / "file")]) == 3
    assert f"{tmp_path / 'file'}: cannot be written (File exists)" in capsys.readouterr().err


def test_images_are_for_the_studies_that_use_them():
    for name in catalogue.NAMES:
        source = (ROOT / "studies" / f"{name}.py").read_text(encoding="utf-8")
        assert catalogue.told(name).images == ("digits_or(" in source), name


def test_a_random_number_depends_on_the_seed_alone():
    assert Conditions(seed=1).dice().random() == Conditions(seed=1).dice().random()
    assert Conditions(seed=1).dice().random() != Conditions(seed=2).dice().random()
