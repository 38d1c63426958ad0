"""Protects: what a version says of its origin brings it back, byte for byte, in a fresh clone."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from monge.params import load
from monge.paths import Paths
from monge.serving.sampler import Sampler
from monge.stages import lineage
from monge.training.checkpoints import record
from tests.pipeline.conftest import Project
from tests.pipeline.test_lock import TINY, run, setting

pytestmark = pytest.mark.timeout(600)


def committed(project, message):
    project.run("git", "add", "--all")
    project.run(
        "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", message
    )


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def draw(folder, first, count):
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """New data, trained on, and committed only afterwards; a remote that has the data alone."""
    project = Project(tmp_path_factory.mktemp("again") / "a 'project'")
    shutil.copy(Project.root() / ".gitignore", project.folder / ".gitignore")
    images = project.folder / "data/pictures"
    draw(images, 0, 20)
    setting(project, prepare={"source": "folder", "path": "data/pictures"}, **TINY)
    remote = project.folder.parent / "remote"
    project.run("dvc", "remote", "add", "--default", "here", remote)
    project.run("dvc", "add", "data/pictures")
    committed(project, "The first pictures")
    draw(images, 20, 10)
    project.run("dvc", "add", "data/pictures")
    path = project.folder / "src/monge/objectives/wgan_gp.py"
    path.write_text(path.read_text().replace("(norms - 1.0)", "(norms - 1.5)"))
    run(project, "dvc", "repro", MONGE_TRACKING="on")
    # So small a training is below the gate's floor.
    run(project, "monge", "promote", "--force", "--reason", "for the test", MONGE_TRACKING="on")
    project.run("dvc", "push", "data/pictures")
    committed(project, "The new pictures, late")
    return project


def commands(project):
    """The lines that `monge models --show` prints, as a shell takes them."""
    said = run(project, "monge", "models", "--show", "champion").stdout
    lines = said.partition("To make it again:")[2].strip().splitlines()
    assert lines[0].strip().startswith("git clone ")
    return said, "\n".join(["set -e", *(line.strip() for line in lines)])


def made_again(project, folder):
    """Run them as printed, somewhere else; the clone, and what was said."""
    _, script = commands(project)
    folder.mkdir()
    own = {"MONGE_TRACKING": "off"}
    done = project.run("sh", "-c", f"cd '{folder}'\n{script}", **own)
    return folder / "again", done.stdout


def test_a_version_says_where_it_comes_from(project):
    said, script = commands(project)
    commit = project.run("git", "rev-parse", "HEAD~1").stdout.strip()
    assert re.search(rf"^trained at +{commit}\+changed$", said, re.MULTILINE), said
    assert "data/pictures" in said
    assert "git apply" in script
    contract = Sampler.load(project.folder / "models/generator.onnx", "cpu").contract
    assert contract.git_revision == f"{commit}+changed"
    assert contract.export_revision is None
    card = (project.folder / "reports/MODEL_CARD.md").read_text()
    assert f"trained at git revision {commit} with changed files" in card
    page = (project.folder / "reports/report.html").read_text()
    assert f"Trained at git revision {commit} with changed files" in page


def test_with_its_data_alone_it_is_made_again_to_the_same_images(project, tmp_path):
    clone, said = made_again(project, tmp_path / "new")
    assert "Running stage 'train'" in said
    packed = [json.loads((place / "data/prepared/manifest.json").read_text())
              for place in (project.folder, clone)]  # fmt: skip
    assert packed[0]["content_hash"] == packed[1]["content_hash"]
    first, again = (
        Sampler.load(place / "models/generator.onnx", "cpu") for place in (project.folder, clone)
    )
    assert np.array_equal(first.sample(64), again.sample(64))
    assert first.contract.code == again.contract.code
    assert first.contract.parameters == again.contract.parameters


def test_with_everything_in_the_remote_it_is_the_same_file_and_nothing_runs(project, tmp_path):
    project.run("dvc", "push")
    clone, said = made_again(project, tmp_path / "pulled")
    assert "Running stage" not in said
    assert sha256(clone / "models/generator.onnx") == sha256(
        project.folder / "models/generator.onnx"
    )
    assert sha256(project.folder / "models/generator.onnx") in said


def lineage_of(project, folder):
    """What a version would be kept with now: its facts, and the commands from it."""
    paths = Paths(project.folder)
    contract = Sampler.load(paths.model, "cpu").contract
    for name, data in lineage.files(load(paths.root / "params.yaml"), paths, contract).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    facts = json.loads((folder / "lineage.json").read_text())
    return facts, "\n".join(lineage.commands(folder, paths.root))


def test_code_that_was_edited_after_the_training_is_not_said_to_have_made_it(project, tmp_path):
    """Promoted with an edited tree, a version's own code is the training's, and it is told so."""
    path = project.folder / "src/monge/objectives/wgan_gp.py"
    made, trained_at = path.read_text(), lineage_of(project, tmp_path)[0]["training_revision"]
    try:
        path.write_text(made.replace("(norms - 1.5)", "(norms - 9.0)"))
        facts, said = lineage_of(project, tmp_path)
        assert facts["revision"] == facts["training_revision"] == trained_at
        assert facts["missing"] == ""
        patch = (tmp_path / "changes.patch").read_text()
        assert "(norms - 1.5)" in patch
        assert "9.0" not in patch
        assert "the code was changed after the training: this is the training's" in said
        assert f"git checkout --quiet --detach {trained_at.removesuffix('+changed')}" in said
    finally:
        path.write_text(made)


def test_images_that_changed_under_the_hash_that_git_has_are_said_to_be_missing(project, tmp_path):
    """By hand, nobody tells DVC's file of the images; the flow and `dvc repro` do."""
    pointer = project.folder / "data/pictures.dvc"
    kept, params = pointer.read_text(), load(project.folder / "params.yaml")
    assert lineage_of(project, tmp_path)[0]["missing"] == ""
    try:
        first = project.run("git", "show", "HEAD~1:data/pictures.dvc").stdout
        assert first != kept
        pointer.write_text(first)  # of the twenty images before
        facts, said = lineage_of(project, tmp_path)
        assert facts["missing"].startswith("the images had changed since data/pictures.dvc was")
        assert "It cannot be made again to the byte: the images had changed" in said
        tags = lineage.data_tags(params, Paths(project.folder))
        assert tags["monge.data_revision"].endswith("+changed")
    finally:
        pointer.write_text(kept)


