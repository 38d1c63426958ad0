"""Protects: a training goes on from where it was, to the same bits, or says why it does not."""

import csv
import json
import logging
import shutil
import signal
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from monge import objectives
from monge.data.packed import PackedDataset
from monge.errors import (
    Busy,
    CheckpointMismatch,
    DeviceError,
    InputError,
    Interrupted,
    StorageError,
)
from monge.params import ExportParams, TrainParams
from monge.tracking import NullRun
from monge.training import loop, trained
from monge.training.average import Average
from monge.training.checkpoints import checkpoint, lock, record, resume
from monge.training.checkpoints.fingerprint import differences, fingerprint
from monge.training.context import Training
from monge.training.machine.device import choose_device
from monge.training.schedule import set_schedules
from monge.training.state import TrainingState


def small(**changes):
    values = {
        "steps": 6, "batch_size": 8, "latent_dim": 4, "threads": 1, "log_every": 2,
        "grid_every": 100, "checkpoint_every": 2, "learning_rate_decay": "none",
        "mlp": {"depth": 1, "width": 8}, "dcgan": {"features": 2},
        "resnet": {"features": 2},
    }  # fmt: skip
    return TrainParams.model_validate(values | changes)


@pytest.fixture
def dataset(packed_digits):
    return PackedDataset.open(packed_digits)


def train(params, dataset, folder, run=None):
    return loop.train(Training(params, dataset, folder, run or NullRun("key")))


def weights(folder):
    return load_file(max(folder.glob("step-*")) / "tensors.safetensors")


def assert_same_training(one, other):
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
    assert (one / "history.csv").read_text() == (other / "history.csv").read_text()


