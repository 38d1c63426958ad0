"""Protects: fine-tuning starts with the weights it names, and costs nobody the ones there were."""

import hashlib
import json
import logging
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from monge import objectives, stages
from monge.data.packed import PackedDataset
from monge.errors import CheckpointMismatch, InputError
from monge.params import Params, TrainParams
from monge.paths import Paths
from monge.tracking import NullRun
from monge.training import loop
from monge.training.checkpoints import checkpoint, fine_tuning, record, resume
from monge.training.checkpoints.fingerprint import fingerprint
from monge.training.context import Training
from monge.training.state import TrainingState


def small(**changes):
    values = {
        "steps": 4, "batch_size": 8, "latent_dim": 4, "threads": 1, "log_every": 2,
        "grid_every": 100, "checkpoint_every": 2, "quality_every": 100,
        "learning_rate_decay": "none", "device": "cpu",
        "mlp": {"depth": 1, "width": 8}, "dcgan": {"features": 2},
    }  # fmt: skip
    return TrainParams.model_validate(values | changes)


@pytest.fixture
def dataset(packed_digits):
    return PackedDataset.open(packed_digits)


@pytest.fixture
def project(packed_digits, tmp_path, monkeypatch):
    """A project's paths, with the digits packed."""
    monkeypatch.setenv("MONGE_TRACKING", "off")
    shutil.copytree(packed_digits, tmp_path / "data/prepared")
    return Paths(tmp_path)


def train(params, dataset, folder):
    return loop.train(Training(params, dataset, folder, NullRun("key")))


def run(project, fresh=False, if_changed="refuse", **changes):
    params = Params(train=small(**changes))
    return stages.train(params, project, fresh=fresh, if_changed=if_changed)


def begun(params, dataset, folder):
    state = TrainingState(
        params, objectives.build(params), dataset.image_shape, torch.device("cpu")
    )
    assert resume.resume(state, Training(params, dataset, folder, NullRun("key"))) == 0
    return state


def weights(folder, step):
    return load_file(folder / f"step-{step:08d}/tensors.safetensors")


@pytest.mark.parametrize("objective", ["wgan", "wgan-gp"])
@pytest.mark.parametrize("net", ["mlp", "dcgan"])
def test_it_starts_with_both_networks_and_with_nothing_else(dataset, tmp_path, net, objective):
    train(small(net=net, objective=objective), dataset, tmp_path / "base")
    source = weights(tmp_path / "base", 4)
    params = small(net=net, objective=objective, init_from="base", seed=5)
    state = begun(params, dataset, tmp_path / "tuned")
    tensors = state.tensors()
    networks = [name for name in source if name.startswith(("generator.", "critic."))]
    assert {name.split(".")[0] for name in networks} == {"generator", "critic"}
    for name in networks:
        assert torch.equal(tensors[name], source[name]), name
        averaged = name.replace("generator.", "averaged.", 1)
        assert torch.equal(tensors[averaged], source[name]), averaged
    assert not any(name.startswith("optimizer.") for name in tensors)
    assert state.step == 0
    plain = begun(small(net=net, objective=objective, seed=5), dataset, tmp_path / "plain")
    assert torch.equal(tensors["noise"], plain.tensors()["noise"])
    some = next(name for name in networks if name.startswith("critic."))
    assert not torch.equal(tensors[some], plain.tensors()[some])


