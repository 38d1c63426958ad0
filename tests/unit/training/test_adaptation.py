"""Protects: `train.augment: ada` transforms more where the opponent overfits, and less if not."""

import pytest
import torch

from monge import objectives
from monge.data.packed import PackedDataset
from monge.objectives.augment import transformed
from monge.params import TrainParams
from monge.tracking import NullRun
from monge.training import adaptation, loop
from monge.training.adaptation import EVERY, IMAGES_TO_MOST, MOST, Adaptation
from monge.training.checkpoints import checkpoint
from monge.training.context import Training
from monge.training.state import TrainingState

CPU = torch.device("cpu")
UP = EVERY * 16 / IMAGES_TO_MOST


def small(**changes):
    values = {
        "objective": "rpgan", "augment": "ada", "steps": 48, "batch_size": 16, "latent_dim": 4,
        "threads": 1, "log_every": 8, "grid_every": 100, "checkpoint_every": 16,
        "quality_every": 100, "learning_rate_decay": "none", "mlp": {"depth": 1, "width": 8},
        "device": "cpu",
    }  # fmt: skip
    return TrainParams.model_validate(values | changes)


@pytest.fixture
def dataset(packed_digits):
    return PackedDataset.open(packed_digits)


def test_the_figure_is_karras_r_v_against_its_target():
    def over(*means):
        return float(adaptation._overfits(*map(torch.tensor, means)))

    assert over(1.0, 0.3, 0.0) == 1.0  # r = 0.7
    assert over(1.0, 0.5, 0.0) == 0.0  # r = 0.5
    assert over(-1.0, -1.7, -2.0) == 1.0  # it has no scale and no zero
    assert over(0.0, -1.0, 0.0) == 0.0  # nothing is told apart
    assert over(0.0, -1.0, 1.0) == 0.0


def followed(dataset, monkeypatch, chance, means, step=EVERY):
    params = small()
    state = TrainingState(params, objectives.build(params), dataset.image_shape, CPU)
    state.noise.chance.fill_(chance)
    state.step = step
    told = tuple(map(torch.tensor, means))
    monkeypatch.setattr(Adaptation, "_mean_scores", lambda *_: told)
    Adaptation(params, dataset, CPU).follow(state)
    return float(state.noise.chance)


def test_the_chance_follows_and_keeps_within_its_bounds(dataset, monkeypatch):
    overfits, well = (1.0, 0.0, 0.0), (1.0, 1.0, 0.0)
    assert followed(dataset, monkeypatch, 0.5, overfits) == pytest.approx(0.5 + UP)
    assert followed(dataset, monkeypatch, 0.5, well) == pytest.approx(0.5 - UP)
    assert followed(dataset, monkeypatch, 0.5, overfits, step=EVERY + 1) == 0.5
    assert followed(dataset, monkeypatch, MOST, overfits) == pytest.approx(MOST)
    assert followed(dataset, monkeypatch, 0.0, well) == 0.0


def test_an_opponent_that_knows_its_images_by_heart_overfits(dataset):
    """Scores of the real networks' calls, in the order training, held out, generated."""
    params = small(conditional=False)
    state = TrainingState(params, objectives.build(params), dataset.image_shape, CPU)

    class ByHeart(torch.nn.Module):
        def forward(self, images):
            known = transformed(look._real[0][0], look._draws[: len(images)], at)
            return (images - known[: len(images)]).flatten(1).norm(dim=1).lt(1e-6).float()

    look = Adaptation(params, dataset, CPU)
    at = state.noise.chance.expand(len(look._real[0][0]))
    state.networks["critic"] = ByHeart()
    assert [float(mean) for mean in look._mean_scores(state)] == [1.0, 0.0, 0.0]


def tensors_of(folder):
    found = checkpoint.latest(folder)
    assert found
    return found.tensors


def test_a_stopped_training_goes_on_with_its_chance(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(adaptation, "TARGET", -1e9)  # whatever the scores, it overfits
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    loop.train(Training(small(), dataset, whole, NullRun("key")))
    loop.train(Training(small(steps=24), dataset, halves, NullRun("key")))
    loop.train(Training(small(), dataset, halves, NullRun("key")))
    ours, theirs = (tensors_of(folder) for folder in (halves, whole))
    assert float(theirs["noise.chance"]) > 0.0
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    header, *rows = (whole / "history.csv").read_text().splitlines()
    told = [float(row.split(",")[header.split(",").index("augment_chance")]) for row in rows]
    assert told == sorted(told)
    assert told[0] == 0.0 < told[-1]


def test_without_ada_no_chance_is_kept(dataset):
    for augment in ("none", "diffaugment"):
        params = small(augment=augment)
        state = TrainingState(params, objectives.build(params), dataset.image_shape, CPU)
        Adaptation(params, dataset, CPU).follow(state)
        assert float(state.noise.chance) == 1.0
        assert "noise.chance" not in state.tensors()
