"""Protects: a dry run tells what a training would really take, and changes nothing."""

import itertools
import os
import re
import shutil
import time

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from monge import objectives
from monge.data.packed import PackedDataset
from monge.errors import DeviceError, InputError
from monge.objectives.wgan_gp import WganGp
from monge.params import TrainParams
from monge.tracking import NullRun
from monge.training import loop
from monge.training.checkpoints import lock
from monge.training.context import Training
from monge.training.forecast import footprint, plan, timing
from monge.training.state import TrainingState
from tests.kinds import KINDS, of_kind

CPU = torch.device("cpu")


def small(**changes):
    values = {
        "steps": 6, "batch_size": 8, "latent_dim": 4, "threads": 1, "log_every": 2,
        "grid_every": 100, "checkpoint_every": 2, "quality_every": 100,
        "learning_rate_decay": "none", "device": "cpu",
        "mlp": {"depth": 1, "width": 8}, "dcgan": {"features": 2},
    }  # fmt: skip
    return TrainParams.model_validate(values | changes)


@pytest.fixture
def dataset(packed_digits):
    return PackedDataset.open(packed_digits)


@pytest.fixture(autouse=True)
def few_iterations(monkeypatch):
    monkeypatch.setattr(timing, "TIMED_ITERATIONS", 2)


def train(params, dataset, folder):
    return loop.train(Training(params, dataset, folder, NullRun("key")))


def told(params, dataset, folder, **options):
    lock_file = folder.parent / ".monge/train.lock"
    return "\n".join(plan.describe(Training(params, dataset, folder), lock_file, **options))


def contents(folder):
    """Every path with its bytes and its times of change."""
    return {
        path: (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns,
               path.read_bytes() if path.is_file() else None)
        for path in [folder, *folder.rglob("*")]
    }  # fmt: skip


@pytest.mark.parametrize("data", ["resident", "streamed"])
def test_nothing_on_disk_is_changed(dataset, tmp_path, data):
    folder = tmp_path / "checkpoints"
    assert "would start from random weights" in told(small(data=data), dataset, folder)
    assert list(tmp_path.iterdir()) == []
    train(small(steps=4, data=data), dataset, folder)
    before = contents(tmp_path)
    told(small(data=data), dataset, folder)
    told(small(data=data), dataset, folder, fresh=True)
    told(small(data=data, batch_size=16), dataset, folder, if_changed="fresh")
    told(small(data=data, init_from="checkpoints.replaced"), dataset, folder, fresh=True)
    assert contents(tmp_path) == before


def test_the_next_training_is_the_same_as_without_it(dataset, tmp_path):
    train(small(), dataset, tmp_path / "one")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    told(small(), dataset, tmp_path / "two")
    assert torch.equal(torch.rand(3), expected)
    train(small(), dataset, tmp_path / "two")
    name = "step-00000006/tensors.safetensors"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_it_says_where_the_training_would_begin(dataset, tmp_path):
    folder = tmp_path / "checkpoints"
    train(small(steps=4), dataset, folder)
    on = told(small(), dataset, folder)
    assert f"would go on from {folder}/step-00000004" in on
    assert "2 to do, from 4 to 6" in on
    refused = told(small(batch_size=16), dataset, folder)
    assert "would be REFUSED" in refused
    assert "train.batch_size: 8 -> 16" in refused
    for options in ({"fresh": True}, {"if_changed": "fresh"}):
        afresh = told(small(batch_size=16), dataset, folder, **options)
        assert f"random weights, after moving {folder} to {folder}.replaced" in afresh
        assert "6 to do, from 0 to 6" in afresh
    tuned = small(batch_size=16, init_from="checkpoints.replaced")
    assert "the weights of checkpoints.replaced" in told(tuned, dataset, folder, fresh=True)
    done = told(small(steps=4), dataset, folder)
    assert "none to do: it is at step 4 of 4" in done
    assert "ms an iteration" not in done


