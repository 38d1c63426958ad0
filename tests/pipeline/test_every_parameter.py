"""Protects: a parameter that is changed is used: DVC runs its stage, and the result has the value.

Shown for every key of params.yaml, in three parts, each as cheaply as it can really be seen: that
DVC finds the key's stage stale and no other; that DVC's run cache brings back the outputs of the
values that are asked for; and that the stage's result carries the new value.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from monge import sizes, stages
from monge.params import Params, load
from monge.paths import Paths
from monge.serving.sampler import Sampler
from monge.training.checkpoints.fingerprint import deciding
from tests.pipeline.conftest import COMMANDS, ROOT, Project

pytestmark = pytest.mark.timeout(300)

BASE: dict[str, dict[str, Any]] = {
    "prepare": {"workers": 1},
    "train": {
        "objective": "wgan", "steps": 4, "batch_size": 16, "latent_dim": 4, "device": "cpu",
        "log_every": 2, "grid_every": 4, "quality_every": 2, "checkpoint_every": 2,
        "average_half_life": 16, "mlp": {"depth": 1, "width": 4}, "dcgan": {"features": 1},
    },
    "export": {},
    "evaluate": {
        "images": 60, "transport_images": 20, "projections": 8, "repeats": 2, "features": "pixels"
    },
}  # fmt: skip

OTHER: dict[str, Any] = {
    "prepare.source": "folder", "prepare.path": "data/other", "prepare.classes": "none",
    "prepare.resolution": "24x16",
    "prepare.colour": "rgb", "prepare.fit": "pad", "prepare.background": "#102030",
    "prepare.levels": "stretch",
    "prepare.validation_fraction": 0.25, "prepare.seed": 1, "prepare.max_rejected_fraction": 0.5,
    "prepare.max_images": 2000, "prepare.max_pixels": 64, "prepare.workers": 2,
    "prepare.contract.min_images": 10, "prepare.contract.min_images_per_class": 2,
    "prepare.contract.class_names": "0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
    "prepare.contract.min_side": 4, "prepare.contract.max_class_fraction": 0.9,
    "prepare.contract.max_copies_fraction": 0.9, "prepare.contract.max_near_copies_fraction": 0.95,
    "train.net": "dcgan", "train.objective": "gan", "train.conditional": True,
    "train.latent_dim": 5, "train.steps": 3, "train.batch_size": 8, "train.accumulate": 2,
    "train.flip": True, "train.augment": "diffaugment", "train.data": "streamed",
    "train.extra_critic_steps": "authors",
    "train.learning_rate_decay": "none", "train.average_half_life": 32, "train.seed": 1,
    "train.init_from": "start", "train.device": "auto", "train.devices": 2,
    "train.precision": "bf16", "train.capture": "off", "train.threads": 1, "train.log_every": 1,
    "train.grid_every": 2, "train.quality_every": 1, "train.checkpoint_every": 1,
    "train.checkpoint_every_minutes": 5.0, "train.keep_checkpoints": 2,
    "train.guards.patience": 100, "train.guards.on_divergence": "retry",
    "train.guards.on_dead_critic": "warn", "train.guards.on_frozen_generator": "warn",
    "train.guards.on_vanishing_gradient": "warn", "train.guards.on_exploding_critic": "fail",
    "train.guards.on_collapse": "fail",
    "train.mlp.depth": 2, "train.mlp.width": 5, "train.mlp.critic_width": 6,
    "train.mlp.generator_norm": "virtual", "train.mlp.critic_initialisation": "he",
    "train.dcgan.generator_norm": "virtual", "train.dcgan.critic_initialisation": "he",
    "train.mlp.critic_norm": "spectral", "train.mlp.minibatch_kernels": 2,
    "train.dcgan.minibatch_kernels": 2, "train.dcgan.features": 2,
    "train.dcgan.critic_features": 3,
    "train.resnet.features": 2, "train.resnet.critic_features": 3,
    "train.resnet.critic_norm": "layer", "train.resnet.upsample": "second",
    "train.resnet.head": "classifier", "train.resnet.head_weight": 0.5,
    "train.resnet.generator_head_weight": 0.2,
    "train.dcgan.critic_norm": "none", "train.wgan.learning_rate": 0.001,
    "train.wgan.critic_steps": 4, "train.wgan.clip": 0.02, "train.wgan-gp.learning_rate": 0.002,
    "train.wgan-gp.critic_steps": 4, "train.wgan-gp.penalty_weight": 5.0,
    "train.wgan-gp.penalty": "one-sided", "train.gan.learning_rate": 0.001,
    "train.gan.discriminator_steps": 2, "train.gan.loss": "minimax",
    "train.gan.label_smoothing": 0.1, "train.gan.instance_noise": 0.5,
    "train.gan.feature_matching": True, "train.gan.historical_averaging": 0.1,
    "train.gan.unroll_steps": 2, "train.rpgan.learning_rate": 0.001,
    "train.rpgan.critic_steps": 2, "train.rpgan.penalty_weight": 2.0,
    "train.rpgan.penalty_weight_end": 0.5,
    "train.guards.on_posterior_collapse": "warn", "train.guards.on_stray_latents": "fail",
    **{
        f"train.{method}.{key}": value
        for method in ("vae", "wae-mmd", "wae-gan")
        for key, value in (("learning_rate", 0.002), ("input_noise", 0.1), ("warm_start", 2))
    },
    **{
        f"train.{method}.{key}": value
        for method in ("wae-mmd", "wae-gan")
        for key, value in (("encoder", "gaussian"), ("penalty_weight", 5.0))
    },
    "train.vae.decoder_deviation": 0.5, "train.wae-mmd.kernel": "seven",
    "train.wae-gan.discriminator_learning_rate": 0.001,
    "train.wae-gan.discriminator_depth": 2, "train.wae-gan.discriminator_width": 16,
    "export.checkpoint": "last", "export.weights": "raw", "export.variant": "float16",
    "export.optimize_for": "throughput", "export.tolerance": 0.001,
    "export.encoder": False,
    "evaluate.images": 70, "evaluate.transport_images": 30, "evaluate.projections": 16,
    "evaluate.repeats": 3, "evaluate.features": "random", "evaluate.batch_size": 32,
    "evaluate.provider": "cpu", "evaluate.seed": 1,
}  # fmt: skip
"""A valid second value of each key."""

STAGES = ("prepare", "train", "export", "evaluate")


def keys_of(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(field.annotation, key + ".")
        else:
            yield key


def keys_of_stage(stage: str) -> list[str]:
    model = Params.model_fields[stage].annotation
    assert isinstance(model, type)
    return [*keys_of(model, stage + ".")]


KEYS = [key for stage in STAGES for key in keys_of_stage(stage)]


def at(document: Any, key: str) -> Any:
    for part in key.split("."):
        document = document[part]
    return document


def other(key: str) -> str:
    """The key's second value, as `--set` takes it."""
    assert key in OTHER, f"{key} is new: add a second value that is valid to OTHER in {__file__}"
    return f"{key}={json.dumps(OTHER[key])}"