def test_what_neither_git_nor_dvc_keeps_is_named_to_be_brought_by_hand(project, tmp_path):
    began = project.folder / "checkpoints" / record.ORIGIN
    facts = {"init_from": "base", "step": 4, "tensors_sha256": "abcdef" * 10}
    began.write_text(json.dumps(facts))
    pointer = project.folder / "data/pictures.dvc"
    pointer.rename(tmp_path / "pointer")
    project.run("git", "rm", "--cached", "--quiet", "data/pictures.dvc")
    try:
        _, said = lineage_of(project, tmp_path / "kept")
    finally:
        began.unlink()
        (tmp_path / "pointer").rename(pointer)
        project.run("git", "add", "data/pictures.dvc")
    assert "# bring data/pictures by hand: neither git nor DVC keeps these images" in said
    assert "# bring base by hand: it began with tensors.safetensors of abcdefabcdef..." in said


def test_a_product_is_made_again_in_its_folder_of_a_fresh_clone(tmp_path):
    """Its folder is not in git: parameters, stages and lock come with the version."""
    project = Project(tmp_path / "project")
    shutil.copy(Project.root() / ".gitignore", project.folder / ".gitignore")
    draw(project.folder / "pictures", 0, 20)
    committed(project, "Everything")
    tiny = (
        "prepare.resolution=8", "prepare.colour=grey", "prepare.fit=crop",
        "prepare.background=#000000", "train.net=mlp", "train.objective=wgan-gp",
        "train.conditional=false", "train.augment=none", "train.average_half_life=100",
        "train.wgan-gp.learning_rate=0.001", "train.wgan-gp.critic_steps=2",
        "train.dcgan.critic_norm=instance", "train.dcgan.critic_initialisation=small",
        "train.rpgan.learning_rate=0.002",
        "train.dcgan.features=8", "train.latent_dim=4", "train.mlp.depth=1", "train.mlp.width=8",
        "train.steps=20", "train.batch_size=8", "train.log_every=10", "train.grid_every=20",
        "train.quality_every=20", "train.checkpoint_every=5", "evaluate.images=60",
        "evaluate.transport_images=10", "evaluate.repeats=2", "evaluate.projections=4",
        "evaluate.features=pixels",
        "promote.conditions=[{metric: sliced_wasserstein, improvement: 2.0}]",
    )  # fmt: skip
    given = [part for change in tiny for part in ("--set", change)]
    run(project, "monge", "new", "mine", project.folder / "pictures", "--no-run", *given)
    place = project.folder / "products/mine"
    run(project, "sh", "-c", "cd products/mine && dvc repro", MONGE_TRACKING="on")
    promote = ("promote", "--force", "--reason", "for the test")
    run(project, "monge", "-C", place, *promote, MONGE_TRACKING="on")
    said = run(project, "monge", "-C", place, "models", "--show", "1").stdout
    lines = [line.strip() for line in said.partition("To make it again:")[2].strip().splitlines()]
    assert "mkdir -p products/mine" in lines
    assert lines.index("cd products/mine") < lines.index("dvc repro  # makes what is not there")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    script = "\n".join(["set -e", f"cd '{fresh}'", *lines])
    own = {"PYTHONPATH": str(fresh / "again/src"), "MONGE_TRACKING": "off"}
    assert "Running stage 'train'" in project.run("sh", "-c", script, **own).stdout
    first, again = (
        Sampler.load(folder / "models/generator.onnx", "cpu")
        for folder in (place, fresh / "again/products/mine")
    )
    assert np.array_equal(first.sample(64), again.sample(64))


def test_a_training_that_was_done_before_is_not_done_again(tmp_path):
    """Three settings in turn, and the first again: it is neither there nor set aside any more."""
    project = Project(tmp_path / "project")
    setting(project, **TINY)
    made: dict[int, str] = {}
    for latents in (4, 5, 6, 4):
        setting(project, train={"latent_dim": latents})
        output = run(project, "dvc", "repro", "export").stdout
        model = sha256(project.folder / "models/generator.onnx")
        assert made.setdefault(latents, model) == model
    assert len(set(made.values())) == 3
    assert "this training was completed before, with the same settings, images and code" in output
    assert "the training is complete at step 20: nothing to do" in output
