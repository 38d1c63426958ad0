"""`monge metrics A B` on real folders, against torchmetrics on the same features, and by origin."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

from monge import stages
from monge.data.prepare import prepare
from monge.errors import InputError
from monge.evaluation import document
from monge.metrics.features import random_extractor
from monge.params import EvaluateParams, Params, PrepareParams
from monge.paths import Paths
from tests.running import write

PARAMS = Params(
    evaluate=EvaluateParams(images=600, transport_images=100, projections=64, features="random")
)


def _folder(path: Path, images: np.ndarray) -> Path:
    path.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(path / f"{number:04}.png")
    return path


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders of 450 real digits; those of the first one are blurred."""
    folder = tmp_path_factory.mktemp("images")
    digits = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    blurred = gaussian_filter(digits[500:950].astype(float), (0, 0.7, 0.7))
    return (
        _folder(folder / "blurred", np.rint(blurred).astype(np.uint8)),
        _folder(folder / "real", digits[:450]),
    )


def compared(first: Path, second: Path, folder: Path, **options: Any) -> dict[str, Any]:
    output = folder / "out.json"
    paths = Paths(folder)
    lines = stages.metrics(
        PARAMS, paths, first=str(first), second=str(second), output=output, **options
    )
    entries = document.read(output)
    assert lines == document.table(entries)
    return entries


