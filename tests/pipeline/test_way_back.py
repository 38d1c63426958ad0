"""Protects: a trained auto-encoder's way back, from its training to a version that is fetched."""

import numpy as np
import pytest
from PIL import Image

from monge.serving.latents_file import LatentsFile
from monge.serving.sampler import Sampler
from tests.pipeline.conftest import Project

pytestmark = pytest.mark.timeout(400)

TINY = (
    "train.steps=400", "train.batch_size=32", "train.latent_dim=8", "train.device=cpu",
    "train.mlp.depth=1", "train.mlp.width=64", "evaluate.images=200",
    "evaluate.transport_images=40", "evaluate.projections=16", "evaluate.features=pixels",
)  # fmt: skip


def told(project, *command, check=True):
    return project.run(*command, check=check).stdout


def sets(*more):
    return [word for change in (*TINY, *more) for word in ("--set", change)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A `wae-gan` on the digits that went through the chain, and what its stages said."""
    project = Project(tmp_path_factory.mktemp("back") / "project")
    said = {}
    for stage in ("prepare", "train", "export", "evaluate", "promote"):
        given = sets("train.objective=wae-gan")
        said[stage] = told(project, "monge", stage, *given)
    return project, said


def pictures_of(project):
    """Three held-out-like pictures of other sizes, and one that is none."""
    from sklearn.datasets import load_digits

    folder = project.folder / "my pictures"
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(load_digits().images[:3]):
        large = Image.fromarray((image * 15.9).astype(np.uint8)).resize((40, 40))
        large.convert("RGB").save(folder / f"{index}.png")
    (folder / "torn.png").write_bytes(b"\x89PNG")
    return folder


def test_held_out_images_come_back(trained):
    project, said = trained
    assert "and its encoder, for `monge encode`" in said["export"]
    lines = {line.split()[0]: line.split() for line in said["evaluate"].splitlines() if line}
    assert float(lines["reconstruction_share"][1]) < 0.5
    for name in ("reconstructions", "walks_between_images", "posterior"):
        with Image.open(project.folder / f"reports/pictures/{name}.png") as picture:
            assert picture.width > 200
    page = (project.folder / "reports/report.html").read_text()
    assert "Images that come back" in page
    sampler = Sampler.load(project.folder / "models/generator.onnx", "cpu")
    from monge.data.packed import PackedDataset

    dataset = PackedDataset.open(project.folder / "data/prepared")
    real = dataset.validation.take(np.arange(100)).transpose(0, 2, 3, 1)
    back = sampler.run(sampler.encode(real))
    mean = dataset.train.take(np.arange(1000)).mean(axis=0)[0, :, :, None]

    def error(others):
        return np.square(real.astype(float) - others).mean()

    assert error(back) < 0.5 * error(mean)
    assert error(back) < 0.5 * error(back[::-1])  # each is nearest to its own


def test_pictures_of_ones_own_become_latents_and_pictures_again(trained):
    project, _ = trained
    folder = pictures_of(project)
    out, pairs = project.folder / "l.npz", project.folder / "pairs.png"
    said = told(project, "monge", "encode", str(folder), "-o", str(out), "--show", str(pairs))
    assert "torn.png: left out:" in said
    assert "3 pictures to" in said
    found = LatentsFile.read(out)
    assert found.names == ("0.png", "1.png", "2.png")
    sampler = Sampler.load(project.folder / "models/generator.onnx", "cpu")
    assert found.generator == sampler.model_hash
    assert "3 images of" in told(
        project,
        "monge",
        "sample",
        "models/generator.onnx",
        "--latents",
        str(out),
        "-o",
        "again.npz",
    )
    again = np.load(project.folder / "again.npz")["images"]
    np.testing.assert_array_equal(again, sampler.run(found.latents))
    for index, image in enumerate(again):
        with Image.open(folder / f"{index}.png") as picture:
            real = np.asarray(picture.convert("L").resize((8, 8), Image.Resampling.LANCZOS), float)
        assert np.square(image[..., 0] - real).mean() < np.square(255 - image[..., 0] - real).mean()


def test_a_registered_version_brings_its_encoder_whose_latents_are_no_ones_else(
    trained, monkeypatch
):
    project, said = trained
    assert "registered" in said["promote"] or "champion" in said["promote"].lower()
    monkeypatch.chdir(project.folder)
    sampler = Sampler.load("models:/monge-digits/1", "cpu")
    assert sampler.encoder is not None
    assert sampler.encoder.contract.generator == sampler.model_hash
    assert "\nencoder " in told(project, "monge", "models", "--show", "1")
    from monge.server.models import open_model

    served = open_model("models:/monge-digits/1", "cpu", 1)
    assert served.encoder is not None
    assert served.encoder.contract == sampler.encoder.contract
    out = project.folder / "mine.npz"
    told(project, "monge", "encode", str(pictures_of(project)), "-o", str(out))
    given = sets("train.objective=wae-gan", "export.weights=raw")
    told(project, "monge", "export", *given)  # the same training, another file
    refused = told(
        project,
        "monge",
        "sample",
        "models/generator.onnx",
        "--latents",
        str(out),
        "-o",
        "x.png",
        check=False,
    )
    assert "which mean nothing to this one" in refused
    without = sets("train.objective=wae-gan", "export.encoder=false")
    told(project, "monge", "export", *without)
    assert (
        "`export.encoder` is `false`" in (project.folder / "models/encoder/README.md").read_text()
    )
    refused = told(project, "monge", "encode", str(out.parent / "my pictures"), check=False)
    assert "has no encoder" in refused
