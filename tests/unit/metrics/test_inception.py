"""Inception's features against torch-fidelity's own figures, on weights made for the test.

The published weights are no part of this repository; everything but their values is held here.
"""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monge.data.writer import PackedWriter
from monge.errors import ServiceError
from monge.evaluation.judge import judge
from monge.metrics import inception as module
from monge.metrics.features import pixel_extractor
from monge.metrics.frechet import Moments, frechet_distance
from monge.metrics.mmd import cubic, mmd_squared
from monge.metrics.scores import classifier_score
from monge.params import EvaluateParams

reference = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
IMAGES = 16


class Set(torch.utils.data.Dataset[torch.Tensor]):
    """Images that are there, for torch-fidelity and for us."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.images[index])

    def take(self, indices: Any) -> np.ndarray:
        return self.images[indices]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with random weights under the published ones' name, and their hash expected."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        blank = reference.FeatureExtractorInceptionV3
        patch.setattr(blank, "load_state_dict", lambda *_: None)
        patch.setattr(reference, "load_state_dict_from_url", lambda *_, **__: None)
        network = blank("blank", ["2048"])
    torch.save(network.state_dict(), folder / module.WEIGHTS)
    digest = hashlib.sha256((folder / module.WEIGHTS).read_bytes()).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHA256_PREFIX", digest[:8])
        yield folder


@pytest.fixture(scope="module")
def sets() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    dark = generator.integers(0, 160, (IMAGES, 3, 20, 20), dtype=np.uint8)
    return dark, generator.integers(60, 256, (IMAGES, 3, 20, 20), dtype=np.uint8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_figures_are_torch_fidelitys(
    weights: Path, sets: tuple[np.ndarray, np.ndarray]
) -> None:
    torch_fidelity = pytest.importorskip("torch_fidelity")
    theirs = torch_fidelity.calculate_metrics(
        input1=Set(sets[0]), input2=Set(sets[1]), cuda=False, cache=False, verbose=False,
        feature_extractor_weights_path=str(weights / module.WEIGHTS), batch_size=8,
        fid=True, kid=True, kid_subsets=1, kid_subset_size=IMAGES, isc=True, isc_splits=1,
        save_cpu_ram=True,
    )  # fmt: skip
    look = module.inception(weights)
    made, real = (look.both(images) for images in sets)
    fitted = [Moments(2048).add(features).gaussian() for features, _ in (made, real)]
    assert made[1] is not None
    for ours, key in (
        (frechet_distance(*fitted), "frechet_inception_distance"),
        (mmd_squared(made[0], real[0], cubic), "kernel_inception_distance_mean"),
        (classifier_score(made[1]), "inception_score_mean"),
    ):
        assert ours == pytest.approx(theirs[key], rel=1e-4), key


def test_a_judgement_by_inception_names_its_figures_so(
    weights: Path, sets: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    with PackedWriter(tmp_path / "prepared", (1, 20, 20), ["a", "b"]) as writer:
        for split, images in (("train", sets[0]), ("validation", sets[1][:9])):
            labels = np.arange(len(images)) % 2
            writer.append(split, images[:, :1], labels)  # type: ignore[arg-type]
        dataset = writer.finish(source={"kind": "test"})

    def sample(first: int, count: int) -> np.ndarray:
        chosen = np.arange(first, first + count) % IMAGES
        return sets[1][chosen, :1].transpose(0, 2, 3, 1)

    params = EvaluateParams(
        images=50, transport_images=10, projections=4, repeats=2, features="inception", batch_size=8
    )
    judgement = judge(sample, dataset, params, weights, generator_hash="x")
    assert {"fid", "kid", "inception_score", "precision"} <= set(judgement.figures)
    assert judgement.figures["fid"].protocol["extractor"] == "inception"
    assert judgement.figures["fid"].protocol["resizer"] == "bilinear to 299 as in TensorFlow 1"
    assert not {"frechet", "class_balance", "frechet_extrapolated"} & set(judgement.figures)
    assert judgement.classes is None


def test_other_weights_are_refused_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / module.WEIGHTS).write_bytes(b"not what was published")
    with pytest.raises(ServiceError, match="not the published weights"):
        module.inception(tmp_path)


def test_weights_are_fetched_where_the_network_allows(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(weights))

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}/{module.WEIGHTS}"
        monkeypatch.setattr(reference, "URL_INCEPTION_V3", address)
        look = module.inception(tmp_path)
        server.shutdown()
        thread.join()
    assert (tmp_path / module.WEIGHTS).read_bytes() == (weights / module.WEIGHTS).read_bytes()
    assert look.hash.startswith(module.SHA256_PREFIX)


def test_without_weights_or_network_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "URL_INCEPTION_V3", "http://127.0.0.1:9/none.pth")
    with pytest.raises(ServiceError, match="Put it into .* or use classifier or random"):
        module.inception(tmp_path)


def test_the_pixels_are_features_too() -> None:
    look = pixel_extractor()
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    found = look.features(images)
    means = images.reshape(3, 3, 16, 2, 16, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(found, means.reshape(3, -1) / 127.5 - 1.0, atol=1e-5)
    small = images[:, :1, :8, :8]
    np.testing.assert_allclose(look.features(small), small.reshape(3, -1) / 127.5 - 1, atol=1e-6)
    assert look.resizer((3, 32, 32)) == "area averaging to 16"