@pytest.mark.parametrize("objective", ["wgan", "wgan-gp"])
@pytest.mark.parametrize("net", ["mlp", "dcgan", "dcgan-plain"])
@pytest.mark.parametrize("decay", ["none", "linear"])
def test_a_resumed_training_ends_at_the_same_bits(dataset, tmp_path, net, objective, decay):
    params = small(net=net, objective=objective, learning_rate_decay=decay)
    train(params, dataset, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    shutil.rmtree(tmp_path / "broken/step-00000006")
    outcome = train(params, dataset, tmp_path / "broken")
    assert outcome.resumed_from == 4
    assert_same_training(tmp_path / "whole", tmp_path / "broken")


def test_a_resumed_resnet_with_classes_ends_at_the_same_bits(dataset, tmp_path):
    resnet = {"features": 2, "head": "classifier"}
    params = small(net="resnet", objective="wgan-gp", conditional=True, resnet=resnet)
    train(params, dataset, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    shutil.rmtree(tmp_path / "broken/step-00000006")
    assert train(params, dataset, tmp_path / "broken").resumed_from == 4
    assert_same_training(tmp_path / "whole", tmp_path / "broken")


def test_more_steps_continue_a_finished_training(dataset, tmp_path):
    train(small(steps=4), dataset, tmp_path / "longer")
    assert train(small(steps=6), dataset, tmp_path / "longer").resumed_from == 4
    train(small(steps=6), dataset, tmp_path / "whole")
    assert_same_training(tmp_path / "longer", tmp_path / "whole")


def test_a_finished_training_does_nothing_more(dataset, tmp_path):
    train(small(), dataset, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    outcome = train(small(), dataset, tmp_path)
    assert (outcome.resumed_from, outcome.step) == (6, 6)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == {
        p: t for p, t in before.items() if p.is_file()
    }


def test_another_training_is_refused_with_the_difference_and_both_ways_on(dataset, tmp_path):
    train(small(), dataset, tmp_path)
    with pytest.raises(CheckpointMismatch) as caught:
        train(small(batch_size=16), dataset, tmp_path)
    message = str(caught.value)
    assert "train.batch_size: 8 -> 16" in message
    assert "Set these back" in message
    assert "monge train --fresh" in message


def test_what_does_not_matter_to_the_weights_may_change(dataset, tmp_path):
    train(small(steps=4), dataset, tmp_path)
    other = small(log_every=1, keep_checkpoints=1, wgan={"clip": 0.5}, dcgan={"features": 9})
    assert train(other, dataset, tmp_path).resumed_from == 4


def test_steps_matter_exactly_when_the_learning_rate_decays_towards_them(dataset):
    constant = [fingerprint(small(steps=n), dataset) for n in (4, 6)]
    linear = [fingerprint(small(steps=n, learning_rate_decay="linear"), dataset) for n in (4, 6)]
    assert constant[0] == constant[1]
    assert differences(linear[0], linear[1]) == ["train.steps: 4 -> 6"]


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "SHA256SUMS"])
def test_a_checkpoint_damaged_in_any_file_is_named_and_the_one_before_is_used(
    dataset, tmp_path, name, caplog
):
    train(small(), dataset, tmp_path)
    file = tmp_path / "step-00000006" / name
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.step == 4
    assert "step-00000006: damaged" in caplog.text
    train(small(), dataset, tmp_path)
    recovered = checkpoint.latest(tmp_path)
    assert recovered is not None
    assert recovered.step == 6


@pytest.mark.parametrize("damage", ["truncate", "missing", "other step", "other version"])
def test_every_kind_of_damage_is_skipped(dataset, tmp_path, damage):
    train(small(), dataset, tmp_path)
    newest = tmp_path / "step-00000006"
    if damage == "truncate":
        (newest / "tensors.safetensors").write_bytes(b"")
    elif damage == "missing":
        (newest / "state.json").unlink()
    elif damage == "other step":
        newest.rename(tmp_path / "step-00000009")
    else:
        state = json.loads((newest / "state.json").read_text())
        text = json.dumps(state | {"format_version": 99})
        (newest / "state.json").write_text(text)
        checkpoint.prune(tmp_path, 3)
        sums = (newest / "SHA256SUMS").read_text().splitlines()
        import hashlib

        sums[1] = f"{hashlib.sha256(text.encode()).hexdigest()}  state.json"
        (newest / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.step == 4


def test_only_the_newest_checkpoints_stay_and_leftovers_of_a_kill_go(dataset, tmp_path):
    (tmp_path / ".partial-step-00000002").mkdir()
    train(small(keep_checkpoints=2), dataset, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir() and p.name != "grids") == [
        "step-00000004", "step-00000006",
    ]  # fmt: skip


def test_a_checkpoint_is_no_pickle_and_its_sums_are_sha256sums(dataset, tmp_path):
    import subprocess

    train(small(), dataset, tmp_path)
    newest = tmp_path / "step-00000006"
    assert sorted(p.name for p in newest.iterdir()) == [
        "SHA256SUMS", "state.json", "tensors.safetensors",
    ]  # fmt: skip
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=newest, check=True)


def test_a_folder_that_cannot_be_written_loses_nothing(dataset, tmp_path, monkeypatch):
    train(small(steps=4), dataset, tmp_path)
    before = weights(tmp_path)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(StorageError, match=r"No space left.*same command to go on"):
            train(small(), dataset, tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*step*")) == ["step-00000002", "step-00000004"]
    after = weights(tmp_path)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert train(small(), dataset, tmp_path).resumed_from == 4


def test_sigterm_ends_after_the_iteration_in_hand_with_a_checkpoint(dataset, tmp_path):
    params = small(steps=100_000, checkpoint_every=100_000, log_every=1)

    class SignalAtThree(NullRun):
        def metrics(self, values, step, *, again=False):
            if step == 3:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted, match="stopped by SIGTERM at step 3 of 100000"):
        train(params, dataset, tmp_path, SignalAtThree("key"))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.step == 3


def test_the_curve_is_cut_back_to_the_checkpoint_and_a_torn_line_dropped(dataset, tmp_path):
    train(small(), dataset, tmp_path / "whole")
    train(small(steps=4), dataset, tmp_path / "torn")
    with (tmp_path / "torn/history.csv").open("a") as file:
        file.write("6,1.0,2.0,3.0,4.0\n8,0.1")
    train(small(), dataset, tmp_path / "torn")
    assert_same_training(tmp_path / "whole", tmp_path / "torn")
    with (tmp_path / "torn/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert "wasserstein_estimate" in rows[0]


@pytest.mark.parametrize("damage", [b"garbage,x\n", b"\xff\xfe\x00", b""])
def test_a_damaged_curve_does_not_stop_a_training(dataset, tmp_path, damage):
    train(small(steps=4), dataset, tmp_path)
    with (tmp_path / "history.csv").open("ab") as file:
        file.write(damage)
    train(small(), dataset, tmp_path)
    with (tmp_path / "history.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4", "6"]


def test_networks_beyond_the_memory_are_refused_before_the_kernel_kills(dataset, tmp_path):
    huge = small(mlp={"depth": 64, "width": 65536})
    with pytest.raises(InputError, match=r"takes at least [\d,.]+ GiB to train.*\(train\.mlp\)"):
        train(huge, dataset, tmp_path)


def test_a_lock_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match="cannot be written"),
        lock.exclusive(tmp_path / "file" / "train.lock"),
    ):
        pass


