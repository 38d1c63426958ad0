"""Protects: pictures that are no squares go through all stages, and keep their shape.

Each is red towards its right and green towards its foot, so that a picture says which side is
which, also one that a generator learned to draw.
"""

import io

import numpy as np
import pytest
from PIL import Image

from monge import stages
from monge.data.packed import PackedDataset
from monge.errors import InputError, MadeOtherwise
from monge.evaluation import document
from monge.params import load
from monge.paths import Paths
from monge.registry.kind import Kind
from monge.serving.latents_file import LatentsFile
from monge.serving.sampler import Sampler
from monge.stages import encoding, inverting, projecting
from tests.pipeline.conftest import ROOT

WIDTH, HEIGHT = 16, 24
SMALL = (
    "prepare.source=folder", "prepare.path=posters", f"prepare.resolution={WIDTH}x{HEIGHT}",
    "prepare.colour=rgb", "prepare.workers=1", "train.device=cpu", "train.threads=1",
    "train.batch_size=16", "train.latent_dim=4", "train.quality_every=1000", "train.log_every=5",
    "evaluate.features=pretrained", "evaluate.images=50", "evaluate.transport_images=10",
    "evaluate.repeats=2", "evaluate.projections=4",
)  # fmt: skip
DRAWN_BY_DCGAN = (
    "train.net=dcgan", "train.dcgan.features=2", "train.steps=4", "train.conditional=true",
    "train.augment=diffaugment", "train.flip=true",
)  # fmt: skip
LEARNED = (
    "train.net=mlp", "train.objective=wae-mmd", "train.steps=150", "train.mlp.depth=1",
    "train.mlp.width=32", "train.wae-mmd.learning_rate=0.01", "train.average_half_life=100",
)  # fmt: skip


def poster(number):
    """Red grows to the right, green to the foot, by more or less; 32x48."""
    light = 120 + number % 7 * 20
    x, y = np.meshgrid(np.linspace(0, light, 32), np.linspace(0, light, 48))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 40)], 2).astype(np.uint8))


def is_upright(images):
    """Whether uint8 [..., H, W, C] are red to the right and green to the foot, on the whole."""
    mean = images.reshape(-1, *images.shape[-3:]).astype(float).mean(axis=0)
    across, down = np.diff(mean, axis=1).mean((0, 1)), np.diff(mean, axis=0).mean((0, 1))
    return across[0] > 2 > across[1] + 1 and down[1] > 2 > down[0] + 1


def project(folder, *changes):
    """The parameters and paths of a project whose stages have run to the generator file."""
    for number in range(60):
        place = folder / "posters" / ("day", "night")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        poster(number).save(place / f"{number}.png")
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    params, paths = load(folder / "params.yaml", [*SMALL, *changes]), Paths(folder)
    for stage in ("prepare", "train", "export"):
        getattr(stages, stage)(params, paths)
    return params, paths


@pytest.fixture(scope="module", autouse=True)
def untracked():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONGE_TRACKING", "off")
        yield


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory):
    return project(tmp_path_factory.mktemp("dcgan"), *DRAWN_BY_DCGAN)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    return project(tmp_path_factory.mktemp("mlp"), *LEARNED)


def test_the_contract_and_the_images_have_the_height_first(convolutional):
    _, paths = convolutional
    sampler = Sampler.load(paths.model, "cpu")
    assert sampler.contract.image_shape == (HEIGHT, WIDTH, 3)
    assert sampler.contract.classes == ("day", "night")
    assert sampler.sample(3, seed=1, labels=np.array([1, 0, 1])).shape == (3, HEIGHT, WIDTH, 3)
    assert str(Kind.of(sampler.contract)) == "16x24 colour images of day, night"
    dataset = PackedDataset.open(paths.prepared)
    assert is_upright(dataset.train.take(np.arange(20)).transpose(0, 2, 3, 1))


def test_the_grids_of_a_training_have_tiles_of_that_shape(convolutional):
    _, paths = convolutional
    with Image.open(paths.checkpoints / "grids/step-00000004.png") as picture:
        assert picture.size == (8 * 2 * WIDTH + 7, 8 * 2 * HEIGHT + 7)


