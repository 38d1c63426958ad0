"""The reference network of FID, KID and Inception score; the only one whose figures bear the names.

torch-fidelity has the network and its way of resizing, ported from the first implementation. Its
weights are a file of its own that this module finds, or fetches, and checks before it is read.
"""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from monge.alpha import on_grey
from monge.errors import MissingExtra, ServiceError
from monge.files import sha256, write_whole

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]

NAME = "inception"
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
SHA256_PREFIX = "6726825d"
"""The file's name ends in it, after the convention of torch's hub."""
_MOST_BYTES = 200 * 2**20
_TIMEOUT_S = 30.0


class InceptionExtractor:
    """Images through Inception v3: 2048 pooled features, and probabilities of 1008 classes.

    On a GPU where there is one. Grey images are taken as colour ones of three equal channels, and
    those with an opacity on the middle grey.
    """

    name = NAME
    accuracy: float | None = None

    def __init__(self, network: torch.nn.Module, digest: str) -> None:
        import torch

        self.hash = digest
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network.to(self._device)
        log.info("Inception's features are computed on %s", self._device)

    def resizer(self, image_shape: tuple[int, int, int]) -> str:
        """Name what happens to images of this (C, H, W), for a protocol."""
        return "bilinear to 299 as in TensorFlow 1"

    def features(self, images: Images) -> Floats:
        """Feature vectors: uint8 [n, C, H, W] -> float64 [n, 2048]."""
        return self.both(images)[0]

    def probabilities(self, images: Images) -> Floats | None:
        """Class probabilities: uint8 [n, C, H, W] -> float64 [n, 1008]."""
        return self.both(images)[1]

    def both(self, images: Images) -> tuple[Floats, Floats | None]:
        """Features and probabilities in one pass."""
        import torch

        images = on_grey(images)
        colour = np.broadcast_to(images, (len(images), 3, *images.shape[2:]))
        with torch.inference_mode():
            batch = torch.from_numpy(colour.copy()).to(self._device)
            features, scores = self._network(batch)
            probabilities = torch.softmax(scores.double(), dim=1)
        return features.double().cpu().numpy(), probabilities.cpu().numpy()


def inception(folder: Path) -> InceptionExtractor:
    """The extractor, its weights from `folder` or fetched into it.

    Raises MissingExtra without torch-fidelity; ServiceError where the weights are absent and cannot
    be fetched, or are not the published ones.
    """
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as reference
    except ImportError as error:
        raise MissingExtra(
            "evaluate.features: inception needs torch-fidelity: pip install 'monge[inception]'."
        ) from error
    path = folder / WEIGHTS
    if not path.is_file():
        _fetch(reference.URL_INCEPTION_V3, path)
    digest = _digest(path)
    weights = _tensors(path)
    # Its constructor would unpickle the file, or fetch another copy: it is given the tensors.
    with mock.patch.object(reference, "load_state_dict_from_url", return_value=weights):
        network: Any = reference.FeatureExtractorInceptionV3(NAME, ["2048", "logits_unbiased"])
    return InceptionExtractor(network, digest)


def _fetch(address: str, path: Path) -> None:
    log.info("fetching %s (91 MB) into %s", WEIGHTS, path.parent)
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:
            data = answer.read(_MOST_BYTES)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise ServiceError(
            f"evaluate.features: inception needs {WEIGHTS}, which could not be fetched "
            f"({reason}). Put it into {path.parent} (it is published at {address}), or use "
            "classifier or random."
        ) from None
    write_whole(path, data)


def _digest(path: Path) -> str:
    digest = sha256(path)
    if not digest.startswith(SHA256_PREFIX):
        raise ServiceError(
            f"{path}: not the published weights (SHA-256 {digest[:8]}..., not {SHA256_PREFIX}...). "
            "Delete it; it is fetched again."
        )
    return digest


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the file and nothing else: torch's reader that can make no other objects."""
    import torch

    return dict(torch.load(path, map_location="cpu", weights_only=True))