@pytest.fixture(scope="module")
def found(halves: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compared(*halves, tmp_path_factory.mktemp("found"), size=8, colour="grey")


class Given(torch.nn.Module):
    """Hands torchmetrics features in the place of images."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


@pytest.mark.filterwarnings("ignore:Metric `(Kernel|Frechet)")
def test_it_agrees_with_torchmetrics_on_the_same_features(
    halves: tuple[Path, Path], found: dict[str, Any]
) -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    kid = pytest.importorskip("torchmetrics.image.kid")
    look = random_extractor(1)
    features = []
    for folder in halves:
        images = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
        features.append(torch.from_numpy(look.features(np.stack(images)[:, None])))
    given = Given(features[0].shape[1])
    for name, reference in (
        ("frechet", fid.FrechetInceptionDistance(feature=given).set_dtype(torch.float64)),
        ("kernel_distance", kid.KernelInceptionDistance(given, subsets=1, subset_size=450)),
    ):
        reference.update(features[1], real=True)
        reference.update(features[0], real=False)
        computed = reference.compute()
        theirs = float(computed[0] if isinstance(computed, tuple) else computed)
        assert found[name]["value"] == pytest.approx(theirs, rel=1e-4), name


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`", "ignore:std")
def test_the_inception_scores_formula_is_torchmetrics() -> None:
    inception = pytest.importorskip("torchmetrics.image.inception")
    from monge.metrics.scores import classifier_score

    scores = torch.from_numpy(np.random.default_rng(0).normal(0, 2, size=(300, 7)))
    reference = inception.InceptionScore(feature=Given(7), splits=1)
    reference.update(scores)
    ours = classifier_score(torch.softmax(scores, dim=1).numpy())
    assert ours == pytest.approx(float(reference.compute()[0]), rel=1e-4)


def test_blur_is_seen_by_every_figure_that_should(found: dict[str, Any]) -> None:
    for name in ("frechet", "kernel_distance", "mmd_rbf", "energy_distance", "sliced_wasserstein"):
        entry = found[name]
        assert entry["interval"][0] > entry["floor"], name
    assert found["sharpness"]["value"] < 0.7 * found["sharpness"]["floor"]
    assert found["two_sample_accuracy"]["value"] > 0.7
    assert found["mmd_rbf"]["p_value"] < 0.01
    assert found["duality_gap"]["value"] == pytest.approx(0.0, abs=1e-12)
    protocol = found["frechet"]["protocol"]
    assert (protocol["generated_images"], protocol["real_images"]) == (450, 450)


def test_one_set_against_itself_is_nothing_apart(halves: tuple[Path, Path], tmp_path: Path) -> None:
    found = compared(halves[1], halves[1], tmp_path, size=8, colour="grey")
    assert found["frechet"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert found["wasserstein1_pixels"]["value"] == 0.0
    assert found["precision"]["value"] == found["coverage"]["value"] == 1.0
    assert found["two_sample_accuracy"]["value"] < 0.1
    assert found["mmd_rbf"]["p_value"] > 0.5


def test_archives_packed_sets_and_generators_do_as_well(
    halves: tuple[Path, Path], found: dict[str, Any], tmp_path: Path
) -> None:
    archive = tmp_path / "blurred.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(halves[0], "images")
    recipe = PrepareParams(source="folder", path=str(halves[1]), resolution=8, colour="grey")
    packed = prepare(recipe, tmp_path, tmp_path, tmp_path / "packed")
    by_others = compared(archive, packed.folder, tmp_path)  # the packed set says the size
    # The packed set's images are in another order, which the exact figures do not see.
    for name in ("frechet", "kernel_distance", "precision", "coverage"):
        assert by_others[name]["value"] == pytest.approx(found[name]["value"], rel=1e-6), name


def test_a_generator_says_its_size_itself(halves: tuple[Path, Path], tmp_path: Path) -> None:
    model = write(tmp_path / "generator.onnx")  # colour, 16 pixels
    drawn = compared(model, halves[1], tmp_path)
    assert drawn["frechet"]["protocol"]["generated_images"] == 600
    assert drawn["frechet"]["value"] > 10 * drawn["frechet"]["floor"]
    assert drawn["sliced_wasserstein_octave16"]["value"] > 0


@pytest.mark.parametrize(
    ("first", "options", "message"),
    [
        ("no-such-place", {"size": 8}, "no such folder, archive, dataset or generator"),
        ("blurred", {}, "--size: say at which size the images are to be compared, as 64 or 48x32"),
        ("note.txt", {"size": 8}, "neither a folder, nor an archive"),
        ("few", {"size": 8}, "few: 5 images, and at least 20 a side are needed. Add images, or"),
        ("one", {"size": 8}, "one: 1 image, and at least 20 a side .* name another folder"),
        ("one.tar", {"size": 8}, "1 usable image.* Add images, or name another folder or archive"),
        ("none", {"size": 8}, "no image found in .*none. Put images there, or name another folder"),
        ("small.onnx", {"size": 8}, "16x16 pixels in colour and 8x8 pixels in colour. Leave out"),
    ],
)
def test_bad_input_is_one_line(
    halves: tuple[Path, Path], tmp_path: Path, first: str, options: dict[str, Any], message: str
) -> None:
    folder = halves[0].parent
    (folder / "note.txt").write_text("hello")
    if not (folder / "few").exists():
        _folder(folder / "few", np.zeros((5, 8, 8), np.uint8))
        _folder(folder / "one", np.zeros((1, 8, 8), np.uint8))
        (folder / "none").mkdir()
        with tarfile.open(folder / "one.tar", "w") as tar:
            tar.add(folder / "one", "images")
        write(folder / "small.onnx")
    with pytest.raises(InputError, match=message) as caught:
        compared(folder / first, halves[1], tmp_path, **options)
    assert "prepare.path" not in str(caught.value), "a key that this command does not read"


def test_the_limits_of_prepare_are_those_that_are_set(
    halves: tuple[Path, Path], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    damaged = _folder(tmp_path / "damaged", noise)
    (damaged / "cut.png").write_bytes((damaged / "0000.png").read_bytes()[:50])
    with pytest.raises(InputError, match="1 of 31 images .* raise prepare.max_rejected_fraction"):
        compared(damaged, halves[1], tmp_path, size=8)
    kind = {"max_rejected_fraction": 0.1}
    allowed = PARAMS.model_copy(update={"prepare": PrepareParams(**kind)})  # type: ignore[arg-type]
    sides = {"first": str(damaged), "second": str(halves[1])}
    assert stages.metrics(allowed, Paths(tmp_path), **sides, size=8)  # type: ignore[arg-type]
