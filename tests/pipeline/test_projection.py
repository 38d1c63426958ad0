"""Protects: the way back for a generator without an encoder, from a trained project's commands."""

import numpy as np
import pytest
from PIL import Image

from monge.serving.latents_file import LatentsFile
from monge.serving.sampler import Sampler
from tests.pipeline.conftest import Project

pytestmark = pytest.mark.timeout(400)

SMALL = (
    "train.steps=800", "train.batch_size=32", "train.latent_dim=8", "train.device=cpu",
    "train.mlp.depth=2", "train.mlp.width=64", "train.objective=wgan-gp",
    "train.wgan-gp.critic_steps=1",
)  # fmt: skip
QUICK = ("--samples", "1024", "--steps", "120")


def sets(*more):
    return [word for change in (*SMALL, *more) for word in ("--set", change)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A `wgan-gp` on the digits, exported; digits that it drew, and pictures of another kind."""
    project = Project(tmp_path_factory.mktemp("projected") / "project")
    project.run("monge", "prepare")
    project.run("monge", "train", *sets())
    project.run("monge", "export", *sets())
    folder = project.folder / "mine"
    folder.mkdir()
    sampler = Sampler.load(project.folder / "models/generator.onnx", "cpu")
    for index, image in enumerate(sampler.sample(3, seed=77)):
        Image.fromarray(image[..., 0]).save(folder / f"a{index}.png")
    noise = np.random.default_rng(0).integers(0, 2, (8, 8), dtype=np.uint8) * 255
    Image.fromarray(noise).convert("RGB").resize((32, 32), 0).save(folder / "noise.png")
    (folder / "torn.png").write_bytes(b"\x89PNG")
    return project, sampler


def test_own_images_are_found_again_and_others_said_to_be_far(trained):
    project, sampler = trained
    words = ("monge", "project", "mine", "-o", "l.npz", "--show", "pairs.png", *QUICK, *sets())
    said = project.run(*words).stdout
    told = {line.partition(":")[0]: line for line in said.splitlines()}
    assert "not an image" in told["torn.png"]
    far = ("the generator does not draw such pictures", "little of it was found")
    assert told["noise.png"].endswith(far)
    assert "held-out images of its own set: 0." in said
    found = LatentsFile.read(project.folder / "l.npz")
    assert found.names == ("a0.png", "a1.png", "a2.png", "noise.png")
    assert found.generator == sampler.model_hash
    assert found.labels is None
    assert found.distances is not None
    back = sampler.run(found.latents).astype(float)
    for index in range(3):
        assert not told[f"a{index}.png"].endswith(far)
        assert np.abs(back[index] - sampler.sample(3, seed=77)[index]).mean() < 4
    assert found.distances[:3].max() < 0.05 < 0.3 < found.distances[3]
    with Image.open(project.folder / "pairs.png") as picture:
        assert picture.width > picture.height > 80  # two rows
    drawn = ("monge", "sample", "models/generator.onnx", "--latents", "l.npz", "-o", "again.npz")
    assert "4 images of" in project.run(*drawn).stdout
    project.run("monge", "project", "mine", "-o", "again.npz", *QUICK, *sets())
    again = LatentsFile.read(project.folder / "again.npz")
    np.testing.assert_array_equal(again.latents, found.latents)


def test_a_bound_on_time_is_kept_and_told(trained):
    project, _ = trained
    bounds = ("--minutes", "0.02", "--steps", "100000", "-o", "short.npz")
    assert "of 100000 steps; --minutes gives more" in project.run(
        "monge", "project", "mine/a0.png", *bounds, *sets()
    ).stdout  # fmt: skip
    assert LatentsFile.read(project.folder / "short.npz").names == ("mine/a0.png",)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nowhere.png"], "nowhere.png: no such file or folder"),
        (["mine/torn.png"], "no picture that can be read here; mine/torn.png: not an image"),
        (["mine", "-o", "l.png"], "ends in .npz"),
        (["mine", "--show", "l.npz"], "ends in .png"),
        (["mine", "--label", "3"], "--label: this generator takes no labels"),
        (["mine", "--encoder", "models/generator.onnx"], "no encoder of monge's"),
    ],
)
def test_what_cannot_be_is_one_line(trained, words, reason):
    project, _ = trained
    done = project.run("monge", "project", *words, *sets(), check=False)
    assert done.returncode in (2, 3)
    assert reason in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout


def test_a_trained_encoder_encodes_and_gives_a_start(trained):
    project, sampler = trained
    bounds = ("--steps", "1200", "--minutes", "10")
    said = project.run("monge", "train-encoder", *bounds, *sets()).stdout
    assert "1200 steps in" in said
    assert "on images it was not trained with: latents off by 0." in said
    model = "models/with-encoder/generator.onnx"
    project.run("monge", "encode", "mine", "-m", model, "-o", "e.npz")
    found = LatentsFile.read(project.folder / "e.npz")
    assert found.generator == sampler.model_hash
    own = sampler.sample(3, seed=77).astype(float)
    apart = np.abs(sampler.run(found.latents[:3]) - own).mean()
    assert apart < 0.5 * np.abs(np.roll(own, 1, 0) - own).mean()
    beside = ("--encoder", "models/with-encoder/encoder/encoder.onnx")
    only = ("--restarts", "1", "--samples", "1", "--steps", "0", "-o", "g.npz")
    project.run("monge", "project", "mine/a0.png", *beside, *only, *sets())
    guess = LatentsFile.read(project.folder / "g.npz")
    np.testing.assert_allclose(guess.latents, found.latents[:1], atol=1e-6)


def test_a_generator_file_of_another_checkpoint_is_refused(trained):
    project, _ = trained
    model = project.folder / "models/generator.onnx"
    before = model.read_bytes()
    project.run("monge", "export", *sets("export.weights=raw"))
    try:
        done = project.run("monge", "project", "mine", *sets(), check=False)
    finally:
        model.write_bytes(before)
    assert done.returncode != 0
    assert "monge export" in done.stdout


def test_a_conditional_generator_is_asked_for_a_class_or_tries_them(tmp_path):
    project = Project(tmp_path / "conditional")
    changed = sets("train.conditional=true", "train.steps=200")
    for stage in ("prepare", "train", "export"):
        project.run("monge", stage, *changed)
    sampler = Sampler.load(project.folder / "models/generator.onnx", "cpu")
    Image.fromarray(sampler.sample(1, seed=77, labels=4)[0, ..., 0]).save(project.folder / "a.png")
    said = project.run("monge", "project", "a.png", *QUICK, *changed).stdout
    assert "; drawn as " in said
    found = LatentsFile.read(project.folder / "latents.npz")
    assert found.labels is not None
    assert found.distances is not None
    assert found.labels.shape == (1,)
    assert found.distances[0] < 0.3
    project.run("monge", "project", "a.png", "--label", "4", *QUICK, *changed)
    asked = LatentsFile.read(project.folder / "latents.npz")
    assert asked.labels is not None
    assert asked.distances is not None
    assert asked.labels.tolist() == [4]
    assert asked.distances[0] < 0.1
    done = project.run("monge", "project", "a.png", "--label", "z", *changed, check=False)
    assert "no class is called 'z'" in done.stdout