def set_key(folder: Path, *changes: str) -> Params:
    """Write params.yaml with these values alone changed."""
    params = load(folder / "base.yaml", [*changes])
    text = yaml.safe_dump(params.model_dump(by_alias=True, mode="json"), sort_keys=False)
    (folder / "params.yaml").write_text(text)
    return params


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A tiny project, run through in this process; DVC is told that its files are up to date."""
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("every") / "project"
    project = Project(folder)
    for name in ("raw", "other"):
        for index, image in enumerate(load_digits().images[:40]):
            path = folder / "data" / name / str(index % 2) / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15).astype("uint8")).save(path)
    script = folder / "pipelines" / "monge"
    begin, rest = script.read_text().split("\n", 1)
    script.write_text(f'{begin}\necho "$1" >> ran\n{rest}')
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
    patch = pytest.MonkeyPatch()
    patch.setenv("MONGE_TRACKING", "off")
    patch.setenv("PATH", f"{COMMANDS}{os.pathsep}{os.environ['PATH']}")
    patch.setenv("PYTHONPATH", str(ROOT / "src"))
    params, paths = set_key(folder), Paths(folder)
    for stage in STAGES:
        getattr(stages, stage)(params, paths)
    project.run("dvc", "commit", "--force", "--quiet")
    yield project
    patch.undo()


@pytest.fixture
def copy(tiny: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the tiny project that its stages make and read, for one key."""
    folder = tmp_path / "project"
    for name in ("data", "checkpoints", "models", "reports"):
        shutil.copytree(tiny.folder / name, folder / name)
    shutil.copytree(folder / "checkpoints", folder / "start")
    shutil.copy(tiny.folder / "base.yaml", folder)
    monkeypatch.chdir(folder)
    return folder


