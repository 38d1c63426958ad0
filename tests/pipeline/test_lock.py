"""Protects: `dvc.lock` says what happened, whoever edits what, while a stage runs or after."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML

from monge.params import TrainParams
from monge.paths import Paths
from monge.serving.sampler import Sampler
from monge.stages import dvc_lock, lock_and_code
from monge.training.code.identity import code_identity
from tests.pipeline.conftest import COMMANDS, Project

pytestmark = pytest.mark.timeout(600)
TINY = {
    "train": {
        "objective": "wgan-gp", "steps": 20, "batch_size": 8, "latent_dim": 4,
        "mlp": {"depth": 1, "width": 8},
        "log_every": 10, "grid_every": 20, "quality_every": 20, "checkpoint_every": 5,
        "learning_rate_decay": "none",
    },
    "evaluate": {"images": 60, "transport_images": 10, "repeats": 2, "projections": 4,
                 "features": "pixels"},
    "promote": {"name": "tiny",
                "conditions": [{"metric": "sliced_wasserstein", "improvement": 2.0}]},
}  # fmt: skip
RULE = "src/monge/objectives/wgan_gp.py"


def setting(project, **changes):
    """Write values into sections of the parameter file."""
    path, reader = project.folder / "params.yaml", YAML()
    document = reader.load(path)
    for section, values in changes.items():
        document[section].update(values)
    reader.dump(document, path)


def run(project, *command, **environment):
    """A command whose monge is the project's own copy: of DVC's stages it is so by itself."""
    own = {"MONGE_TRACKING": "off"}
    if command[0] == "monge":
        own["PYTHONPATH"] = str(project.folder / "src")
    return project.run(*command, **(own | environment))


def edit(project, name, before, after):
    path = project.folder / name
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after), "utf-8")


def trained(project):
    """The parameters that the training noted, and the tensors of its last checkpoint."""
    folder = project.folder / "checkpoints"
    record = json.loads((folder / "training.json").read_text())
    newest = sorted(folder.glob("step-*"))[-1]
    return record["sessions"][-1]["parameters"], (newest / "tensors.safetensors").read_bytes()


def command_of(project, stage):
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text("utf-8"))
    return lock["stages"][stage]["cmd"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("made") / "project")
    setting(project, **TINY)
    run(project, "dvc", "repro", "evaluate")
    return project


@pytest.fixture
def project(made, tmp_path):
    copy = Project.__new__(Project)
    copy.folder = tmp_path / "project"
    shutil.copytree(made.folder, copy.folder, symlinks=True)
    yield copy
    copy.end()


def test_an_edit_while_a_training_runs_is_for_the_next_run(project):
    setting(project, train={"steps": 400, "seed": 1})
    working = project.start(
        "dvc", "repro", "export", MONGE_TRACKING="off",
    )  # fmt: skip
    _wait_for(lambda: _seed_begun(project) == 1)
    setting(project, train={"steps": 40, "seed": 2})
    said, _ = working.communicate(timeout=300)
    assert working.returncode == 0, said
    assert trained(project)[0]["seed"] == 1
    assert "--seed 1" in command_of(project, "train")
    assert "--steps 400 " in command_of(project, "train")
    contract = Sampler.load(project.folder / "models/generator.onnx", "cpu").contract
    assert contract.parameters["seed"] == 1
    assert dvc_lock.untrue(Paths(project.folder)) == {}
    said = run(project, "dvc", "repro", "export").stdout
    assert "train.seed: 1 -> 2" in said
    assert trained(project)[0]["seed"] == 2
    assert "--seed 2" in command_of(project, "train")


def _seed_begun(project):
    try:
        return trained(project)[0]["seed"]
    except (OSError, ValueError, IndexError):
        return None


def _wait_for(seen, limit_s=240.0):
    end = time.monotonic() + limit_s
    while not seen():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_another_update_rule_is_another_training_and_a_comment_is_not(project):
    parameters, weights = trained(project)
    edit(project, RULE, "from __future__", "# A word more.\nfrom __future__")
    said = run(project, "dvc", "repro", "export").stdout
    assert "the training is complete at step 20: nothing to do" in said
    assert trained(project) == (parameters, weights)
    edit(project, RULE, "(norms - 1.0)", "(norms - 2.0)")
    refused = run(project, "monge", "train", check=False)
    assert refused.returncode == 2
    (line,) = [line for line in refused.stdout.splitlines() if line.startswith("monge: ")]
    assert "trained by other code (objectives.wgan_gp.WganGp)" in line
    assert "Put the code back to go on with it, or start afresh with `monge train --fresh`" in line
    assert trained(project)[1] == weights
    said = run(project, "dvc", "repro", "export").stdout
    assert "a new training, because: code: objectives.wgan_gp.WganGp" in said
    assert trained(project)[0] == parameters
    assert trained(project)[1] != weights
    aside = sorted((project.folder / "checkpoints.replaced").glob("step-*"))[-1]
    assert (aside / "tensors.safetensors").read_bytes() == weights


def test_code_that_changes_while_a_training_runs_is_not_what_the_lock_says(project):
    before = command_of(project, "train")
    setting(project, train={"steps": 400, "seed": 3})
    working = project.start(
        "dvc", "repro", "export", MONGE_TRACKING="off",
    )  # fmt: skip
    _wait_for(lambda: _seed_begun(project) == 3)
    edit(project, RULE, "(norms - 1.0)", "(norms - 2.0)")
    said, _ = working.communicate(timeout=300)
    assert working.returncode != 0
    assert "the code was changed while this training ran (objectives.wgan_gp.WganGp)" in said
    assert command_of(project, "train") == before
    _, weights = trained(project)
    edit(project, RULE, "(norms - 2.0)", "(norms - 1.0)")
    said = run(project, "dvc", "repro", "export").stdout
    assert "the training is complete at step 400: nothing to do" in said
    assert trained(project)[1] == weights
    assert "--seed 3" in command_of(project, "train")


def test_images_that_come_while_they_are_packed_are_for_the_next_run(project, tmp_path):
    """DVC looks at the folder when the stage has ended: it would record the new ones."""
    from PIL import Image

    images = project.folder / "images"
    images.mkdir()
    for number in range(8):
        Image.new("L", (8, 8), number * 30).save(images / f"{number}.png")
    setting(project, prepare={"source": "folder", "path": "images"})
    # The stage's own process adds the image, at its end: nothing else is as sure to be in time.
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, shutil, sys\n"
        "if 'prepare' in sys.argv and os.environ.get('DVC_STAGE'):\n"
        "    import monge.data.prepare as p\n"
        "    pack = p._pack\n"
        "    def later(*given):\n"
        "        shutil.copy('images/0.png', 'images/9.png')\n"
        "        return pack(*given)\n"
        "    p._pack = later\n"
    )
    path = os.pathsep.join([str(tmp_path), str(project.folder / "src")])
    failed = run(project, "dvc", "repro", "prepare", check=False, PYTHONPATH=path)
    assert failed.returncode != 0
    assert "images/9.png: changed while this ran" in failed.stdout
    assert "--path images" not in command_of(project, "prepare")
    run(project, "dvc", "repro", "prepare")
    manifest = json.loads((project.folder / "data/prepared/manifest.json").read_text())
    assert sum(split["count"] for split in manifest["splits"].values()) == 9


def test_a_lock_that_is_wrong_all_the_same_is_noticed_and_healed(project):
    _, weights = trained(project)
    setting(project, train={"seed": 9})
    run(project, "dvc", "commit", "--force")  # a person's own claim
    assert "--seed 9" in command_of(project, "train")
    assert "up to date" in run(project, "dvc", "repro").stdout
    (how,) = [dvc_lock.untrue(Paths(project.folder))["train"]]
    assert how == "train.seed: 0 was used, 9 is asked for"
    refused = run(project, "monge", "promote", check=False)
    assert refused.returncode == 2
    assert "train.seed: 0 was used, 9 is asked for. Run `dvc repro`" in refused.stdout
    # The next stage that runs finds it, and the same command then makes it true.
    refused = run(project, "dvc", "repro", "--force", "--single-item", "export", check=False)
    assert refused.returncode != 0
    assert "that entry is taken out, and the same command makes it true" in refused.stdout
    run(project, "dvc", "repro", "export")
    assert trained(project)[0]["seed"] == 9
    assert trained(project)[1] != weights
    assert dvc_lock.untrue(Paths(project.folder)) == {}


def test_a_lock_that_claims_edited_code_is_noticed_by_promote_and_trained_anew_by_the_flow(project):
    _, weights = trained(project)
    edit(project, RULE, "(norms - 1.0)", "(norms - 2.0)")
    refused = run(project, "monge", "promote", check=False)
    assert "dvc.lock says that the code" not in refused.stdout  # it names the code as it was
    run(project, "dvc", "commit", "--force")  # a person's own claim
    assert "up to date" in run(project, "dvc", "repro").stdout
    assert dvc_lock.untrue(Paths(project.folder)) == {}
    refused = run(project, "monge", "promote", check=False)
    assert refused.returncode == 2
    assert "dvc.lock says that the code as it is now made" in refused.stdout
    assert "objectives.wgan_gp" in refused.stdout
    said = project.retrain(check=False, MONGE_TRACKING="off").stdout
    assert "dvc.lock was wrong about train's code (objectives.wgan_gp" in said
    assert trained(project)[1] != weights
    assert lock_and_code.other_code(Paths(project.folder)) == []


def test_a_copy_works_with_its_own_code_whichever_environment_is_used(project):
    """The environment of these tests is this repository's, and the project a copy of it."""
    edit(project, RULE, "(norms - 1.0)", "(norms - 2.0)")
    before = trained(project)[1]
    run(project, "dvc", "repro", "train")
    assert trained(project)[1] != before
    made = json.loads((project.folder / "checkpoints/training.json").read_text())
    assert lock_and_code.other_code(Paths(project.folder)) == []
    assert made["code"]["digest"] != code_identity(TrainParams.model_validate(
        made["sessions"][-1]["parameters"])).digest  # fmt: skip


