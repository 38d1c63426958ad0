"""Protects: what `monge train` tells a person to type works as it is typed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

MONGE = Path(sys.executable).parent / "monge"
ROOT = Path(__file__).parents[3]
SMALL = (
    "--set", "train.steps=8", "--set", "train.checkpoint_every=4", "--set", "train.mlp.width=8",
    "--set", "train.device=cpu",
)  # fmt: skip
SLOWER = ("--set", "train.rpgan.learning_rate=0.001")


def monge(*arguments, cwd):
    return subprocess.run(
        [str(MONGE), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=400,
        env=os.environ | {"MONGE_TRACKING": "off", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def packed(tmp_path_factory, packed_digits):
    """A project with its images packed."""
    folder = tmp_path_factory.mktemp("packed") / "project"
    shutil.copytree(packed_digits, folder / "data/prepared")
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return folder


@pytest.fixture(scope="module")
def trained(packed):
    """The same with a finished training of 8 steps."""
    folder = packed.with_name("trained")
    shutil.copytree(packed, folder)
    assert monge("train", *SMALL, cwd=folder).returncode == 0
    return folder


@pytest.fixture
def project(trained, tmp_path):
    """A copy of that project, to be changed."""
    return shutil.copytree(trained, tmp_path, dirs_exist_ok=True)


def first_weights(folder):
    return load_file(folder / "step-00000008/tensors.safetensors")["critic.net.1.weight"]


def contents(folder):
    return {
        path: (path.lstat().st_ctime_ns, path.read_bytes() if path.is_file() else None)
        for path in [folder, *folder.rglob("*")]
    }


def test_a_refused_training_is_fine_tuned_by_the_command_that_it_names(project):
    before = first_weights(project / "checkpoints")
    refused = monge("train", *SMALL, *SLOWER, cwd=project)
    assert refused.returncode == 2
    assert "train.rpgan.learning_rate: 0.002 -> 0.001" in refused.stderr
    commands = re.findall(r"`(monge train [^`]*)`", refused.stderr)
    assert len(commands) == 2  # a fresh run, and fine-tuning
    program, *typed = shlex.split(commands[1])
    assert program == "monge"

    tuned = monge(*typed, *SMALL, *SLOWER, cwd=project)
    assert tuned.returncode == 0, tuned.stderr
    assert "starting with the weights of" in tuned.stderr
    assert "step 8: 8 iterations" in tuned.stdout
    kept = first_weights(project / "checkpoints.replaced")
    assert (kept == before).all()

    again = monge(*typed, *SMALL, *SLOWER, cwd=project)
    assert "complete at step 8: nothing to do" in again.stdout
    shutil.rmtree(project / "checkpoints.replaced")
    alone = monge(*typed, *SMALL, *SLOWER, cwd=project)
    assert "complete at step 8: nothing to do" in alone.stdout, alone.stderr


def test_fresh_moves_the_weights_it_starts_from_first(project):
    done = monge(
        "train", "--fresh", *SMALL, "--set", "train.init_from=checkpoints.replaced", cwd=project
    )
    assert done.returncode == 0, done.stderr
    assert "step 8: 8 iterations" in done.stdout
    assert (project / "checkpoints/origin.json").is_file()


def test_a_dry_run_shows_everything_and_changes_nothing(project):
    before = contents(project)
    seen = monge("train", "--dry-run", "--fresh", *SMALL, cwd=project)
    assert contents(project) == before
    assert seen.returncode == 0, seen.stderr
    for word in ("generator", "critic", "Linear", "gradients", "optimizers", "activations"):
        assert word in seen.stdout
    assert "8 to do, from 0 to 8" in seen.stdout
    assert re.search(r"\d+ iterations? timed", seen.stdout)
    wrong = monge("train", "--dry-run", "--fresh", "--set", "train.init_from=no", cwd=project)
    assert wrong.returncode == 2
    assert "train.init_from: no: no such folder" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert contents(project) == before


def test_a_discriminator_that_is_too_sure_ends_the_command_with_the_remedy(packed, tmp_path):
    project = shutil.copytree(packed, tmp_path, dirs_exist_ok=True)
    values = (
        "objective=gan", "gan.learning_rate=1e-3", "gan.discriminator_steps=5", "mlp.depth=2",
        "mlp.width=32", "steps=100", "log_every=2", "guards.patience=20", "device=cpu",
    )  # fmt: skip
    overrides = [part for value in values for part in ("--set", f"train.{value}")]
    ended = monge("train", *overrides, cwd=project)
    assert ended.returncode == 4, ended.stderr
    said, remedy = ended.stderr.splitlines()[-2:]
    assert re.match(r"monge: step \d+: the generator's gradient has vanished: ", said)
    assert "the discriminator tells real and fake apart (Jensen-Shannon estimate 0." in said
    assert remedy.startswith("Use train.objective: wgan-gp or rpgan, ")
    for change in (
        "train.gan.loss: hinge", "train.gan.discriminator_steps: 5",
        "train.mlp.critic_norm: spectral", "`monge train --fresh`",
    ):  # fmt: skip
        assert change in remedy
    assert "critic" not in said
    assert "Traceback" not in ended.stderr
