"""What every generator is compared with: the sets themselves, and the words of their figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from monge.data.packed import PackedDataset
from monge.data.writer import PackedWriter
from monge.errors import InputError
from monge.evaluation import document, verdict
from monge.evaluation.baselines import Baselines
from monge.evaluation.evidence import Evidence
from monge.evaluation.judge import judge
from monge.params import EvaluateParams

PARAMS = EvaluateParams(images=400, transport_images=50, projections=16, repeats=2)


def _reals(count: int, seed: int = 0) -> np.ndarray:
    """Colour images [n, 3, 8, 12] of known spectrum: smooth along x only, and channels alike."""
    generator = np.random.default_rng(seed)
    grey = gaussian_filter1d(generator.normal(size=(count, 1, 8, 12)), 1.0, axis=3, mode="wrap")
    own = generator.normal(size=(count, 3, 8, 12))
    values = np.array([120.0, 130.0, 90.0])[:, None, None] + 40 * grey + 4 * own
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    folder = tmp_path_factory.mktemp("packed") / "prepared"
    with PackedWriter(folder, (3, 8, 12)) as writer:
        writer.append("train", _reals(900))
        writer.append("validation", _reals(200, seed=1))
        return writer.finish(source={"kind": "test"})


@pytest.fixture
def evidence(dataset: PackedDataset) -> Evidence:
    return Evidence(lambda first, count: _shown(_reals(count)), dataset, PARAMS, "x")


def _shown(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 2, 3, 1)


def test_image_i_of_a_baseline_is_the_same_in_every_call(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {name: draw(0, 30) for name, draw in Baselines(evidence).samples.items()}
    monkeypatch.setattr("monge.evaluation.baselines._VALUES", 7 * 3 * 8 * 12)  # 7 at a time
    for name, draw in Baselines(evidence).samples.items():
        assert whole[name].shape == (30, 3, 8, 12)
        assert whole[name].dtype == np.uint8
        np.testing.assert_array_equal(draw(11, 13), whole[name][11:24], name)


def test_the_mean_and_the_blurred_are_those_of_the_reference(
    evidence: Evidence, dataset: PackedDataset
) -> None:
    samples = Baselines(evidence).samples
    real = dataset.train.take(evidence.reference)
    (mean,) = samples["mean_image"](3, 1)
    np.testing.assert_array_equal(mean, np.rint(real.mean(axis=0)))
    expected = [gaussian_filter(channel.astype(float), 12 / 8) for channel in real[5]]
    (blurred,) = samples["blurred"](5, 1)
    np.testing.assert_array_equal(blurred, np.rint(expected))
    (again,) = samples["blurred"](len(real) + 5, 1)
    np.testing.assert_array_equal(again, blurred)


def test_noise_has_the_mean_the_spectrum_and_the_channels_of_the_real_ones_and_no_more(
    evidence: Evidence,
) -> None:
    made, real = Baselines(evidence).samples["noise"](0, 900).astype(float), _reals(900)
    np.testing.assert_allclose(made.mean(axis=0), real.mean(axis=0), atol=6.0)
    centred = [images - images.mean(axis=0) for images in (made, real.astype(float))]
    for shift in ((0, 0), (0, 1), (1, 0), (0, 2)):
        ours, theirs = (
            np.einsum("nchw,ndhw->cd", x, np.roll(x, shift, axis=(2, 3))) / x[:, 0].size
            for x in centred
        )
        np.testing.assert_allclose(ours, theirs, atol=0.06 * np.var(centred[1]), err_msg=str(shift))
    assert abs(np.corrcoef(made[:2, 0].reshape(2, -1))[0, 1]) < 0.4  # each image is another one


def test_each_distance_has_its_baselines_and_real_images_beat_them(
    dataset: PackedDataset, tmp_path: Path
) -> None:
    def copies(first: int, count: int) -> np.ndarray:
        return _shown(dataset.train.take(np.arange(first, first + count)))

    found = judge(copies, dataset, PARAMS, tmp_path, generator_hash="x").figures
    entries = document.entries(found)
    with_baselines = {name for name, entry in entries.items() if "baselines" in entry}
    assert {"frechet", "mmd_rbf", "sinkhorn_features", "sliced_wasserstein"} <= with_baselines
    assert not {"precision", "sharpness", "wasserstein1_pixels"} & with_baselines
    assert set(entries["frechet_pyramid"]["baselines"]) == {"mean_image", "blurred"}
    # These images are noise of their own spectrum: the sets are what they say.
    frechet = entries["frechet"]
    assert frechet["baselines"]["noise"] < 2 * frechet["floor"]
    assert frechet["baselines"]["blurred"] > 5 * frechet["floor"]
    assert frechet["baselines"]["mean_image"] > 5 * frechet["floor"]


def entry(value: float, **changes: Any) -> dict[str, Any]:
    baselines = {"mean_image": 120.0, "noise": 80.0, "blurred": 50.0}
    return {"value": value, "floor": 0.0, "baselines": baselines, **changes}


@pytest.mark.parametrize(
    ("value", "word", "holds"),
    [
        (556.0, "noise", False),
        (80.0, "noise", False),
        (79.9, "colours", False),
        (50.0, "colours", False),
        (49.9, "shapes", True),
        (12.6, "shapes", True),
        (12.5, "recognisable", True),
        (1.1, "recognisable", True),
        (1.0, "hard to tell apart", True),
        (-0.1, "hard to tell apart", True),
    ],
)
def test_the_words_are_where_the_figure_lies(value: float, word: str, holds: bool) -> None:
    figures = {"frechet": entry(value)}
    assert verdict.word("frechet", figures["frechet"]) == word
    assert verdict.sentence(figures, ["frechet"]).startswith(word.capitalize() + ": ")
    assert verdict.floor(figures, ["frechet"]).holds is holds


def test_the_way_begins_at_the_real_pictures_and_is_measured_in_squares() -> None:
    assert verdict.word("frechet", entry(21.0, floor=10.0)) == "shapes"
    assert verdict.word("frechet", entry(20.0, floor=10.0)) == "recognisable"
    assert verdict.word("wasserstein2_features", entry(25.1)) == "shapes"
    assert verdict.word("wasserstein2_features", entry(25.0)) == "recognisable"


def test_the_floor_says_what_is_nearer_and_by_which_figures() -> None:
    said = verdict.floor({"frechet": entry(75.0)}, ["frechet"])
    assert said.sentence == (
        "frechet is not nearer to the real pictures than blurred ones (75 against 50), "
        "so it is registered only"
    )
    said = verdict.floor({"frechet": entry(30.0)}, [])
    assert said.sentence == "nearer to the real pictures than blurred ones (30 against 50)"


def test_a_figure_that_cannot_tell_real_pictures_from_a_baseline_does_not_judge() -> None:
    figures = {"frechet": entry(40.0, floor=51.0)}
    assert verdict.word("frechet", figures["frechet"]) is None
    assert verdict.sentence(figures, []).startswith("No verdict: frechet calls blurred ones")
    said = verdict.floor(figures, [])
    assert not said.holds
    assert "name another figure in promote.conditions" in said.sentence


def test_noise_is_no_baseline_where_the_real_pictures_are_textures() -> None:
    baselines = {"mean_image": 120.0, "noise": 7.0, "blurred": 50.0}
    texture = entry(30.0, floor=7.1, baselines=baselines)
    assert verdict.word("frechet", texture) == "shapes"
    assert verdict.floor({"frechet": texture}, []).holds
    assert verdict.word("frechet", {**texture, "value": 50.0}) == "noise"
    told = verdict.floor({"frechet": {**texture, "value": 50.0}}, [])
    assert "than blurred ones (50 against 50)" in told.sentence


def test_what_is_farther_than_all_is_noise_for_a_figure_without_that_baseline() -> None:
    pixels = entry(0.0, baselines={"mean_image": 120.0, "blurred": 50.0})
    words = [verdict.word("frechet_pyramid", {**pixels, "value": v}) for v in (120.0, 60.0, 49.0)]
    assert words == ["noise", "colours", "shapes"]


def test_figures_that_disagree_are_named_and_others_are_not() -> None:
    agreed = {"frechet": entry(10.0), "mmd_rbf": entry(30.0), "precision": {"value": 1.0}}
    assert verdict.disagreement(agreed) == ""
    said = verdict.disagreement({**agreed, "sinkhorn_features": entry(90.0)})
    assert said == (
        "The figures disagree. Near the real pictures, by frechet; no nearer than a baseline, by "
        "sinkhorn_features. Look at the pictures."
    )


def test_the_first_condition_with_baselines_decides_and_the_frechet_distance_else() -> None:
    figures = {"fid": entry(1.0), "mmd_rbf": entry(1.0), "precision": {"value": 1.0}}
    assert verdict.deciding(figures, ["precision", "mmd_rbf"]) == "mmd_rbf"
    assert verdict.deciding(figures, ["precision"]) == "fid"
    with pytest.raises(InputError, match="Run `monge evaluate` again"):
        verdict.deciding({"frechet": {"value": 1.0}}, ["frechet"])
    assert verdict.sentence({"frechet": {"value": 1.0}}, ["frechet"]) == ""


def test_pictures_twenty_times_as_far_as_real_ones_can_be_told_apart():
    """Where features are easy, as those of three kinds of drawings, the whole way is very long."""
    drawings = {
        "value": 0.115, "floor": 0.0053,
        "baselines": {"mean_image": 53.2, "noise": 47.5, "blurred": 27.6},
    }  # fmt: skip
    assert verdict.word("frechet", drawings) == "recognisable"
    assert verdict.word("frechet", drawings | {"value": 0.02}) == "hard to tell apart"
