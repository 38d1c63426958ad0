"""Protects: the checkpoint that ships is the best that was seen, whatever happened meanwhile."""

import logging
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from monge import objectives, stages
from monge.data.packed import PackedDataset
from monge.data.writer import PackedWriter
from monge.errors import CheckpointMismatch
from monge.params import ExportParams, Params, TrainParams
from monge.paths import Paths
from monge.tracking import NullRun
from monge.training import loop, trained
from monge.training.checkpoints import checkpoint
from monge.training.context import Training
from monge.training.state import TrainingState
from monge.training.watch import quality
from monge.training.watch.quality import Look, Quality

CPU = torch.device("cpu")
BEST, LAST = ExportParams(checkpoint="best"), ExportParams(checkpoint="last")


def small(**changes):
    values = {
        "steps": 12, "batch_size": 8, "latent_dim": 4, "threads": 1, "log_every": 2,
        "grid_every": 100, "checkpoint_every": 2, "quality_every": 3, "keep_checkpoints": 1,
        "learning_rate_decay": "none", "mlp": {"depth": 1, "width": 8}, "device": "cpu",
    }  # fmt: skip
    return TrainParams.model_validate(values | changes)


@pytest.fixture
def dataset(packed_digits):
    return PackedDataset.open(packed_digits)


@pytest.fixture
def best_at_6(monkeypatch):
    """Figures that fall until step 6 and rise again, instead of the measured ones."""
    figures = {3: 0.5, 6: 0.1, 9: 0.3, 12: 0.1}
    monkeypatch.setattr(Quality, "_figure", lambda _, state: figures[state.step])


def train(params, dataset, folder, run=None):
    return loop.train(Training(params, dataset, folder, run or NullRun("key")))


def fresh_state(params, dataset):
    return TrainingState(params, objectives.build(params), dataset.image_shape, CPU)


def names(folder):
    return sorted(path.name for path in folder.glob("step-*"))


def weights(folder, step):
    return load_file(folder / f"step-{step:08d}" / "tensors.safetensors")


def flip_a_bit(file):
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)


def packed(folder, channels, side, held_out):
    values = np.random.default_rng(0).integers(0, 256, (40, channels, side, side), np.uint8)
    with PackedWriter(folder, (channels, side, side), []) as writer:
        writer.append("train", values, None)
        writer.append("validation", values[:held_out], None)
        writer.finish()
    return PackedDataset.open(folder)


def test_looks_are_on_schedule_and_at_the_end_and_go_to_the_table_and_the_run(dataset, tmp_path):
    logged: list[tuple[int, float]] = []

    class Recorder(NullRun):
        def metrics(self, values, step, *, again=False):
            logged.extend((step, v) for name, v in values.items() if name == "frechet_pyramid")

    train(small(steps=8), dataset, tmp_path, Recorder("key"))
    assert [step for step, _ in logged] == [3, 6, 8]
    assert quality.read(tmp_path) == logged
    assert (tmp_path / "quality.csv").read_text().startswith("step,frechet_pyramid\n3,")


def test_a_generator_that_learns_comes_nearer(dataset, tmp_path):
    params = small(
        steps=120, quality_every=40, batch_size=64, **{"wgan-gp": {"learning_rate": 1e-3}},
        mlp={"depth": 2, "width": 64},
    )  # fmt: skip
    untrained = fresh_state(params, dataset)
    watch = Quality(Training(params, dataset, tmp_path / "other", NullRun("key")), untrained)
    untrained.step = 40
    (tmp_path / "other").mkdir()
    watch.look(untrained)
    train(params, dataset, tmp_path)
    figures = [look.figure for look in (*watch.looks, *quality.read(tmp_path))]
    assert figures == sorted(figures, reverse=True)
    assert figures[-1] < 0.7 * figures[0]


