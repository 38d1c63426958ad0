"""A judgement on real digits: figures, floors, protocols, pictures, and what goes wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from monge.data.packed import PackedDataset
from monge.data.writer import PackedWriter
from monge.errors import InputError, ModelFileError, StorageError
from monge.evaluation import by_encoder, document, pictures, report_files
from monge.evaluation.catalogue import CATALOGUE
from monge.evaluation.evidence import Sample
from monge.evaluation.judge import Judgement, judge
from monge.evaluation.judgement import sealed
from monge.params import EvaluateParams
from tests.full_disk import room_for

PARAMS = EvaluateParams(images=600, transport_images=100, projections=32, repeats=4)
INCEPTIONS = {"fid", "kid", "inception_score"}
FIGURES = {name for name in CATALOGUE if "octave" not in name} - INCEPTIONS - {
    "label_accuracy", *by_encoder.NAMES
}  # fmt: skip
"""Digits of eight pixels have no octave above the lowest."""


def _pack(folder: Path, *, labelled: bool = True, held_out: int = 360) -> PackedDataset:
    digits = load_digits()
    pixels = np.rint(digits.images * 255 / 16).astype(np.uint8)[:, None]
    order = np.random.default_rng(0).permutation(len(pixels))
    names = [str(name) for name in range(10)] if labelled else []
    with PackedWriter(folder, (1, 8, 8), names) as writer:
        for split, chosen in (("train", order[held_out:]), ("validation", order[:held_out])):
            labels = digits.target[chosen].astype(np.int64) if labelled else None
            writer.append(split, pixels[chosen], labels)  # type: ignore[arg-type]
        return writer.finish(source={"kind": "test"})


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return _pack(tmp_path_factory.mktemp("digits") / "prepared")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _copies(dataset: PackedDataset, noise: float = 0.0, classes: int = 10) -> Sample:
    """A generator that memorised training images and adds noise to them."""
    labels = dataset.train.labels
    pool = np.arange(len(dataset.train))
    if labels is not None:
        pool = pool[labels < classes]

    def sample(first: int, count: int) -> np.ndarray:
        images = []
        for index in range(first, first + count):
            generator = np.random.default_rng(index)
            image = dataset.train.take(pool[generator.integers(len(pool), size=1)])[0]
            images.append(np.clip(image + noise * generator.normal(size=image.shape), 0, 255))
        return np.stack(images).astype(np.uint8).transpose(0, 2, 3, 1)

    return sample


@pytest.fixture(scope="module")
def good(digits: PackedDataset, cache: Path) -> Judgement:
    return judge(_copies(digits), digits, PARAMS, cache, generator_hash="good")


@pytest.fixture(scope="module")
def noisy(digits: PackedDataset, cache: Path) -> Judgement:
    return judge(_copies(digits, noise=50.0), digits, PARAMS, cache, generator_hash="noisy")


def test_training_images_themselves_score_about_the_floor(good: Judgement) -> None:
    assert set(good.figures) == FIGURES
    for name in ("frechet", "sliced_wasserstein", "wasserstein1_pixels", "classifier_score"):
        figure = good.figures[name]
        assert figure.floor is not None
        assert 0.5 * figure.floor < figure.value < 2.0 * figure.floor, name
        assert 0.0 < figure.noise < 0.2 * figure.value, name


def test_copied_training_images_are_found_out(good: Judgement) -> None:
    assert good.figures["nearest_train_distance"].value == 0.0
    np.testing.assert_array_equal(good.neighbours.found[:, 0], good.neighbours.generated)
    assert (good.neighbours.distances[:, 0] == 0).all()
    assert (np.diff(good.neighbours.distances, axis=1) >= 0).all()


def test_every_figure_that_can_be_improved_is_worse_for_noisy_images(
    good: Judgement, noisy: Judgement
) -> None:
    for name in ("frechet", "classifier_score", "sliced_wasserstein", "wasserstein1_pixels"):
        better, worse = good.figures[name], noisy.figures[name]
        sign = 1 if better.better == "lower" else -1
        assert sign * (worse.value - better.value) > 3 * np.hypot(worse.noise, better.noise), name
    assert noisy.figures["nearest_train_distance"].value > 0.7


def test_dropped_classes_show_in_the_balance(digits: PackedDataset, cache: Path) -> None:
    judgement = judge(_copies(digits, classes=5), digits, PARAMS, cache, generator_hash="five")
    assert judgement.classes is not None
    assert judgement.classes.generated[5:].sum() < 0.05
    assert judgement.figures["class_balance"].value == pytest.approx(0.5, abs=0.05)
    assert judgement.figures["class_fraction_min"].value < 0.02
    assert judgement.figures["class_fraction_max"].value > 0.15
    floor = judgement.figures["class_balance"].floor
    assert floor is not None
    assert floor < 0.15


def test_the_protocol_is_one_for_two_generators_and_another_for_other_sizes(
    good: Judgement, noisy: Judgement, digits: PackedDataset, cache: Path
) -> None:
    hashes = {figure.protocol_hash for figure in good.figures.values()}
    assert len(hashes) == len(good.figures)
    for name, figure in good.figures.items():
        assert figure.protocol_hash == noisy.figures[name].protocol_hash
        assert figure.protocol["generator_hash"] == "good"
        assert figure.protocol["dataset_hash"] == digits.content_hash
        assert {"real_images", "generated_images", "seed", "resizer"} <= set(figure.protocol)
    other = PARAMS.model_copy(update={"seed": 1})
    again = judge(_copies(digits), digits, other, cache, generator_hash="good")
    for name, figure in again.figures.items():
        assert figure.protocol_hash != good.figures[name].protocol_hash


def test_the_protocol_hash_covers_everything_but_the_generator() -> None:
    protocol = {"figure": "x", "seed": 0, "generator_hash": "a"}
    assert (
        sealed(protocol)["protocol_hash"]
        == sealed(protocol | {"generator_hash": "b"})["protocol_hash"]
    )
    assert sealed(protocol)["protocol_hash"] != sealed(protocol | {"seed": 1})["protocol_hash"]


def test_value_and_floor_rest_on_subsets_of_one_size_within_the_held_out(
    good: Judgement, digits: PackedDataset
) -> None:
    protocol = good.figures["frechet"].protocol
    assert protocol["images_per_subset"] <= len(digits.validation)
    assert protocol["subsets"] * protocol["images_per_subset"] == protocol["generated_images"]
    assert protocol["generated_images"] <= PARAMS.images
    assert protocol["extractor"] == "classifier"
    assert protocol["extractor_accuracy"] > 0.9


def test_the_judgement_does_not_depend_on_the_batch_size(
    good: Judgement, digits: PackedDataset, cache: Path
) -> None:
    params = PARAMS.model_copy(update={"batch_size": 37})
    again = judge(_copies(digits), digits, params, cache, generator_hash="good")
    for name, figure in good.figures.items():
        assert again.figures[name].value == pytest.approx(figure.value, rel=1e-3), name
        assert again.figures[name].protocol_hash == figure.protocol_hash


def test_labels_that_are_drawn_are_told_from_labels_that_are_not(
    digits: PackedDataset, cache: Path
) -> None:
    """Copies of training images, asked for with their labels, and with every fifth one wrong."""
    labels = digits.train.labels
    assert labels is not None

    def true(first: int, count: int) -> np.ndarray:
        indices = range(first, first + count)
        drawn = [int(np.random.default_rng(i).integers(len(labels), size=1)[0]) for i in indices]
        return np.array([labels[i] for i in drawn])

    def spoilt(first: int, count: int) -> np.ndarray:
        return (true(first, count) + (np.arange(first, first + count) % 5 == 0)) % 10

    figures = [
        judge(
            _copies(digits), digits, PARAMS, cache, generator_hash="x", labels=asked
        ).figures["label_accuracy"]
        for asked in (true, spoilt)
    ]  # fmt: skip
    assert figures[0].value > 0.99
    assert figures[0].floor is not None
    assert 0.9 < figures[0].floor < figures[0].value + 0.01
    assert figures[1].value == pytest.approx(0.8, abs=0.02)
    assert figures[0].better == "higher"


def test_data_without_classes_have_no_class_figures(tmp_path: Path) -> None:
    dataset = _pack(tmp_path / "prepared", labelled=False)
    judgement = judge(_copies(dataset), dataset, PARAMS, tmp_path / "cache", generator_hash="x")
    assert set(judgement.figures) == {
        name for name in FIGURES if not name.startswith("class")
    }  # fmt: skip
    assert judgement.figures["frechet"].protocol["extractor"] == "pretrained"
    report_files.write(judgement, None, tmp_path / "reports", None)
    assert {path.name for path in (tmp_path / "reports" / report_files.PICTURES).iterdir()} == {
        report_files.SAMPLES, report_files.REAL, report_files.NEIGHBOURS, report_files.FAILURES,
    }  # fmt: skip


def test_too_few_held_out_images_give_figures_without_a_floor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = _pack(tmp_path / "prepared", labelled=False, held_out=3)
    judgement = judge(_copies(dataset), dataset, PARAMS, tmp_path / "cache", generator_hash="x")
    assert "prepare.validation_fraction" in caplog.text
    assert all(figure.floor is None for figure in judgement.figures.values())
    assert all("floor" not in entry for entry in document.entries(judgement.figures).values())
    assert "  -  " in document.table(document.entries(judgement.figures))[1]


def test_images_of_another_shape_are_refused_with_both_shapes(
    digits: PackedDataset, cache: Path
) -> None:
    def coloured(first: int, count: int) -> np.ndarray:
        return np.zeros((count, 16, 16, 3), np.uint8)

    with pytest.raises(
        ModelFileError, match=re.escape("[16, 16, 3] and the dataset has [8, 8, 1]")
    ):
        judge(coloured, digits, PARAMS, cache, generator_hash="x")


def test_more_repeats_than_the_images_carry_are_refused(digits: PackedDataset, cache: Path) -> None:
    params = EvaluateParams(images=50, repeats=6)
    with pytest.raises(InputError, match=r"evaluate\.images: must be at least 10 times"):
        judge(_copies(digits), digits, params, cache, generator_hash="x")


def _history(path: Path) -> report_files.Curve:
    rows = [f"{50 * i},{4 / i},1.0" for i in range(1, 40)]
    path.write_text("\n".join(["step,headline,rate", *rows, "2000,nan,1", "2050,"]))
    return report_files.Curve(path, "Wasserstein estimate (critic units)")


def _interpolations(rows: int, steps: int) -> np.ndarray:
    return np.zeros((rows, steps, 8, 8, 1), np.uint8)


def test_the_report_is_whole_readable_and_strict_json(good: Judgement, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    report_files.write(good, _history(tmp_path / "history.csv"), folder, _interpolations)
    assert {path.name for path in folder.iterdir()} == {report_files.METRICS, report_files.PICTURES}
    of_an_encoder = {
        report_files.RECONSTRUCTIONS, report_files.IMAGE_WALKS, report_files.POSTERIOR
    }  # fmt: skip
    drawn = {path.name for path in (folder / report_files.PICTURES).iterdir()}
    assert drawn == set(report_files.FILES) - of_an_encoder
    for path in (folder / report_files.PICTURES).iterdir():
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 200

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    whole = json.loads((folder / report_files.METRICS).read_text(), parse_constant=refuse)
    read = document.read(folder / report_files.METRICS)
    assert [read] == whole.pop("figures")
    assert whole == {name: figure.value for name, figure in good.figures.items()}
    assert read["frechet"]["verdict"] == "hard to tell apart"
    assert set(read["frechet"]["baselines"]) == {"mean_image", "noise", "blurred"}
    for name, figure in good.figures.items():
        entry = read[name]
        assert (entry["value"], entry["noise"]) == (figure.value, figure.noise)
        assert entry["interval"] == list(figure.interval)
        assert entry["floor"] == figure.floor
        assert entry["better"] == CATALOGUE[name].better
        assert entry["protocol"] == figure.protocol


@pytest.mark.parametrize("text", ["", "{}", '{"figures": [{"frechet": {}}]}', '{"figures": 3}'])
def test_a_damaged_report_is_said_in_a_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(InputError, match="damaged. Run `monge evaluate` again"):
        document.read(tmp_path / "metrics.json")
    with pytest.raises(InputError, match="no report. Run `monge evaluate` first"):
        document.read(tmp_path / "none.json")


def test_dvc_shows_figures_and_leaves_the_protocol_out(good: Judgement) -> None:
    """Through DVC's own reading of a metrics file (dvc.repo.metrics.show)."""
    metrics = pytest.importorskip("dvc.repo.metrics.show")
    written = json.loads(document.to_bytes(document.entries(good.figures)))
    shown = metrics._extract_metrics(written, "metrics.json")
    assert shown == {name: figure.value for name, figure in good.figures.items()}