def test_it_refuses_what_the_training_would_refuse(dataset, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"train.init_from: nowhere: no such folder"):
        told(small(init_from="nowhere"), dataset, tmp_path / "checkpoints")
    with pytest.raises(DeviceError, match=r"train.device: cuda:77 is not here"):
        told(small(device="cuda:77"), dataset, tmp_path / "checkpoints")


def test_it_looks_on_while_another_trains(dataset, tmp_path):
    folder = tmp_path / "checkpoints"
    with lock.exclusive(tmp_path / ".monge/train.lock"):
        before = contents(tmp_path)
        seen = told(small(), dataset, folder)
        assert contents(tmp_path) == before
    assert f"process {os.getpid()} is training here now" in seen
    assert "training here now" not in told(small(), dataset, folder)


@pytest.mark.parametrize("family", ["mlp", "dcgan", "dcgan-plain"])
def test_layers_have_the_shapes_and_weights_that_the_networks_have(dataset, family):
    params = small(net=family)
    state = TrainingState(params, objectives.build(params), dataset.image_shape, CPU)
    for role, meta in footprint.networks(params, dataset.image_shape).items():
        inputs = (4,) if role == "generator" else dataset.image_shape
        found = footprint.layers(meta, inputs)
        values, net = torch.zeros(2, *inputs), state.networks[role].get_submodule("net")
        for layer, module in zip(found, net.children(), strict=True):
            values = module(values)
            assert layer.shape == tuple(values.shape[1:])
            assert layer.kind == type(module).__name__
            assert layer.weights == sum(weight.numel() for weight in module.parameters())
        total = f"{sum(weight.numel() for weight in state.networks[role].parameters()):,}"
        assert re.search(rf"total +{total}$", "\n".join(plan._network_lines(role, found)), re.M)


@pytest.mark.parametrize("objective", ["wgan", "wgan-gp"])
@pytest.mark.parametrize("net", ["mlp", "dcgan"])
def test_sizes_are_those_of_a_real_training(dataset, tmp_path, net, objective):
    params = small(net=net, objective=objective, mlp={"width": 128}, dcgan={"features": 16})
    train(params, dataset, tmp_path)
    size = footprint.footprint(params, dataset.image_shape)
    on_disk = (tmp_path / "step-00000006/tensors.safetensors").stat().st_size
    # Beside the numbers, a file has its header and the state of the random numbers.
    assert size.checkpoint < on_disk < 1.005 * size.checkpoint + 16_000
    state = TrainingState(params, objectives.build(params), dataset.image_shape, CPU)
    train_once(params, state, dataset.image_shape)
    weights = [w for net in state.networks.values() for w in net.parameters()]
    assert size.gradients == sum(w.grad.nbytes for w in weights if w.grad is not None)
    kept = [v for o in state.optimizers.values() for values in o.state.values()
            for name, v in values.items() if name != "step"]  # fmt: skip
    assert size.optimizers == sum(value.nbytes for value in kept)
    assert size.average == sum(t.nbytes for t in state.average.module.state_dict().values())


def train_once(params, state, image_shape):
    reals = itertools.repeat((torch.zeros(params.batch_size, *image_shape), None))
    objectives.build(params).iterate(state.networks, state.optimizers, reals, state.noise, 1)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"net": "mlp", "mlp": {"depth": 3, "width": 128}}, 8),
        ({"net": "dcgan", "dcgan": {"features": 16}}, 32),
        ({"net": "dcgan", "dcgan": {"features": 16}, "accumulate": 4}, 32),
        ({"net": "dcgan", "dcgan": {"features": 16}, "objective": "wgan"}, 32),
    ],
)
def test_activations_are_near_what_torchs_profiler_sees_allocated(changes, size):
    params = small(batch_size=32, **changes)
    shape = (1, size, size)
    state = TrainingState(params, objectives.build(params), shape, CPU)
    train_once(params, state, shape)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        train_once(params, state, shape)
    events = seen.profiler.kineto_results.events()
    sizes = [event.nbytes() for event in events if event.name() == "[memory]"]
    real = max(itertools.accumulate(sizes))
    estimate = footprint.footprint(params, shape).activations
    assert 0.6 * real < estimate < 1.3 * real, (estimate, real)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_game_has_a_plan(dataset, tmp_path, kind):
    params = small(**of_kind(kind))
    lines = "\n".join(
        plan.describe(Training(params, dataset, tmp_path / "here"), tmp_path / "lock")
    )
    assert "6 to do" in lines
    assert "ms an iteration" in lines