def test_looking_changes_no_bit_of_the_training(dataset, tmp_path):
    train(small(quality_every=1, keep_checkpoints=9), dataset, tmp_path / "often")
    train(small(quality_every=100), dataset, tmp_path / "once")
    often, once = (weights(tmp_path / name, 12) for name in ("often", "once"))
    assert all(torch.equal(often[name], once[name]) for name in once)
    ends = [quality.read(tmp_path / name)[-1] for name in ("often", "once")]
    assert ends[0] == ends[1]


def test_the_best_stays_however_few_checkpoints_do(dataset, tmp_path, best_at_6):
    train(small(), dataset, tmp_path)
    assert names(tmp_path) == ["step-00000006", "step-00000012"]


def test_a_best_between_two_checkpoints_has_one_of_its_own(dataset, tmp_path, best_at_6):
    train(small(checkpoint_every=12), dataset, tmp_path)
    assert names(tmp_path) == ["step-00000006", "step-00000012"]


def test_the_best_as_of_every_kept_checkpoint_stays(tmp_path):
    for step in range(2, 13):
        checkpoint.write(tmp_path, step, {"x": torch.zeros(1)}, {})
    checkpoint.prune(tmp_path, 3, [3, 6, 11])
    assert names(tmp_path) == [f"step-{step:08d}" for step in (6, 10, 11, 12)]


@pytest.mark.parametrize("step", [2, 4, 6, 8, 10])
def test_a_resumed_training_has_the_same_table_and_the_same_best(dataset, tmp_path, step):
    params = small(keep_checkpoints=9)
    train(params, dataset, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    for path in (tmp_path / "broken").glob("step-*"):
        if path.name > f"step-{step:08d}":
            shutil.rmtree(path)
    assert train(params, dataset, tmp_path / "broken").resumed_from == step
    tables = [(tmp_path / name / "quality.csv").read_bytes() for name in ("whole", "broken")]
    assert tables[0] == tables[1]
    best = quality.best(quality.read(tmp_path / "whole"))
    assert best is not None
    whole, broken = (weights(tmp_path / name, best.step) for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_a_best_beyond_the_step_that_training_goes_on_from_does_not_count(
    dataset, tmp_path, best_at_6
):
    params = small(keep_checkpoints=9)
    train(params, dataset, tmp_path)
    for step in (6, 8, 10, 12):
        flip_a_bit(tmp_path / f"step-{step:08d}" / "tensors.safetensors")
    assert trained.generator(Training(params, dataset, tmp_path), BEST).step == 3
    state = fresh_state(params, dataset)
    state.step = 4
    assert Quality(Training(params, dataset, tmp_path, NullRun("key")), state).looks == [(3, 0.5)]
    assert quality.read(tmp_path) == [(3, 0.5)]
    assert train(params, dataset, tmp_path).resumed_from == 4
    assert trained.generator(Training(params, dataset, tmp_path), BEST).step == 6


@pytest.mark.parametrize("kind", ["averaged", "raw"])
def test_the_export_takes_the_best_and_says_so_or_the_last(dataset, tmp_path, best_at_6, kind):
    train(small(), dataset, tmp_path)
    prefix = "averaged" if kind == "averaged" else "generator"
    for which, step in (("best", 6), ("last", 12)):
        wanted = ExportParams.model_validate({"checkpoint": which, "weights": kind})
        found = trained.generator(Training(small(), dataset, tmp_path), wanted)
        assert (found.step, found.last_step) == (step, 12)
        expected = weights(tmp_path, step)[f"{prefix}.net.0.weight"]
        assert torch.equal(found.network.state_dict()["net.0.weight"], expected)
    assert trained.generator(Training(small(), dataset, tmp_path), BEST).choice == (
        "the checkpoint of step 6: the best of 4 looks at held-out images (frechet_pyramid 0.1); "
        "`--set export.checkpoint=last` takes that of step 12"
    )
    assert trained.generator(Training(small(), dataset, tmp_path), LAST).choice == (
        "the last checkpoint, of step 12"
    )


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "SHA256SUMS", ""])
def test_a_damaged_best_is_named_and_the_last_is_taken(dataset, tmp_path, best_at_6, name, caplog):
    train(small(), dataset, tmp_path)
    if name:
        flip_a_bit(tmp_path / "step-00000006" / name)
    else:
        shutil.rmtree(tmp_path / "step-00000006")
    with caplog.at_level(logging.WARNING):
        found = trained.generator(Training(small(), dataset, tmp_path), BEST)
    assert found.step == 12
    assert "step-00000006: damaged" in caplog.text
    assert "the best checkpoint, of step 6, cannot be used: taking the last" in caplog.text
    assert "step 12, for the best one, of step 6, cannot be used" in found.choice


