"""Protects: the command line answers at once, in one line, with the exit code of the design."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.running import write_conditional

MONGE = Path(sys.executable).parent / "monge"
ROOT = Path(__file__).parents[3]


def monge(*arguments, cwd=None, **environment):
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [str(MONGE), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=400,
        env=kept | {"MONGE_TRACKING": "off", "OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip


@pytest.fixture
def project(tmp_path):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "data/raw").mkdir(parents=True)
    return tmp_path


def used_s(*command):
    """Processor time of a command, the least of five: a busy machine changes little of it."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def test_help_takes_little_more_than_the_library_that_prints_it_and_names_every_stage():
    library_s = used_s(sys.executable, "-c", "import typer")
    assert used_s(MONGE, "--help") < 2.5 * library_s  # torch alone takes ten times as much
    done = monge("--help")
    for stage in ("prepare", "train", "export", "evaluate", "promote", "sample"):
        assert f"  {stage} " in done.stdout


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv=['monge','--help']; import os; os._exit=lambda c: None\n"
        "from monge.cli import main; main()\n"
        "print([m for m in ('torch','numpy','mlflow','prefect','pydantic','onnxruntime','yaml') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [("pydantic", ["train"], "train"), ("uvicorn", ["serve", "x.onnx"], "server")],
)
def test_a_missing_package_names_the_extra_and_exits_with_3(project, package, arguments, extra):
    code = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['monge', *{arguments}]\n"
        "from monge.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.returncode == 3
    told = f"more than is installed (no module {package}): pip install 'monge[{extra}]'"
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_shows_the_help():
    assert "Commands:" in monge().stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["trian"], 2, "No such command 'trian'. Did you mean 'train'?"),
        (["sample"], 2, "Missing argument"),
        (["sample", "none.onnx"], 2, "none.onnx: no such file"),
        (["sample", "x.onnx", "-n", "0"], 2, "-n must be at least 1, got 0"),
        (["prepare", "--set", "prepare.resolutoin=3"], 2, "Did you mean prepare.resolution?"),
        (["prepare", "--set", "prepare.source=folder"], 2, "no image found in data/raw"),
        (["train"], 2, "no packed dataset here. Run `monge prepare`"),
        (["export"], 2, "no packed dataset here. Run `monge prepare`"),
        (["evaluate"], 2, "no such file. Give a generator.onnx"),
        (["promote"], 2, "no such file. Give a generator.onnx"),
    ],
)
def test_wrong_input_is_one_clear_line_and_exit_code_2(project, arguments, code, message):
    done = monge(*arguments, cwd=project)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2, done.stderr


def test_outside_a_project_it_says_so(tmp_path):
    done = monge("train", cwd=tmp_path)
    assert done.returncode == 2
    assert "params.yaml: no such file. Run monge in the project's folder" in done.stderr


def test_debug_shows_the_traceback(project):
    done = monge("train", "--debug", cwd=project)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


SMALL = (
    "--set", "train.steps=8", "--set", "train.checkpoint_every=4", "--set", "train.mlp.width=8",
    "--set", "evaluate.images=100", "--set", "evaluate.transport_images=20",
    "--set", "evaluate.repeats=2", "--set", "evaluate.projections=8",
    "--set", "evaluate.features=random",
)  # fmt: skip


def test_the_file_stages_run_one_by_one_without_tracking(project):
    for stage in ("prepare", "train", "export", "evaluate"):
        done = monge(stage, *SMALL, cwd=project)
        assert done.returncode == 0, done.stderr
    assert (project / "reports/metrics.json").is_file()
    assert not (project / "mlflow.db").exists()

    again = monge("train", *SMALL, cwd=project)
    assert "complete at step 8: nothing to do" in again.stdout

    other = monge("train", *SMALL, "--set", "train.batch_size=32", cwd=project)
    assert other.returncode == 2
    assert "train.batch_size: 64 -> 32" in other.stderr
    assert "monge train --fresh" in other.stderr

    fresh = monge("train", *SMALL, "--set", "train.batch_size=32", "--fresh", cwd=project)
    assert fresh.returncode == 0
    assert (project / "checkpoints.replaced/step-00000008").is_dir()

    newest = project / "checkpoints/step-00000008/tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    mended = monge("train", *SMALL, "--set", "train.batch_size=32", cwd=project)
    assert mended.returncode == 0
    assert "step-00000008: damaged" in mended.stderr

    elsewhere = monge("sample", "models/generator.onnx", "-o", "x.bmp", cwd=project)
    assert elsewhere.returncode == 2
    assert "cannot write .bmp" in elsewhere.stderr

    (project / "models/generator.onnx").unlink()
    gone = monge("evaluate", *SMALL, cwd=project)
    assert gone.returncode == 2


def test_the_packed_images_are_shown_as_a_picture_and_which_class_was_drawn(project):
    assert monge("prepare", cwd=project).returncode == 0
    shown = monge("data", "show", "-n", 6, cwd=project)
    assert shown.stdout == "6 of 1,438 images to train on in packed.png\n"
    with Image.open(project / "packed.png") as picture:
        assert picture.size == (3 * 40 + 2 * 2, 2 * 40 + 2)
    held_out = monge("data", "show", "--held-out", "-o", "x.png", cwd=project)
    assert "64 of 359 held-out images in x.png" in held_out.stdout
    assert monge("data", "show", "-o", "x.jpg", cwd=project).returncode == 2
    write_conditional(project / "g.onnx")
    drawn = monge("sample", "g.onnx", "-n", 2, "--label", "dog", cwd=project)
    assert "2 images of class 'dog', label 1, of seed 0 in samples.png" in drawn.stdout


def test_a_full_disk_is_one_line_exit_code_3_and_loses_nothing(project):
    """The limit on a file's size stands for the disk: real writes fail half way."""
    assert monge("prepare", cwd=project).returncode == 0
    small = ("--set", "train.steps=4", "--set", "train.checkpoint_every=2")
    wide = ("--set", "train.mlp.width=64", "--set", "train.learning_rate_decay=none")
    assert monge("train", *small, *wide, cwd=project).returncode == 0
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "sys.argv = ['monge', *sys.argv[1:]]\n"
        "from monge.cli import main; main()"
    )
    more = ("--set", "train.steps=8", "--set", "train.checkpoint_every=2")
    done = subprocess.run(
        [sys.executable, "-c", code, "train", *more, *wide], cwd=project, text=True,
        capture_output=True, env=os.environ | {"MONGE_TRACKING": "off", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "the checkpoint cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    after = monge("train", *more, *wide, cwd=project)
    assert after.returncode == 0
    assert "going on from" in after.stderr