def test_the_run_gets_figures_and_grids_at_fixed_latents(dataset, tmp_path):
    seen: dict[str, list] = {"metrics": [], "images": []}

    class Recorder(NullRun):
        def metrics(self, values, step, *, again=False):
            seen["metrics"].append((step, sorted(values)))

        def image(self, name, pixels, step):
            seen["images"].append((name, step, pixels.shape, pixels.dtype))

    train(small(grid_every=3), dataset, tmp_path, Recorder("key"))
    figures = [(step, names) for step, names in seen["metrics"] if "generator_loss" in names]
    assert [step for step, _ in figures] == [2, 4, 6]
    assert {
        "wasserstein_estimate",
        "generator_loss",
        "gradient_norm",
        "iterations_per_s",
        "memory_mib",
    } <= set(seen["metrics"][0][1])
    drawn = [(name, step) for step in (3, 6) for name in ("samples", "samples_raw")]
    assert [(name, step) for name, step, *_ in seen["images"]] == drawn
    assert seen["images"][0][3] == np.uint8


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    held, release = threading.Event(), threading.Event()

    def hold():
        with lock.exclusive(tmp_path / "train.lock"):
            held.set()
            release.wait(120)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(120)
    try:
        with (
            pytest.raises(Busy, match="is training here"),
            lock.exclusive(tmp_path / "train.lock"),
        ):
            pass
    finally:
        release.set()
        thread.join()
    with lock.exclusive(tmp_path / "train.lock"):
        pass


def test_a_device_that_is_not_here_is_refused_and_auto_says_what_it_took(caplog):
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="0 CUDA devices found"):
            choose_device("cuda")
    with pytest.raises(DeviceError, match="train.device: cuda:99 is not here"):
        choose_device("cuda:99")
    with caplog.at_level(logging.INFO, logger="monge"):
        device = choose_device("auto")
    assert device.type in caplog.text.lower()


def test_the_average_has_the_half_life_it_says_once_warm():
    network = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(0.0)
        average = Average(network, half_life_images=1000)
        network.weight.fill_(1.0)
    for i in range(10):
        average.update(images_seen=10**6 + i, batch_size=100)
    assert average.module.state_dict()["weight"].item() == pytest.approx(0.5, abs=1e-6)


