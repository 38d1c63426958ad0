"""One batch over 1, 2 or 4 ranks is the same mathematics; a lost rank costs no bit."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from monge.data.batches import Batches
from monge.data.packed import PackedDataset
from monge.errors import DeviceError
from monge.params import TrainParams
from monge.training.checkpoints import checkpoint
from monge.training.machine import launch

SCRIPT = Path(__file__).with_name("train_as_rank.py")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def left(packed_digits, tmp_path_factory):
    """What rank 0 of so many has written, by number of ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    found = {}
    for world in (1, 2, 4):
        port, out = free_port(), folder / f"{world}.safetensors"
        group = {"WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        processes = [
            subprocess.Popen(
                [sys.executable, SCRIPT, packed_digits, out],
                env=os.environ | {k: str(v) for k, v in (group | {"RANK": rank}).items()},
            )
            for rank in range(world)
        ]
        assert [process.wait(240) for process in processes] == [0] * world
        found[world] = load_file(out)
    return found


@pytest.mark.parametrize("world", [2, 4])
def test_gradients_readings_and_statistics_are_those_of_one_rank(left, world):
    one, several = left[1], left[world]
    assert several.keys() == one.keys()
    assert sum("gradient." in name for name in one) > 40
    for name, wanted in one.items():
        if ".statistics." in name:  # after three updates, whose first steps are a sign
            torch.testing.assert_close(several[name], wanted, rtol=1e-2, atol=1e-3)
        else:
            distance = float((several[name] - wanted).norm())
            assert distance <= 1e-4 * float(wanted.norm()) + 1e-7, name


def test_the_shares_of_a_batch_are_the_batch(packed_digits):
    split = PackedDataset.open(packed_digits).train
    for data in ("resident", "streamed"):
        train = TrainParams.model_validate({"batch_size": 12, "flip": True, "data": data})
        parts = []
        for share in ((0, 1), (0, 3), (1, 3), (2, 3)):
            with Batches(split, train, torch.device("cpu"), share=share) as batches:
                parts.append(next(batches.starting_at(130)).images)
        assert torch.equal(parts[0], torch.cat(parts[1:]))


SETTINGS = [
    "train.steps=40", "train.devices=2", "train.device=cpu", "train.batch_size=8",
    "train.checkpoint_every=5", "train.log_every=5", "train.grid_every=20",
    "train.quality_every=20",
    "train.latent_dim=4", "train.mlp.width=32", "train.data=streamed",
]  # fmt: skip


@pytest.fixture
def project(tmp_path, packed_digits):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prepared").symlink_to(packed_digits)
    (tmp_path / "params.yaml").write_text("prepare: {source: digits}\n")
    return tmp_path


def start(project, *more):
    arguments = [word for setting in (*SETTINGS, *more) for word in ("--set", setting)]
    return subprocess.Popen(
        [sys.executable, "-m", "monge", "train", *arguments], cwd=project,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def wait_for_checkpoint(project, step):
    deadline = time.monotonic() + 120
    while not (project / "checkpoints" / f"step-{step:08d}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.timeout(400)
def test_a_killed_rank_is_started_again_and_costs_no_bit(project, tmp_path):
    undisturbed = start(project)
    said = undisturbed.communicate(timeout=180)
    assert undisturbed.returncode == 0, said
    assert said[0].count("step 40: 40 iterations") == 1
    whole = checkpoint.latest(project / "checkpoints")
    (project / "checkpoints").rename(project / "undisturbed")

    running = start(project)
    wait_for_checkpoint(project, 5)
    os.kill(children(running.pid)[1], signal.SIGKILL)
    said = running.communicate(timeout=240)
    assert running.returncode == 0, said
    assert "a training process died" in said[1]
    again = checkpoint.latest(project / "checkpoints")
    assert whole is not None
    assert again is not None
    assert (whole.step, again.step) == (40, 40)
    assert all(torch.equal(again.tensors[name], whole.tensors[name]) for name in whole.tensors)
    first, second = (project / name / "history.csv" for name in ("undisturbed", "checkpoints"))
    assert first.read_text() == second.read_text()


@pytest.mark.timeout(200)
def test_a_signal_stops_all_ranks_at_one_step_and_bad_input_is_said_once(project):
    running = start(project, "train.steps=100000")
    wait_for_checkpoint(project, 5)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=100)
    assert running.returncode == 130, said
    assert said.count("the checkpoint is saved") == 1
    assert checkpoint.latest(project / "checkpoints") is not None
    refused = start(project, "train.latent_dim=5")
    _, said = refused.communicate(timeout=100)
    assert refused.returncode == 2, said
    assert said.count("train.latent_dim: 4 -> 5") == 1


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ("os.kill(os.getpid(), 9)", "raise RuntimeError('connection closed by peer')", 0),
        ("raise RuntimeError('connection closed by peer')", "os.kill(os.getpid(), 9)", 0),
        ("sys.exit(4)", "raise RuntimeError('connection closed by peer')", 4),
        ("raise RuntimeError('connection closed by peer')", "sys.exit(4)", 4),
        ("raise RuntimeError('a bug')", "raise RuntimeError('a bug')", 1),
    ],
)
def test_what_the_others_raise_when_one_is_killed_is_no_refusal(
    monkeypatch, tmp_path, first, second, code
):
    """A killed process is started again with all others, also where they have ended already."""
    attempts = itertools.count()

    def begin(rank, world, arguments, port):
        script = [first, second][rank] if next(attempts) < world else "pass"
        return subprocess.Popen(
            [sys.executable, "-c", f"import os, sys\n{script}"], stderr=subprocess.DEVNULL
        )

    monkeypatch.setattr(launch, "_check", lambda devices, device: None)
    monkeypatch.setattr(launch, "_start", begin)
    monkeypatch.setattr(launch, "_POLL_S", 0.5)  # both have ended when they are looked at
    assert launch.launch(2, "cpu", ["train"]) == code


def test_more_gpus_than_there_are_is_refused_before_anything_starts():
    with pytest.raises(DeviceError, match="99 are asked for and"):
        launch.launch(99, "cuda", ["train"])


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    from monge.errors import ParamsError
    from monge.params import load

    path = tmp_path / "params.yaml"
    path.write_text("train: {batch_size: 10, devices: 4}\n")
    with pytest.raises(ParamsError, match="cannot be cut into train.accumulate x train.devices"):
        load(path)