def test_the_grid_shows_the_pixels_themselves(good: Judgement, tmp_path: Path) -> None:
    report_files.write(good, None, tmp_path, None)
    with Image.open(tmp_path / report_files.PICTURES / report_files.SAMPLES) as picture:
        shown = np.asarray(picture.convert("L"))
    first = good.samples[0, :, :, 0].repeat(7, axis=0).repeat(7, axis=1)
    places = np.lib.stride_tricks.sliding_window_view(shown[:120, :100], first.shape)
    assert (places == first).all(axis=(2, 3)).any()


def test_an_older_picture_does_not_stay_beside_a_newer_judgement(
    good: Judgement, tmp_path: Path
) -> None:
    report_files.write(good, _history(tmp_path / "h.csv"), tmp_path / "r", _interpolations)
    (tmp_path / "r" / "own-notes.txt").write_text("keep")
    report_files.write(good, None, tmp_path / "r", None)
    names = {path.name for path in (tmp_path / "r").rglob("*")}
    assert report_files.LEARNING_CURVE not in names
    assert report_files.INTERPOLATIONS not in names
    assert "own-notes.txt" in names


def test_a_failure_while_drawing_leaves_the_old_report(good: Judgement, tmp_path: Path) -> None:
    report_files.write(good, None, tmp_path / "r", None)
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").rglob("*.*")}

    def broken(rows: int, steps: int) -> np.ndarray:
        raise RuntimeError("no image")

    with pytest.raises(RuntimeError, match="no image"):
        report_files.write(good, None, tmp_path / "r", broken)
    assert {path.name: path.read_bytes() for path in (tmp_path / "r").rglob("*.*")} == before