def test_every_figure_and_picture_of_the_report_is_made(convolutional):
    params, paths = convolutional
    stages.evaluate(params, paths)
    figures = document.read(paths.metrics)
    for name in ("frechet", "frechet_pyramid", "sliced_wasserstein", "wasserstein1_pixels"):
        assert np.isfinite(figures[name]["value"]), name
    assert "colour images of 16×24 pixels" in paths.card.read_text("utf-8")
    with Image.open(paths.pictures / "real.png") as picture:
        rows = np.asarray(picture.convert("RGB"))
    left, top = 16, rows.shape[0] - 16  # a margin of white around tiles enlarged three times
    tile = rows[top - 3 * HEIGHT : top, left : left + 3 * WIDTH]
    assert is_upright(tile[::3, ::3])
    assert rows[top + 2, left].tolist() == [255, 255, 255]


def test_a_training_of_another_shape_neither_goes_on_nor_starts_from_it(convolutional, tmp_path):
    _, paths = convolutional
    turned = load(
        paths.root / "params.yaml",
        [*SMALL, *DRAWN_BY_DCGAN, f"prepare.resolution={HEIGHT}x{WIDTH}"],
    )
    with pytest.raises(MadeOtherwise, match="16x24 was used, 24x16 is asked for"):
        stages.train(turned, paths)
    (tmp_path / "posters").symlink_to(paths.root / "posters")
    stages.prepare(turned, Paths(tmp_path))
    (tmp_path / "old").symlink_to(paths.checkpoints)
    on = load(
        paths.root / "params.yaml",
        [*SMALL, *DRAWN_BY_DCGAN, f"prepare.resolution={HEIGHT}x{WIDTH}", "train.init_from=old"],
    )
    with pytest.raises(InputError, match="old"):
        stages.train(on, Paths(tmp_path))


def test_latents_are_searched_and_an_encoder_is_trained(convolutional):
    params, paths = convolutional
    found, pairs = paths.root / "found.npz", paths.root / "pairs.png"
    sources = [paths.root / "posters/day/0.png", paths.root / "posters/night/1.png"]

    def project(encoder=None):
        return list(
            projecting.project(
                params, paths, sources=sources, output=found, show=pairs, label=None,
                encoder=encoder, seconds=60.0, restarts=1, steps=2, samples=8, seed=0,
            )
        )  # fmt: skip

    said = project()
    assert said[-1].endswith("each row of pictures with their projections below it")
    with Image.open(pairs) as picture:
        assert picture.size == (2 * 2 * WIDTH + 1, 2 * 2 * HEIGHT + 1)
        given = np.asarray(picture.convert("RGB"))[: 2 * HEIGHT : 2, : 2 * WIDTH : 2]
    assert is_upright(given)
    list(
        inverting.train_encoder(
            params, paths, folder=paths.root / "back", seconds=60.0, steps=2, batch=8, seed=0
        )
    )
    project(paths.root / "back/encoder/encoder.onnx")
    assert LatentsFile.read(found).latents.shape == (2, 4)


def test_what_was_learned_is_upright_and_comes_back_from_pictures(learned):
    """A turned picture, too: its orientation is applied before its latents are found."""
    _, paths = learned
    sampler = Sampler.load(paths.model, "cpu")
    assert is_upright(sampler.sample(64, seed=3))
    assert not is_upright(sampler.sample(64, seed=3).transpose(0, 2, 1, 3))
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    poster(3).transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=95, exif=exif)
    (paths.root / "turned.jpg").write_bytes(file.getvalue())
    sources = [paths.root / "turned.jpg", paths.root / "posters/night/3.png"]
    encoding.encode(str(paths.model), sources, paths.root / "l.npz", paths.root / "p.png", None)
    latents = LatentsFile.read(paths.root / "l.npz").latents
    back = sampler.run(latents)
    assert is_upright(back)
    assert np.abs(back[0].astype(float) - back[1]).mean() < 10


def test_two_sets_are_compared_at_the_generators_size(learned):
    params, paths = learned
    lines = stages.metrics(
        params, paths, first=str(paths.model), second=str(paths.root / "posters")
    )
    assert any(line.startswith("frechet_pyramid") for line in lines)