def test_one_of_the_checkpoints_may_be_named_else_it_is_the_newest(dataset, tmp_path):
    train(small(), dataset, tmp_path / "base")
    for name, step in (("base", 4), ("base/step-00000002", 2), (str(tmp_path / "base"), 4)):
        state = begun(small(init_from=name), dataset, tmp_path / "tuned")
        expected = weights(tmp_path / "base", step)["generator.net.0.weight"]
        assert torch.equal(state.networks["generator"].net[0].weight, expected)
        facts = json.loads((tmp_path / "tuned/origin.json").read_text())
        file = tmp_path / f"base/step-{step:08d}/tensors.safetensors"
        assert facts == {
            "init_from": name,
            "step": step,
            "tensors_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }


def test_a_damaged_newest_one_is_passed_over(dataset, tmp_path, caplog):
    train(small(), dataset, tmp_path / "base")
    file = tmp_path / "base/step-00000004/tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    found = fine_tuning.find(Training(small(init_from="base"), dataset, tmp_path / "tuned"))
    assert found.step == 2
    assert "step-00000004: damaged" in caplog.text


def test_it_goes_on_to_the_same_bits_when_the_weights_it_began_with_are_gone(dataset, tmp_path):
    train(small(), dataset, tmp_path / "base")
    params = small(init_from="base", steps=6)
    train(params, dataset, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    for step in (4, 6):
        shutil.rmtree(tmp_path / f"broken/step-{step:08d}", ignore_errors=True)
    shutil.rmtree(tmp_path / "base")
    assert train(params, dataset, tmp_path / "broken").resumed_from == 2
    whole, broken = weights(tmp_path / "whole", 6), weights(tmp_path / "broken", 6)
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_where_it_began_is_part_of_what_it_is(dataset, tmp_path):
    assert "train.init_from" not in fingerprint(small(), dataset)
    train(small(), dataset, tmp_path / "base")
    train(small(), dataset, tmp_path / "tuned")
    with pytest.raises(CheckpointMismatch, match=r"train.init_from: \(unset\) -> base"):
        train(small(init_from="base"), dataset, tmp_path / "tuned")


def test_the_record_of_a_start_that_came_to_nothing_does_not_stay(dataset, tmp_path):
    train(small(), dataset, tmp_path / "base")
    begun(small(init_from="base"), dataset, tmp_path / "tuned")
    begun(small(), dataset, tmp_path / "tuned")
    assert not (tmp_path / "tuned/origin.json").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "nowhere: no such folder"),
        ("file", "file: is not a folder"),
        ("empty", "empty: holds no whole checkpoint"),
        ("broken", "broken: holds no whole checkpoint"),
        ("base/step-00000009", "base/step-00000009: no such folder"),
        ("broken/step-00000002", "broken/step-00000002: holds no whole checkpoint"),
        ("checkpoints", "where this training's own checkpoints go"),
        ("checkpoints/step-00000002", "where this training's own checkpoints go"),
        ("base/../checkpoints", "where this training's own checkpoints go"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_begins(project, dataset, name, message):
    train(small(steps=2), dataset, project.root / "base")
    shutil.copytree(project.root / "base", project.root / "broken")
    (project.root / "broken/step-00000002/tensors.safetensors").write_bytes(b"x")
    (project.root / "empty").mkdir()
    (project.root / "file").touch()
    with pytest.raises(InputError) as caught:
        run(project, init_from=name)
    assert message in str(caught.value)
    assert str(caught.value).startswith("train.init_from: ")
    assert not project.checkpoints.exists()


def test_other_networks_are_refused_and_each_difference_is_listed(dataset, tmp_path):
    train(small(), dataset, tmp_path / "base")
    with pytest.raises(InputError) as caught:
        begun(small(init_from="base", latent_dim=6), dataset, tmp_path / "tuned")
    assert "generator.net.0.weight: [8, 4] there, [8, 6] here" in str(caught.value)
    assert "critic" not in str(caught.value).splitlines()[1]
    with pytest.raises(InputError) as caught:
        begun(small(init_from="base", net="dcgan"), dataset, tmp_path / "tuned")
    assert len(str(caught.value).splitlines()) < 13
    assert re.search(r"and \d+ more", str(caught.value))
    other = Training(small(net="dcgan"), dataset, tmp_path)
    there = fine_tuning.mismatches(weights(tmp_path / "base", 4), other)
    assert "there, none here" in "\n".join(there)


def test_a_refused_training_names_a_command_for_fine_tuning_only_where_it_would_work(
    dataset, tmp_path
):
    train(small(), dataset, tmp_path / "checkpoints")
    with pytest.raises(CheckpointMismatch) as caught:
        train(small(batch_size=16), dataset, tmp_path / "checkpoints")
    assert "--if-changed fresh --set train.init_from=checkpoints.replaced" in str(caught.value)
    with pytest.raises(CheckpointMismatch) as caught:
        train(small(batch_size=16, latent_dim=5), dataset, tmp_path / "checkpoints")
    assert "init_from" not in str(caught.value)
    assert "monge train --fresh" in str(caught.value)


def test_it_can_start_from_the_training_that_is_set_aside_for_it(project):
    run(project)
    before = weights(project.checkpoints, 4)
    tuned = {"batch_size": 16, "init_from": "checkpoints.replaced"}
    assert run(project, if_changed="fresh", **tuned).resumed_from == 0
    replaced = project.root / "checkpoints.replaced"
    assert torch.equal(weights(replaced, 4)["critic.net.1.weight"], before["critic.net.1.weight"])
    assert json.loads((project.checkpoints / "origin.json").read_text())["step"] == 4
    # The same command again goes on, and the weights it began with are still there.
    assert run(project, if_changed="fresh", **tuned).resumed_from == 4
    assert torch.equal(weights(replaced, 4)["critic.net.1.weight"], before["critic.net.1.weight"])


@pytest.mark.parametrize(
    "changes",
    [
        {"init_from": "checkpoints.replaced", "latent_dim": 6},
        {"init_from": "checkpoints.replaced/step-00000009"},
        {"init_from": "checkpoints"},
        {"init_from": "nowhere"},
    ],
)
@pytest.mark.parametrize("how", [{"fresh": True}, {"if_changed": "fresh"}])
def test_what_cannot_be_used_moves_nothing(project, changes, how):
    run(project)
    run(project, fresh=True, seed=1)
    before = sorted(project.root.rglob("*"))
    hashes = [p.read_bytes() for p in before if p.is_file() and p.name != "train.lock"]
    with pytest.raises(InputError):
        run(project, **how, **changes)
    assert sorted(project.root.rglob("*")) == before
    assert [p.read_bytes() for p in before if p.is_file() and p.name != "train.lock"] == hashes


def test_a_start_without_a_checkpoint_does_not_take_the_place_of_the_training_before(project):
    run(project)
    resume.set_aside(project.checkpoints)
    record.run_key(project.checkpoints)  # stopped before its first checkpoint
    outcome = run(project, fresh=True, init_from="checkpoints.replaced")
    assert outcome.step == 4
    assert (project.root / "checkpoints.replaced/step-00000004").is_dir()


def test_more_steps_of_a_decaying_rate_are_refused_with_the_reason(project, caplog):
    run(project, learning_rate_decay="linear")
    with pytest.raises(CheckpointMismatch) as caught:
        run(project, learning_rate_decay="linear", steps=6)
    message = str(caught.value)
    assert "train.steps: 4 -> 6" in message
    assert "another train.steps is another training; with none it would go on" in message
    with pytest.raises(CheckpointMismatch) as caught:
        run(project, learning_rate_decay="linear", batch_size=16)
    assert "another train.steps" not in str(caught.value)
    tuned = run(
        project, if_changed="fresh", learning_rate_decay="linear", steps=6,
        init_from="checkpoints.replaced",
    )  # fmt: skip
    assert (tuned.resumed_from, tuned.step) == (0, 6)


def test_fewer_steps_than_are_done_are_another_training(project, caplog):
    """Else a record would say that weights of four steps are of three."""
    run(project)
    with pytest.raises(CheckpointMismatch, match="train.steps: 4 are done, 3 are asked for"):
        run(project, steps=3)
    assert checkpoint.at(project.checkpoints, 4) is not None
    with caplog.at_level(logging.INFO, "monge"):
        outcome = run(project, if_changed="fresh", steps=3)
    assert (outcome.resumed_from, outcome.step) == (0, 3)
    assert "a new training, because: train.steps: 4 are done" in caplog.text
    assert checkpoint.exists(project.checkpoints.with_name("checkpoints.replaced"))