def recorded(stage: str, paths: Paths) -> Any:
    """What a stage's result says that it was made with."""
    if stage == "prepare":
        return json.loads((paths.prepared / "manifest.json").read_bytes())["params"]
    if stage == "train":
        record = json.loads((paths.checkpoints / "training.json").read_bytes())
        return record["sessions"][-1]["parameters"]
    if stage == "export":
        return Sampler.load(paths.model, "cpu").contract.export_parameters
    return json.loads(paths.metrics.read_bytes())["made"][0]["evaluate"]


def test_every_key_has_a_second_value_and_no_other_has() -> None:
    assert sorted(OTHER) == sorted(KEYS)


def test_no_key_is_called_as_what_dvc_overlooks() -> None:
    """DVC leaves out `size` and `nfiles` where it compares parameters and in its run cache's keys.

    They are its own names for a file's size and a folder's number of files, at any depth.
    """
    parts = {part for key in [*KEYS, *keys_of(Params, "")] for part in key.split(".")}
    assert len(parts) > 50
    assert not parts & {"size", "nfiles"}


@pytest.fixture(scope="module")
def repository(tiny: Project) -> Iterator[Any]:
    from dvc.repo import Repo

    with Repo(str(tiny.folder)) as repo:
        yield repo


def test_dvc_finds_nothing_to_do_before_a_key_is_changed(tiny: Project, repository: Any) -> None:
    set_key(tiny.folder)
    repository._reset()
    assert repository.status() == {}


@pytest.mark.parametrize("key", KEYS)
def test_a_changed_key_makes_its_stage_stale_and_no_other(
    key: str, tiny: Project, repository: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.folder)  # DVC names a stage by its way from here
    set_key(tiny.folder, other(key))
    repository._reset()
    status = repository.status()
    stage = key.split(".", maxsplit=1)[0]
    assert list(status) == [stage], status
    assert "changed command" in status[stage]


ROUND = {
    "prepare": ("prepare.resolution", "prepare.seed"),
    "export": ("export.weights", "export.variant"),
}


@pytest.mark.parametrize("stage", ROUND)
def test_the_run_cache_brings_back_the_values_that_are_asked_for(stage: str, tiny: Project) -> None:
    paths, ran = Paths(tiny.folder), tiny.folder / "ran"
    ran.unlink(missing_ok=True)
    rounds = []
    for change in 2 * [*([other(key)] for key in ROUND[stage]), []]:
        params = set_key(tiny.folder, *change)
        tiny.run("dvc", "repro", "--single-item", stage)
        asked = params.model_dump(by_alias=True, mode="json")[stage]
        assert recorded(stage, paths) == asked, change
        if stage == "prepare":
            manifest = json.loads((paths.prepared / "manifest.json").read_bytes())
            width, height = sizes.sides(asked["resolution"])
            assert manifest["image_shape"][1:] == [height, width]
        rounds.append(ran.read_text().split())
    assert rounds[0] == [stage], "the first value was not run"
    assert rounds[2] == rounds[-1], "the second round did not come from the run cache"


MACHINE = ("device", "devices", "threads", "capture")


@pytest.mark.parametrize("key", KEYS)
def test_the_result_carries_the_new_value(key: str, copy: Path) -> None:
    """One process trains here, whatever `train.devices` says: the command starts the others."""
    stage, paths = key.split(".", maxsplit=1)[0], Paths(copy)
    before = recorded(stage, paths)
    params = set_key(copy, other(key))
    options = {"if_changed": "fresh"} if stage == "train" else {}
    outcome = getattr(stages, stage)(params, paths, **options)
    made, inner = recorded(stage, paths), key.partition(".")[2]
    assert at(made, inner) == OTHER[key] != at(before, inner)
    assert made == params.model_dump(by_alias=True, mode="json")[stage]
    if stage == "train":
        anew = deciding(made) != deciding(before)
        assert outcome.resumed_from == (0 if anew else params.train.steps), "nothing to do, or all"
        stages.export(params, paths)
        told = Sampler.load(paths.model, "cpu").contract.parameters
        if inner in MACHINE:  # nothing was computed anew: the file says what has computed it
            assert told == made | {inner: before[inner]}
        else:
            assert told == made