def test_a_report_that_has_no_room_leaves_the_one_before(good: Judgement, tmp_path: Path) -> None:
    report_files.write(good, None, tmp_path / "r", None)
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").rglob("*.*")}
    for size in (0, len(before[report_files.SAMPLES]) - 1):
        with room_for(size), pytest.raises(StorageError, match=r"pictures.*again\.$") as refused:
            report_files.write(good, None, tmp_path / "r", None)
        assert "\n" not in str(refused.value)
        assert {path.name: path.read_bytes() for path in (tmp_path / "r").rglob("*.*")} == before


def test_a_folder_that_cannot_be_written_is_a_storage_error(
    good: Judgement, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        report_files.write(good, None, tmp_path / "file", None)


@pytest.mark.parametrize("text", ["", "step\n1\n2\n", "step,headline\n1,nan\n2,inf\n", None])
def test_a_history_without_a_curve_is_said_and_skipped(
    good: Judgement, tmp_path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    history = tmp_path / "history.csv"
    if text is not None:
        history.write_text(text)
    report_files.write(good, report_files.Curve(history, "estimate"), tmp_path / "r", None)
    assert not (tmp_path / "r" / report_files.PICTURES / report_files.LEARNING_CURVE).exists()
    assert "history.csv" in caplog.text


def test_the_table_is_aligned_and_has_every_figure(good: Judgement) -> None:
    lines = document.table(document.entries(good.figures))
    assert len(lines) == 1 + len(FIGURES)
    column = lines[0].index("better")
    assert all(line[column:] in ("better", "lower", "higher", "neither") for line in lines)
    assert f"{good.figures['frechet'].value:.4g}" in lines[1]


def test_two_versions_are_drawn_side_by_side_over_their_difference(tmp_path: Path) -> None:
    dark, light = (np.full((16, 8, 8, 1), grey, np.uint8) for grey in (0, 200))
    sizes = []
    for name, errors in (("images", {}), ("both", {"frechet": -31.0, "recall": 0.5, "density": 4})):
        pictures.beside(dark, light, errors, tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("L"))
            sizes.append(picture.size)
    assert sizes[1][1] > sizes[0][1] + 100
    images = pixels[60:200, 20:500]
    assert (images[:, :150] <= 90).mean() > 0.95  # black, and the lines between
    assert (images[:, -100:] == 200).mean() > 0.8
