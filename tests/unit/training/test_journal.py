"""Curves and grids say what they claim to, change no bit of the training, and survive kills."""

import csv
import itertools
import re
import statistics

import pytest
import torch
from PIL import Image, ImageSequence
from torch import nn

from monge import objectives
from monge.data.batches import normalise
from monge.data.packed import PackedDataset
from monge.objectives.slope import gradient_norms, interpolates
from monge.params import TrainParams
from monge.tracking import NullRun
from monge.training import loop
from monge.training.checkpoints import checkpoint
from monge.training.context import Training
from monge.training.state import TrainingState
from monge.training.watch import journal
from monge.training.watch.curves import Curves, untouched
from monge.training.watch.grids import FRAMES

CPU = torch.device("cpu")


def settings(**changes):
    return TrainParams.model_validate(
        {
            "net": "mlp", "objective": "wgan", "steps": 30, "batch_size": 8, "latent_dim": 4,
            "threads": 1, "log_every": 2, "grid_every": 5, "checkpoint_every": 10,
            "quality_every": 100, "mlp": {"depth": 2, "width": 16}, "dcgan": {"features": 2},
        }
        | changes
    )  # fmt: skip


@pytest.fixture
def dataset(packed_digits):
    return PackedDataset.open(packed_digits)


def train(params, dataset, folder, run=None):
    return loop.train(Training(params, dataset, folder, run or NullRun("key")))


def rows(folder):
    with (folder / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize(("net", "objective"), [("mlp", "wgan-gp"), ("dcgan", "wgan")])
def test_logging_and_drawing_change_no_bit_of_the_training(dataset, tmp_path, net, objective):
    left = []
    for every in (1, 1000):
        params = settings(net=net, objective=objective, log_every=every, grid_every=every)
        train(params, dataset, tmp_path / str(every))
        found = checkpoint.latest(tmp_path / str(every))
        assert found is not None
        left.append(found.tensors)
    assert all(torch.equal(left[0][name], left[1][name]) for name in left[1])


def test_the_curve_and_the_animation_are_the_same_after_a_return_to_a_checkpoint(dataset, tmp_path):
    params = settings(net="dcgan", keep_checkpoints=10)
    train(params, dataset, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in ("history.csv", "samples.gif")}
    for step in (20, 30):
        (tmp_path / f"step-{step:08d}" / "state.json").unlink()
    train(params, dataset, tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_the_median_is_that_of_the_last_eleven_estimates(dataset, tmp_path):
    train(settings(), dataset, tmp_path)
    table = rows(tmp_path)
    estimates = [row["wasserstein_estimate"] for row in table]
    assert len(table) == 15
    for i, row in enumerate(table):
        window = estimates[max(0, i - 10) : i + 1]
        assert row["wasserstein_estimate_median"] == pytest.approx(statistics.median(window))


def test_the_estimate_stands_first_and_the_rate_decays(dataset, tmp_path):
    train(settings(), dataset, tmp_path)
    table = rows(tmp_path)
    assert list(table[0])[:3] == ["step", "wasserstein_estimate", "wasserstein_estimate_median"]
    rates = [row["learning_rate"] for row in table]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(5e-5 * (1 - 1 / 30))


def test_held_out_estimate_slope_and_norms_are_what_their_names_say(dataset):
    params = settings()
    state = TrainingState(params, objectives.build(params), dataset.image_shape, CPU)
    critic, generator = state.networks["critic"], state.networks["generator"]
    with torch.no_grad():
        for weight in critic.parameters():
            weight.clamp_(-0.01, 0.01)
    curves = Curves(params, dataset, CPU)
    found = {name: float(value) for name, value in curves.measure(state).items()}
    real, fake = curves._held_out.real, generator(curves._held_out.latents).detach()
    critic.requires_grad_(False)
    images = normalise(torch.from_numpy(dataset.validation.take([0])))
    assert torch.equal(real[:1], images)
    assert found["wasserstein_estimate_held_out"] == pytest.approx(
        float(critic(real).mean() - critic(fake).mean()), rel=1e-4
    )
    slopes = gradient_norms(critic, interpolates(real, fake, torch.full((len(real),), 0.5)))
    assert found["gradient_norm"] == pytest.approx(float(slopes.detach().mean()), rel=1e-4)
    flat = torch.cat([weight.flatten() for weight in critic.parameters()])
    assert found["critic_weight_norm"] == pytest.approx(float(flat.norm()), rel=1e-5)
    share = float((flat.abs() >= 0.0099).float().mean())
    assert 0.5 < share < 1.0
    assert found["weights_at_clip"] == pytest.approx(share, rel=1e-5)


def test_a_critic_that_has_learnt_its_images_by_heart_shows_a_gap(dataset):
    params = settings(
        objective="wgan-gp", mlp={"depth": 3, "width": 128}, latent_dim=16,
        **{"wgan-gp": {"learning_rate": 1e-3}},
    )  # fmt: skip
    objective = objectives.build(params)
    state = TrainingState(params, objective, dataset.image_shape, CPU)
    few = normalise(torch.from_numpy(dataset.train.take(range(8))))
    state.optimizers["generator"].param_groups[0]["lr"] = 0.0
    reals = itertools.repeat((few, None))
    for _ in range(60):
        readings = objective.iterate(state.networks, state.optimizers, reals, state.noise, 5)
    held_out = Curves(params, dataset, CPU).measure(state)["wasserstein_estimate_held_out"]
    assert readings["wasserstein_estimate"] > 1.2 * held_out


def test_running_statistics_are_put_back(dataset):
    norm = nn.BatchNorm1d(3)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    with untouched(norm):
        norm(torch.randn(8, 3) * 5 + 1)
    assert all(torch.equal(norm.state_dict()[name], before[name]) for name in before)


def test_the_animation_has_a_bounded_number_of_frames_and_ends_with_the_last(dataset, tmp_path):
    train(settings(steps=205, grid_every=2), dataset, tmp_path)
    kept = sorted(path.name for path in (tmp_path / "grids").iterdir())
    assert len(kept) <= FRAMES
    assert kept[-1] == "step-00000205.png"
    with Image.open(tmp_path / "samples.gif") as picture:
        frames = sum(1 for _ in ImageSequence.Iterator(picture))
    assert 5 < frames <= len(kept)  # frames that are alike are one
    train(settings(steps=205, grid_every=2), dataset, tmp_path)
    assert sorted(path.name for path in (tmp_path / "grids").iterdir()) == kept


def test_a_continued_training_thins_its_frames(dataset, tmp_path):
    for steps in (90, 400):
        train(settings(steps=steps, grid_every=2, learning_rate_decay="none"), dataset, tmp_path)
    kept = [int(path.stem[5:]) for path in (tmp_path / "grids").iterdir()]
    assert len(kept) <= FRAMES + 1
    assert max(kept) == 400


def test_a_training_of_hours_is_said_to_be_one_with_what_would_fit(
    dataset, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(journal, "_SPEED_KNOWN_S", 0.01)
    monkeypatch.setattr(journal, "_LONG_S", 0.2)
    train(settings(steps=400), dataset, tmp_path / "long")
    (told,) = [line for line in caplog.messages if "this training takes about" in line]
    found = re.search(r"about (\d+) s more on this machine.*train.steps=(\d+);", told)
    assert found, told
    assert 0 < int(found[2]) < 400
    caplog.clear()
    monkeypatch.setattr(journal, "_LONG_S", 3600.0)
    train(settings(), dataset, tmp_path / "short")
    assert "this training takes about" not in caplog.text
