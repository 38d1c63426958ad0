"""Feature extractors on digits: they learn, keep, notice damage, and see what people see."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

from monge.errors import InputError, StorageError
from monge.metrics import classifier
from monge.metrics.extractors import MIN_IMAGES_PER_CLASS, extractor
from monge.metrics.features import TorchExtractor, network_input, random_extractor, resizer
from monge.metrics.frechet import Moments, frechet_distance
from monge.metrics.pace import Pace
from monge.metrics.pretrained import pretrained_extractor
from monge.metrics.scores import classifier_score


@dataclass
class Images:
    pixels: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: np.ndarray) -> np.ndarray:
        return self.pixels[indices]


def _digits() -> tuple[Images, Images]:
    digits = load_digits()
    pixels = np.rint(digits.images * 255 / 16).astype(np.uint8)[:, None]
    order = np.random.default_rng(0).permutation(len(pixels))
    train, held_out = order[:1400], order[1400:]
    return Images(pixels[train], digits.target[train]), Images(
        pixels[held_out], digits.target[held_out]
    )


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classifier")


@pytest.fixture(scope="session")
def trained(cache: Path) -> TorchExtractor:
    train, held_out = _digits()
    found = extractor("auto", train, held_out, dataset_hash="d" * 64, cache=cache)
    assert isinstance(found, TorchExtractor)
    return found


def _distance(look: TorchExtractor, x: np.ndarray, y: np.ndarray) -> float:
    a, b = look.features(x), look.features(y)
    return frechet_distance(
        Moments(a.shape[1]).add(a).gaussian(), Moments(b.shape[1]).add(b).gaussian()
    )


def _degraded(pixels: np.ndarray, strength: float, how: str) -> np.ndarray:
    if how == "blur":
        return gaussian_filter(pixels.astype(float), (0, 0, strength, strength)).astype(np.uint8)
    noise = np.random.default_rng(1).normal(0, 60 * strength, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def test_the_classifier_knows_held_out_digits(trained: TorchExtractor) -> None:
    _, held_out = _digits()
    probabilities = trained.probabilities(held_out.pixels)
    assert probabilities is not None
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-12)
    accuracy = float((probabilities.argmax(axis=1) == held_out.labels).mean())
    assert accuracy > 0.95
    assert trained.accuracy == pytest.approx(accuracy, abs=1e-12)


def test_features_do_not_depend_on_the_batch_size(trained: TorchExtractor) -> None:
    _, held_out = _digits()
    whole = trained.features(held_out.pixels[:50])
    one_by_one = np.concatenate([trained.features(image[None]) for image in held_out.pixels[:50]])
    np.testing.assert_allclose(one_by_one, whole, rtol=1e-4, atol=1e-4)


def _look(network: str, trained: TorchExtractor) -> TorchExtractor:
    if network == "classifier":
        return trained
    return pretrained_extractor() if network == "pretrained" else random_extractor(1)


@pytest.mark.parametrize("how", ["blur", "noise"])
@pytest.mark.parametrize("network", ["classifier", "pretrained", "random"])
def test_the_distance_grows_with_blur_and_noise(
    trained: TorchExtractor, how: str, network: str
) -> None:
    train, held_out = _digits()
    look = _look(network, trained)
    distances = [
        _distance(look, _degraded(held_out.pixels, strength, how), train.pixels)
        for strength in (0.0, 0.5, 1.0)
    ]
    assert distances[1] > 1.5 * distances[0]
    assert distances[2] > 1.5 * distances[1]


@pytest.mark.parametrize("network", ["classifier", "pretrained", "random"])
def test_the_distance_grows_as_classes_are_dropped(trained: TorchExtractor, network: str) -> None:
    train, held_out = _digits()
    look = _look(network, trained)
    assert held_out.labels is not None
    distances = [
        _distance(look, held_out.pixels[held_out.labels < kept], train.pixels)
        for kept in (10, 6, 2)
    ]
    assert distances[0] < distances[1] < distances[2]


def test_the_score_falls_as_classes_are_dropped(trained: TorchExtractor) -> None:
    _, held_out = _digits()
    assert held_out.labels is not None
    scores = []
    for kept in (10, 5, 1):
        probabilities = trained.probabilities(held_out.pixels[held_out.labels < kept])
        assert probabilities is not None
        scores.append(classifier_score(probabilities))
    assert scores[0] > 7.0
    assert scores[0] > scores[1] > scores[2]
    assert scores[2] < 2.0


def test_a_kept_classifier_is_used_again_and_not_trained(
    trained: TorchExtractor, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "_train", lambda images: pytest.fail("trained again"))
    train, held_out = _digits()
    again = extractor("classifier", train, held_out, dataset_hash="d" * 64, cache=cache)
    assert (again.hash, again.accuracy) == (trained.hash, trained.accuracy)
    np.testing.assert_array_equal(
        again.features(held_out.pixels), trained.features(held_out.pixels)
    )


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "other"])
def test_a_damaged_cache_is_named_and_the_classifier_comes_back_the_same(
    trained: TorchExtractor,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    for file in cache.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (weights,) = tmp_path.glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    if damage == "flip":
        weights.write_bytes(content)
    elif damage == "truncate":
        weights.write_bytes(content[:-100])
    elif damage == "remove":
        weights.unlink()
    else:
        weights.with_suffix(".json").write_text("[]")
    original = classifier._load(*_pair(cache), "d" * 64)
    assert original is not None
    trunk, head = original._trunk, original._head
    monkeypatch.setattr(classifier, "_train", lambda images: (trunk, head))
    train, held_out = _digits()
    with caplog.at_level(logging.WARNING):
        again = extractor("classifier", train, held_out, dataset_hash="d" * 64, cache=tmp_path)
    assert weights.name in caplog.text
    assert again.hash == trained.hash


def _pair(cache: Path) -> tuple[Path, Path]:
    (facts,) = cache.glob("*.json")
    return facts, facts.with_suffix(".safetensors")


@pytest.mark.parametrize(
    ("step_s", "taken"), [(0.1, 1300), (0.13, 1300), (0.5, 358), (2.0, 86), (30.0, 4)]
)
def test_the_classifiers_training_ends_in_time_at_the_end_of_its_schedule(
    step_s: float, taken: int
) -> None:
    """The first step takes five times as long as the others, as it does on a cold start."""
    now = 0.0
    pace = Pace(1300, 180.0, lambda: now)
    places: list[int] = []
    while not pace.done:
        now += step_s * (1 if places else 5)
        places.append(pace.places())
    assert sum(places) == 1300
    assert min(places) == 1
    assert len(places) == pace.taken == pytest.approx(taken, rel=0.03)
    assert now < max(182.0, 8.1 * step_s)


@pytest.mark.parametrize(("first", "last", "step_s"), [(0, 20, 1.9), (100, 110, 6.0)])
def test_a_busy_while_is_no_reason_to_leave_steps_out(first: int, last: int, step_s: float) -> None:
    """At the start or later, on a machine that has the time: the figures stay those of others."""
    now = 0.0
    pace = Pace(225, 180.0, lambda: now)
    while not pace.done:
        now += step_s if first <= pace.taken < last else 0.5
        assert pace.places() == 1
    assert pace.taken == 225
    assert now < 180


def test_what_was_cut_short_says_so(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    pace = Pace(1300, 180.0, lambda: now)
    with caplog.at_level("INFO"):
        while not pace.done:
            now += 1.0
            pace.places()
        pace.tell_end()
    assert "feature classifier: " in caplog.text
    assert "had time for 17" in caplog.text or "had time for 18" in caplog.text
    assert "not with those of another machine" in caplog.text


def test_training_gives_the_same_bits_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "MIN_STEPS", 20)
    monkeypatch.setattr(classifier, "EPOCHS", 0)
    train, _ = _digits()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = classifier._serialised(*classifier._train(train))
    torch.testing.assert_close(torch.get_rng_state(), before)
    torch.rand(3)
    assert classifier._serialised(*classifier._train(train)) == first


@pytest.mark.parametrize(("channels", "side"), [(1, 4), (3, 4), (1, 28), (3, 48), (3, 200)])
def test_every_size_has_features(channels: int, side: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (48, channels, side, side), dtype=np.uint8)
    images = Images(pixels, np.arange(48) % 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "MIN_STEPS", 2)
        patch.setattr(classifier, "EPOCHS", 0)
        look = extractor("auto", images, images, dataset_hash="e" * 64, cache=tmp_path)
    assert look.name == "classifier"
    assert look.features(pixels).shape == (48, classifier.FEATURES)
    features = random_extractor(channels).features(pixels)
    assert features.shape == (48, 128)
    assert np.isfinite(features).all()
    assert features.std(axis=0).min() > 0


def test_large_images_are_averaged_and_the_protocol_says_so() -> None:
    pixels = np.zeros((1, 1, 128, 128), np.uint8)
    pixels[0, 0, ::2] = 255
    small = network_input(pixels)
    assert small.shape == (1, 1, 64, 64)
    torch.testing.assert_close(small, torch.zeros(1, 1, 64, 64), atol=1e-6, rtol=0)
    assert resizer((1, 128, 128)) != "none"
    assert resizer((1, 64, 64)) == "none"


def test_auto_says_why_it_takes_the_features_of_the_network_that_comes_with_monge(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    train, held_out = _digits()
    unlabelled = Images(train.pixels, None)
    look = extractor("auto", unlabelled, held_out, dataset_hash="f", cache=tmp_path)
    assert look.name == "pretrained"
    assert look.probabilities(train.pixels[:2]) is None
    assert "no classes" in caplog.text
    few = Images(train.pixels[:100], np.arange(100) % 10)
    look = extractor("auto", few, held_out, dataset_hash="f", cache=tmp_path)
    assert look.name == "pretrained"
    assert f"of the {MIN_IMAGES_PER_CLASS} images needed" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_classifier_without_classes_is_refused_with_the_remedy(tmp_path: Path) -> None:
    train, held_out = _digits()
    for labels, reason in ((None, "no classes"), (np.zeros(len(train), int), "single class")):
        images = Images(train.pixels, labels)
        with pytest.raises(InputError, match=f"{reason}. Use auto or pretrained"):
            extractor("classifier", images, held_out, dataset_hash="f", cache=tmp_path)


def test_a_cache_that_cannot_be_written_is_a_storage_error(
    trained: TorchExtractor, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = classifier._load(*_pair(cache), "d" * 64)
    assert original is not None
    monkeypatch.setattr(classifier, "_train", lambda images: (original._trunk, original._head))
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    train, held_out = _digits()
    with pytest.raises(StorageError, match="cannot be written"):
        extractor("classifier", train, held_out, dataset_hash="d", cache=in_the_way)


def test_what_is_kept_states_accuracy_and_hash(trained: TorchExtractor, cache: Path) -> None:
    facts = json.loads(_pair(cache)[0].read_text())
    assert facts["held_out_accuracy"] == trained.accuracy
    assert facts["weights_sha256"] == trained.hash
    assert facts["version"] == classifier.VERSION
