"""Protects: `benchmarks/gpu.py` runs to its end with the packages that it names and no other."""

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_parts, train

ROOT = Path(__file__).parents[2]

ONLY = """
import sys
from importlib.machinery import PathFinder

class Only(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        found = super().find_spec(name, path, target)
        places = [found.origin, *(found.submodule_search_locations or [])] if found else []
        installed = any("site-packages" in str(place) for place in places)
        return None if path is None and installed and name not in {allowed!r} else found

sys.meta_path[:] = [Only if finder is PathFinder else finder for finder in sys.meta_path]
"""
"""As `sitecustomize` it hides all installed packages but some from a process and its children."""


def modules(packages):
    """The names that can be imported of these packages and of all that they ask for."""
    todo, seen, found = [*packages], set(), set()
    while todo:
        package = todo.pop().lower()
        if package in seen:
            continue
        seen.add(package)
        try:
            distribution = metadata.distribution(package)
        except metadata.PackageNotFoundError:  # of another system
            continue
        found |= {file.parts[0].removesuffix(".py") for file in distribution.files or []}
        asked = [each for each in distribution.requires or [] if "extra ==" not in each]
        todo += [re.split(r"[^\w.-]", each)[0] for each in asked]
    return found


def run(tmp_path, packages, *arguments):
    """The benchmark as where these packages are installed, and monge's source is beside it."""
    text = ONLY.format(allowed=modules(packages))
    (tmp_path / "sitecustomize.py").write_text(text, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--tiny", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_it_measures_everything_at_tiny_sizes_with_the_packages_that_it_names(tmp_path):
    file = tmp_path / "gpu.json"
    done = run(tmp_path, gpu.NEEDED.values(), "--out", file)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text())
    assert report["conditions"]["tiny"]
    assert set(report["capture"]) == set(report["precision"]) == set(gpu.METHODS)
    assert all(apart["by_weight"] < 1e-6 for apart in report["capture"].values())
    assert report["violations"] == report["skipped"] == []
    assert [case["case"] for case in report["training"]] == [f"tiny-{m}" for m in gpu.METHODS]
    for case in report["training"]:
        assert set(case["contenders"]) == {"textbook", "resident", "monge"}
        assert all(figures["images_per_s"] > 0 for figures in case["contenders"].values())
        assert 0.0 < case["busy"] <= 1.0
    first, *_ = report["training"]
    assert all(figures["memory_bytes"] > 0 for figures in first["contenders"].values())
    assert report["sampling"]["exporter"] == "torchscript"  # onnxscript is not among the named
    assert report["sampling"]["batches"]["8"]["times_standard"] > 0
    assert all(
        f"{name}: {taken_s:.1f} s" in done.stdout for name, taken_s in report["parts_s"].items()
    )


def test_the_packages_that_are_missing_are_named_in_one_line(tmp_path):
    done = run(tmp_path, set(gpu.NEEDED.values()) - {"pydantic", "pyyaml"})
    assert done.returncode == 1
    assert done.stderr == "not installed: pydantic, pyyaml. pip install pydantic pyyaml\n"


def test_the_command_that_installs_them_names_them_all():
    line = f"    pip install {' '.join(gpu.NEEDED.values())}\n"
    for text in (gpu.__doc__, (ROOT / "docs/how-to/gpu.md").read_text(encoding="utf-8")):
        assert line in text
    assert gpu.missing() == []
    assert all(importlib.util.find_spec(name) for name in gpu.NEEDED)


def test_what_does_not_fit_before_the_deadline_is_skipped_and_said(capsys):
    now_s = [0.0]
    report: gpu.Report = {"skipped": [], "failed": {}, "parts_s": {}}

    def part(name, kind, takes_s):
        def do(_):
            now_s[0] += takes_s

        return gpu.Part(name, kind, do)

    todo = [part("a", "long", 5.0), part("b", "long", 5.0), part("c", "short", 1.0)]
    gpu.measure(report, todo, 8.0, clock_s=lambda: now_s[0])
    assert report["skipped"] == ["b"]
    assert report["parts_s"] == {"a": 5.0, "c": 1.0}
    assert "b: skipped, 3 s are left" in capsys.readouterr().out


@pytest.mark.parametrize("seconds", ["nan", "-1", "soon"])
def test_a_deadline_that_is_none_is_refused(seconds, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu", "--tiny", "--deadline-s", seconds])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 2
    assert "--deadline-s" in capsys.readouterr().err.splitlines()[-1]


def test_with_no_time_at_all_everything_is_skipped_and_the_file_is_written(tmp_path, monkeypatch):
    file = tmp_path / "gpu.json"
    command = ["gpu", "--tiny", "--deadline-s", "0", "--out", str(file)]
    monkeypatch.setattr(sys, "argv", command)
    threads = torch.get_num_threads()
    gpu.main()
    torch.set_num_threads(threads)
    report = json.loads(file.read_text())
    assert len(report["skipped"]) == 7
    assert report["training"] == []
    assert report["parts_s"] == {}


def test_what_is_beyond_a_bound_or_fails_is_said_with_exit_code_1_and_the_file_is_written(
    tmp_path, monkeypatch, capsys
):
    file = tmp_path / "gpu.json"
    wrong = {"capture": {"by_way": 0.1, "by_weight": 0.0}, "precision": {"bf16": 0.1, "tf32": 1.0}}

    def fail(*_):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(gpu_parts, "check", lambda *_: wrong)
    monkeypatch.setattr(gpu_parts, "sampled", fail)
    monkeypatch.setattr(train, "measure", lambda *_, **__: {})
    monkeypatch.setattr(train, "tell", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["gpu", "--tiny", "--out", str(file)])
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit, match="6 beyond their bounds, 1 parts failed"):
        gpu.main()
    torch.set_num_threads(threads)
    report = json.loads(file.read_text())
    assert len(report["violations"]) == 6
    assert "no such kernel" in report["failed"]["sample"]
    assert "BEYOND ITS BOUND: wgan: recorded iterations end 0.1" in capsys.readouterr().out


@pytest.mark.parametrize("value", [math.nan, 1.0])
def test_a_way_apart_that_is_no_number_or_too_long_is_beyond_its_bound(value):
    right = {"bf16": 0.9, "tf32": 0.99}
    checked = {"capture": {"by_way": value}, "precision": right}
    assert len(gpu_parts.violations("wgan", checked)) == 1
    checked = {"capture": {"by_way": 0.0}, "precision": right | {"tf32": math.nan}}
    assert len(gpu_parts.violations("wgan", checked)) == 1
    assert gpu_parts.violations("wgan", {"capture": {"by_way": 0.0}, "precision": right}) == []


@pytest.mark.parametrize("method", gpu.METHODS)
def test_an_iteration_that_is_left_out_is_beyond_the_bound(method):
    section = train.TINY | {"objective": method, "precision": "fp32", "capture": "off"}
    device = torch.device("cpu")
    start, less, whole = (
        gpu_parts.trained(section, gpu_parts.ITERATIONS - left_out, device)
        for left_out in (gpu_parts.ITERATIONS, 1, 0)
    )
    assert gpu_parts.by_way(start, whole, less) > 1.5 * gpu_parts.APART_AT_MOST
    assert gpu_parts.by_way(start, whole, whole) == 0.0


def test_a_profile_is_of_a_second_and_bounded():
    assert train.profiled_iterations(4.0, 0.02) == 50
    assert train.profiled_iterations(0.05, 0.02) == 3
    assert train.profiled_iterations(1.0, 8.0) == 1
    assert train.profiled_iterations(1.0, 1e-5) == train.MOST_PROFILED
