"""Protects: drift is told where new pictures differ, and where not, as rarely as is promised."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import stats

from monge import stages
from monge.metrics.pretrained import pretrained_extractor
from monge.params import Params, PrepareParams
from monge.paths import Paths
from monge.versions.drift import Policy, Window, compare, decide, features


def pictures(count: int, seed: int, *, hue: float = 0.0, kinds: int = 3) -> np.ndarray:
    """Discs, squares and crosses of a few colours, uint8 [n, 3, 24, 24]."""
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        kind = generator.integers(0, kinds)
        tint = colorsys.hsv_to_rgb((kind / 3 + hue + generator.normal(0, 0.03)) % 1, 0.8, 0.9)
        colour = tuple(int(255 * part) for part in tint)
        image = Image.new("RGB", (24, 24), (30, 30, 30))
        draw = ImageDraw.Draw(image)
        x, y = generator.integers(2, 8, 2)
        box = (int(x), int(y), int(x) + 13, int(y) + 13)
        if kind == 0:
            draw.ellipse(box, colour)
        elif kind == 1:
            draw.rectangle(box, colour)
        else:
            draw.line(box, colour, 4)
            draw.line((box[0], box[3], box[2], box[1]), colour, 4)
        drawn.append(np.asarray(image).transpose(2, 0, 1))
    return np.stack(drawn)


def test_p_values_of_one_distribution_are_uniform():
    found = []
    for seed in range(300):
        both = np.random.default_rng(seed).normal(size=(60, 4))
        found.append(compare(both[:35], both[35:], "", 25, seed=seed).p_value)
    assert stats.kstest(found, "uniform").pvalue > 1e-3
    few = sum(p <= 0.1 for p in found)
    low, high = stats.binom(300, 0.1).ppf([5e-5, 1 - 5e-5])
    assert low <= few <= high


def test_the_p_value_is_that_of_the_definition():
    generator = np.random.default_rng(3)
    old, new = generator.normal(size=(20, 3)), generator.normal(0.45, size=(15, 3))
    both = np.concatenate([new, old])
    both = (both - both.mean(axis=0)) / both.std(axis=0)
    apart = [np.sum((a - b) ** 2) for i, a in enumerate(both) for b in both[i + 1 :]]
    matrix = np.array([[np.exp(-np.sum((a - b) ** 2) / (2 * np.median(apart))) for b in both]
                       for a in both])  # fmt: skip

    def statistic(x, y):
        xx = np.mean([matrix[a, b] for a in x for b in x if a != b])
        yy = np.mean([matrix[a, b] for a in y for b in y if a != b])
        return xx + yy - 2 * np.mean([matrix[a, b] for a in x for b in y])

    found = compare(old, new, "", 15)
    assert found.mmd_squared == pytest.approx(statistic(range(15), range(15, 35)), abs=1e-12)
    indices, reached = np.random.default_rng(0), 0
    for _ in range(200):
        order = indices.permutation(35)
        reached += statistic(order[:15], order[15:]) >= found.mmd_squared
    share = (reached + 1) / 201
    assert found.p_value == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / 200))


def test_pictures_that_differ_are_told_and_others_are_not():
    look = pretrained_extractor()
    old = features(pictures(120, 0), look)
    same = [compare(old, features(pictures(60, seed), look), "", 60).p_value for seed in (1, 2, 3)]
    assert max(same) > 0.05
    assert min(same) > 1e-3
    for seed in (4, 5):
        turned = features(pictures(60, seed, hue=0.16), look)
        assert compare(old, turned, "", 60).p_value <= 0.01
        missing = features(pictures(60, seed, kinds=2), look)
        assert compare(old, missing, "", 60).p_value <= 0.01


def windows(*p_values: float) -> list[Window]:
    return [Window("", 50, 0.0, p) for p in p_values]


@pytest.mark.parametrize(
    ("new", "of", "train"),
    [
        (199, windows(), False), (200, windows(), True), (0, windows(0.5), False),
        (50, windows(0.001), False),  # one odd batch
        (50, windows(0.001, 0.4, 0.3, 0.001), False),  # two, too far apart
        (50, windows(0.4, 0.001, 0.001), True), (50, windows(0.001, 0.4, 0.001), True),
    ],
)  # fmt: skip
def test_a_training_is_for_many_images_or_for_drift_that_lasts(new, of, train):
    policy = Policy(min_images=200, min_share=0.9, p_value=0.01, drifted=2, windows=3)
    assert decide(policy, new, 1000, of).train is train
    assert decide(Policy(min_share=0.05), 50, 1000, []).train


def test_looks_remember_what_they_saw_and_one_odd_batch_starts_nothing(tmp_path, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    prepare = PrepareParams(source="folder", path="raw", resolution=24, colour="rgb", workers=1)
    params, paths = Params(prepare=prepare), Paths(tmp_path)
    policy = Policy(min_images=1000, min_share=9.0, window_images=30)

    def came(name: str, images: np.ndarray) -> None:
        (tmp_path / "raw").mkdir(exist_ok=True)
        for number, image in enumerate(images):
            Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "raw" / f"{name}{number}.png")

    came("old", pictures(100, 0))
    assert stages.notice(params, paths, policy).train  # nothing is packed yet
    stages.prepare(params, paths)
    assert "nothing new" in stages.notice(params, paths, policy).sentence
    came("odd", pictures(50, 1, hue=0.16))
    first = stages.notice(params, paths, policy)
    assert not first.train
    assert first.picture.startswith(b"\x89PNG")
    (window,) = first.figures["windows"]
    assert window["p_value"] <= 0.01
    again = stages.notice(params, paths, policy)  # the same images are no second window
    assert again.figures["windows"] == [window]
    came("few", pictures(10, 2))
    assert len(stages.notice(params, paths, policy).figures["windows"]) == 1
    came("more", pictures(90, 3, hue=0.16))
    last = stages.notice(params, paths, policy)
    assert last.train
    assert "drift in 2 of the last 2 windows" in last.sentence
    assert last.figures["new images"] == 150
    stages.prepare(params, paths)  # what is trained on is not new
    assert not stages.notice(params, paths, policy).train