def test_the_average_forgets_the_start_and_follows_batch_norms_statistics():
    network = torch.nn.BatchNorm1d(2)
    average = Average(network, half_life_images=1000)
    network.load_state_dict(
        network.state_dict()
        | {"running_mean": torch.full((2,), 4.0), "num_batches_tracked": torch.tensor(7)}
    )
    average.update(images_seen=1, batch_size=64)
    torch.testing.assert_close(average.module.state_dict()["running_mean"], torch.full((2,), 4.0))
    assert int(average.module.state_dict()["num_batches_tracked"]) == 7


def test_no_average_is_the_generator_itself():
    network = torch.nn.Linear(2, 2)
    average = Average(network, half_life_images=0)
    with torch.no_grad():
        network.weight.add_(1.0)
    average.update(images_seen=64, batch_size=64)
    torch.testing.assert_close(average.module.weight, network.weight)


def test_the_linear_decay_starts_full_and_ends_one_step_above_zero(dataset):
    params = small(steps=10, learning_rate_decay="linear")
    state = TrainingState(params, objectives.build(params), (1, 8, 8), torch.device("cpu"))
    rates = []
    for step in range(10):
        state.step = step
        set_schedules(state, {"critic": 2.0, "generator": 6.0}, params, 0.5)
        assert float(state.noise.progress) == pytest.approx(step / 10)
        rates.append([state.optimizers[r].param_groups[0]["lr"] for r in ("critic", "generator")])
    expected = [1.0 - step / 10 for step in range(10)]
    assert [critic for critic, _ in rates] == pytest.approx(expected)
    assert [generator for _, generator in rates] == pytest.approx([3 * rate for rate in expected])


def test_the_initial_weights_depend_on_the_seed_alone():
    params = small()
    torch.manual_seed(5)
    a = TrainingState(params, objectives.build(params), (1, 8, 8), torch.device("cpu"))
    torch.rand(7)
    b = TrainingState(params, objectives.build(params), (1, 8, 8), torch.device("cpu"))
    other = small(seed=1)
    c = TrainingState(other, objectives.build(other), (1, 8, 8), torch.device("cpu"))
    name = "generator.net.0.weight"
    assert torch.equal(a.tensors()[name], b.tensors()[name])
    assert not torch.equal(a.tensors()[name], c.tensors()[name])


def test_the_run_key_is_chosen_once_and_a_damaged_one_replaced(tmp_path):
    key = record.run_key(tmp_path)
    assert record.run_key(tmp_path) == key
    (tmp_path / "training.json").write_text('{"key": "../../etc"}')
    assert record.run_key(tmp_path) not in (key, "../../etc")


def test_set_aside_keeps_the_old_checkpoints(dataset, tmp_path):
    folder = tmp_path / "checkpoints"
    train(small(), dataset, folder)
    assert resume.is_other(Training(small(batch_size=16), dataset, folder))
    assert not resume.is_other(Training(small(), dataset, folder))
    resume.set_aside(folder)
    assert not folder.exists()
    assert (tmp_path / "checkpoints.replaced/step-00000006").is_dir()


def test_the_exported_generator_is_the_averaged_one_of_the_newest_checkpoint(dataset, tmp_path):
    train(small(), dataset, tmp_path)
    tensors = weights(tmp_path)
    averaged, raw = (
        trained.generator(
            Training(small(), dataset, tmp_path), ExportParams(checkpoint="last", weights=w)
        )
        for w in ("averaged", "raw")
    )
    assert (averaged.step, averaged.last_step) == (6, 6)
    for found, name in ((averaged, "averaged"), (raw, "generator")):
        weight = found.network.state_dict()["net.0.weight"]
        assert torch.equal(weight, tensors[f"{name}.net.0.weight"])
    with pytest.raises(CheckpointMismatch, match="Run `monge train` first"):
        trained.generator(Training(small(), dataset, tmp_path / "empty"), ExportParams())


def test_the_loop_stays_a_table_of_contents():
    from pathlib import Path

    assert len(Path(loop.__file__).read_text().splitlines()) <= 80
