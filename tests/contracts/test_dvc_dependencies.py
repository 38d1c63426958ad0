"""Protects: DVC runs a stage again when code that decides its output has changed, and only then.

For each stage the modules that its function imports, lazily or not, and those that they import, are
read from the sources; and, as a second witness, those that are loaded when it has really run.
Each must be under one of the stage's `deps` in dvc.yaml, and each of those must be needed.

Left out is what decides no byte of an output: CARRIERS tell people, ask git, send figures, refuse,
or move bytes as they are. A change there would run everything again for nothing.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
CARRIERS = (
    "monge", "monge.__main__", "monge.cli", "monge.credentials", "monge.durations", "monge.errors",
    "monge.files", "monge.original", "monge.outputs", "monge.parameter_line", "monge.paths",
    "monge.products", "monge.registry", "monge.signatures", "monge.stages", "monge.terminal",
    "monge.tracking", "monge.versions.dvc",
)  # fmt: skip
FUNCTIONS = {
    "prepare": ("making", "prepare"), "train": ("making", "train"),
    "export": ("making", "export"), "evaluate": ("judging", "evaluate"),
}  # fmt: skip
STAGES = tuple(FUNCTIONS)


def file_of(module):
    path = SOURCE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def exists(module):
    return file_of(module).is_file()


def imported(node):
    """Modules of monge that a piece of code imports, where types alone are wanted left out."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, ast.If) and "TYPE_CHECKING" in ast.unparse(inner.test):
            waiting += inner.orelse
            continue
        if isinstance(inner, ast.Import):
            found |= {alias.name for alias in inner.names}
        elif isinstance(inner, ast.ImportFrom) and inner.module:
            found.add(inner.module)
            found |= {f"{inner.module}.{alias.name}" for alias in inner.names}
        waiting += ast.iter_child_nodes(inner)
    return {name for name in found if name.partition(".")[0] == "monge" and exists(name)}


def of_function(module, name):
    """What a stage's function imports, and the functions of its own file that it calls."""
    tree = ast.parse(file_of(module).read_text("utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    found: set[str] = set()
    waiting, seen = [name], set[str]()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        found |= imported(functions[one])
        names = {n.id for n in ast.walk(functions[one]) if isinstance(n, ast.Name)}
        waiting += [other for other in names if other in functions]
    return found


def is_carrier(module):
    if module == "monge.stages.agreement":  # the doors know what counts of a training
        return False
    return module in CARRIERS or any(module.startswith(f"{c}.") for c in CARRIERS[1:])


def closure(stage):
    file, name = FUNCTIONS[stage]
    waiting = of_function(f"monge.stages.{file}", name)
    found = {f"monge.stages.{file}"}
    while waiting:
        module = waiting.pop()
        if module in found or is_carrier(module):
            continue
        found.add(module)
        parts = module.split(".")
        waiting |= {".".join(parts[:end]) for end in range(2, len(parts))}
        waiting |= imported(ast.parse(file_of(module).read_text("utf-8")))
    return {str(file_of(module).relative_to(ROOT)) for module in found if says_something(module)}


def says_something(module):
    """Whether a module holds more than a docstring."""
    return len(ast.parse(file_of(module).read_text("utf-8")).body) > 1


def deps(stage):
    listed = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"][stage]["deps"]
    return [name for name in listed if name.startswith("src/")]


def covers(dep, file):
    return file == dep or file.startswith(f"{dep}/")


@pytest.mark.parametrize("stage", STAGES)
def test_everything_that_decides_a_stages_output_is_a_dependency(stage):
    listed = deps(stage)
    missing = {f for f in closure(stage) if not any(covers(dep, f) for dep in listed)}
    assert missing == set()


@pytest.mark.parametrize("stage", STAGES)
def test_no_dependency_is_listed_for_nothing(stage):
    needed = closure(stage)
    assert [dep for dep in deps(stage) if not any(covers(dep, file) for file in needed)] == []
    for dep in deps(stage):
        assert (ROOT / dep).exists(), dep


def test_what_is_loaded_when_the_stages_run_is_what_was_read(tmp_path):
    """One process a stage, on a tiny chain."""
    (tmp_path / "params.yaml").write_text(
        "train: {steps: 2, batch_size: 8, mlp: {depth: 1, width: 8}, latent_dim: 4}\n"
        "evaluate: {images: 60, transport_images: 10, repeats: 2, projections: 4}\n"
    )
    for stage in STAGES:
        code = (
            "import json, sys\n"
            "from pathlib import Path\n"
            "from monge import stages\n"
            "from monge.params import load\n"
            "from monge.paths import Paths\n"
            "before = set(sys.modules)\n"
            f"stages.{stage}(load('params.yaml'), Paths(Path.cwd()))\n"
            "later = set(sys.modules) - before\n"
            "print(json.dumps([name for name in later if name.startswith('monge.')]))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
            env={"PATH": "/usr/bin:/bin", "MONGE_TRACKING": "off", "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        loaded = {name for name in json.loads(done.stdout.splitlines()[-1])
                  if not is_carrier(name) and says_something(name)}  # fmt: skip
        files = {str(file_of(name).relative_to(ROOT)) for name in loaded}
        assert files - closure(stage) == set(), stage
        assert len(files) > 5


def test_the_carriers_are_there():
    assert all(exists(carrier) for carrier in CARRIERS)