def test_a_training_without_looks_gives_its_last(dataset, tmp_path):
    train(small(), dataset, tmp_path)
    (tmp_path / "quality.csv").unlink()
    found = trained.generator(Training(small(), dataset, tmp_path), BEST)
    assert found.step == 12
    assert "none has been compared" in found.choice


def test_the_exported_file_is_of_the_best_step_once_the_training_is_finished(
    packed_digits, tmp_path, best_at_6, caplog
):
    paths = Paths(tmp_path)
    shutil.copytree(packed_digits, paths.prepared)
    dataset = PackedDataset.open(paths.prepared)
    train(small(), dataset, paths.checkpoints)
    params = Params(train=small())
    with caplog.at_level(logging.INFO, logger="monge"):
        stages.export(params, paths)
    assert "exporting the checkpoint of step 6: the best of 4 looks" in caplog.text
    from monge.serving.sampler import Sampler

    assert Sampler.load(paths.model, provider="cpu").contract.step == 6
    with pytest.raises(CheckpointMismatch, match="the training is at step 12 of 99"):
        stages.export(Params(train=small(steps=99)), paths)
    stages.export(Params(train=small(steps=99)), paths, unfinished=True)


def test_of_equal_figures_the_earliest_is_the_best():
    assert quality.best([Look(9, 0.1), Look(3, 0.1), Look(6, 0.2)]) == (3, 0.1)
    assert quality.best([]) is None


@pytest.mark.parametrize(
    "damage", [b"garbage,x\n", b"\xff\xfe\x00", b"9\n", b"9,nan\n", b"9,0.1,0.2\n", b""]
)
def test_a_damaged_table_stops_nothing(dataset, tmp_path, damage):
    train(small(steps=6), dataset, tmp_path)
    before = quality.read(tmp_path)
    with (tmp_path / "quality.csv").open("ab") as file:
        file.write(damage)
    assert quality.read(tmp_path) == before
    train(small(), dataset, tmp_path)
    assert [look.step for look in quality.read(tmp_path)] == [3, 6, 9, 12]


def test_a_table_of_another_figure_is_not_compared_with(tmp_path):
    (tmp_path / "quality.csv").write_text("step,another\n3,0.001\n")
    assert quality.read(tmp_path) == []


def test_what_is_not_finite_is_no_best_and_no_row(dataset, tmp_path):
    params = small(quality_every=1)
    state = fresh_state(params, dataset)
    watch = Quality(Training(params, dataset, tmp_path, NullRun("key")), state)
    with torch.no_grad():
        next(state.average.module.parameters()).fill_(float("nan"))
    state.step = 1
    assert not watch.look(state)
    assert not (tmp_path / "quality.csv").exists()


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 16), (3, 5), (1, 28)])
@pytest.mark.parametrize("held_out", [1, 2, 40])
def test_any_size_and_any_few_held_out_images_have_a_figure_and_few_are_said_to_be(
    tmp_path, channels, side, held_out, caplog
):
    dataset = packed(tmp_path / "prepared", channels, side, held_out)
    params = small(steps=4, quality_every=2)
    with caplog.at_level(logging.WARNING):
        train(params, dataset, tmp_path / "checkpoints")
    assert [look.step for look in quality.read(tmp_path / "checkpoints")] == [2, 4]
    assert caplog.text.count(f"{held_out} held-out images are few") == 1