def test_activations_grow_with_the_batch_and_shrink_with_its_parts():
    def activations(**changes):
        params = small(net="dcgan", dcgan={"features": 8}, **changes)
        return footprint.footprint(params, (1, 32, 32)).activations

    assert activations(batch_size=128) == pytest.approx(2 * activations(batch_size=64), rel=0.1)
    parts = activations(batch_size=128, accumulate=4)
    assert parts == pytest.approx(activations(batch_size=32), rel=0.1)


def test_it_does_not_try_what_would_not_fit(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "free_bytes", lambda _: 1000)
    monkeypatch.setattr(plan, "timed", lambda *_: pytest.fail("it was tried"))
    seen = told(small(), dataset, tmp_path / "checkpoints")
    assert "more than is free: raise train.accumulate, lower train.batch_size" in seen
    assert "no time was measured" in seen


def test_it_says_when_the_disk_has_no_room(dataset, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "lower train.keep_checkpoints, or make room" in told(small(), dataset, tmp_path / "x")


def test_slow_iterations_are_few_and_their_number_is_said(dataset, tmp_path, monkeypatch):
    def slow(*_):
        def iterate(reals):
            next(reals)
            time.sleep(0.2)

        return iterate

    monkeypatch.setattr(timing, "launcher", slow)
    monkeypatch.setattr(timing, "TIMED_ITERATIONS", 1000)
    monkeypatch.setattr(timing, "TIMED_S", 1.0)
    seen = told(small(steps=1000), dataset, tmp_path / "x")
    found = re.search(
        r"about (\d+) min(?: \d\d s)?: (\d+)\.\d ms an iteration, (\d) iterations timed", seen
    )
    assert found, seen
    minutes, each_ms, count = map(int, found.groups())
    assert 2 <= count <= 5
    assert 190 <= each_ms < 1000  # a busy machine sleeps longer
    assert minutes == pytest.approx(each_ms * 1000 / 60_000, abs=1)

    monkeypatch.setattr(timing, "TIMED_S", 0.1)
    assert "1 iteration timed" in told(small(steps=1000), dataset, tmp_path / "x")


@pytest.mark.parametrize("data", ["resident", "streamed"])
def test_an_iteration_that_takes_too_long_is_left_in_the_middle(
    dataset, tmp_path, monkeypatch, data
):
    def opponent_step(self, *_):
        time.sleep(0.2)
        return {"loss": torch.zeros(())}

    monkeypatch.setattr(WganGp, "_opponent_step", opponent_step)
    monkeypatch.setattr(timing, "TIMED_S", 1.0)
    params = small(steps=1000, data=data, **{"wgan-gp": {"critic_steps": 100}})
    seen = told(params, dataset, tmp_path / "x")
    found = re.search(r"([\d,]+)\.\d ms an iteration, (\d) batches of one timed", seen)
    assert found, seen
    assert 2 <= int(found[2]) <= 5  # and not 100
    assert 101 * 190 <= float(found[1].replace(",", "")) < 101 * 1000


def test_a_longer_iteration_is_not_timed_and_counts_by_its_batches(dataset, tmp_path, monkeypatch):
    params = small(extra_critic_steps="authors", steps=600)
    # 25 iterations and the one after 500 of 100 critic steps, 574 of 5.
    seen = "\n".join(plan._time_lines(params, plan.Start(0, ""), timing.Timing(1.0, "")))
    assert f"about {round((26 * 100 + 574 * 5) / 5 / 60)} min: 1,000.0 ms" in seen
    steps = []

    def noting(_, objective, state):
        steps.append(objective.batches_at(state.step))
        return lambda _: None

    monkeypatch.setattr(timing, "launcher", noting)
    told(params, dataset, tmp_path / "x")
    assert steps == [5]