def test_dvc_repro_needs_nothing_activated(project):
    bare = {"PATH": "/usr/bin:/bin"}
    (project.folder / ".venv").symlink_to(COMMANDS.parent)
    setting(project, export={"weights": "raw"})
    done = run(project, COMMANDS / "dvc", "repro", "export", **bare)
    assert re.search(r"generator.onnx: equals the network", done.stdout)
    (project.folder / ".venv").unlink()
    setting(project, export={"weights": "averaged"})
    away = run(project, COMMANDS / "dvc", "repro", "--force", "export", check=False, **bare)
    assert away.returncode != 0
    assert "monge: not found. Make its environment with `make .venv/ready`" in away.stdout


def test_what_was_made_with_other_parameters_is_refused_at_each_door(project):
    doors = {
        "train": ("prepare.resolution=9", "prepare.resolution: 8 was used, 9 is asked for"),
        "export": ("train.latent_dim=5", "train.latent_dim: 4 -> 5"),
        "evaluate": ("export.weights=raw", "export.weights: averaged was used, raw is asked for"),
        "promote": ("evaluate.images=70", "evaluate.images: 60 was used, 70 is asked for"),
    }
    for stage, (change, told) in doors.items():
        refused = run(project, "monge", stage, "--set", change, check=False)
        assert refused.returncode == 2, refused.stdout
        assert told in refused.stdout
    assert Path(project.folder / "models/generator.onnx").exists()
