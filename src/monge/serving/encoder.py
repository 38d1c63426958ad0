"""Latents of images, by the encoder file that belongs to a generator file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.encoder_contract import METADATA_KEY, EncoderContract
from monge.errors import InputError, ModelFileError
from monge.operators import check_operators, check_weights
from monge.serving import origin
from monge.serving.origin import Origin
from monge.serving.session import Session, open_session

Images = NDArray[np.uint8]
Latents = NDArray[np.float32]

_BATCH_BYTES = 8 << 20  # of images; what the network holds meanwhile is a multiple of it

_log = logging.getLogger(__name__)


class Encoder:
    """The way back from images to latents; `contract` is what the file says of itself.

    It computes on the CPU: what it is given are a person's pictures, not a training's.
    """

    def __init__(self, session: Session, contract: EncoderContract) -> None:
        self._session = session
        self.contract = contract
        self._most = max(1, _BATCH_BYTES // int(np.prod(contract.image_shape)))

    @classmethod
    def load(cls, path: str | Path, threads: int = 0) -> Encoder:
        """Open an encoder file. Raises ModelFileError for anything else."""
        return cls.of(origin.read(path), str(path), threads)

    @classmethod
    def of(cls, data: bytes, path: str, threads: int = 0) -> Encoder:
        """Open the bytes of an encoder file, which came from `path`. Raises ModelFileError."""
        check_operators(data, path)
        session = open_session(data, path, "cpu", threads)
        contract = _contract(session, path)
        check_weights(data, session.metadata, path)
        return cls(session, contract)

    def encode(self, images: NDArray[Any]) -> Latents:
        """Latents float32 [n, latent_dim] of images uint8 [n, H, W, C]. Raises InputError."""
        images = np.asarray(images)
        height, width, channels = self.contract.image_shape
        if images.ndim != 4 or images.shape[1:] != self.contract.image_shape:
            raise InputError(
                f"images must be uint8 of shape [n, {height}, {width}, {channels}], got "
                f"{images.dtype} {list(images.shape)}. `monge encode` fits files to that."
            )
        if images.dtype != np.uint8:
            raise InputError(f"images must be uint8, 0 to 255, got {images.dtype}.")
        result = np.empty((len(images), self.contract.latent_dim), np.float32)
        for start in range(0, len(images), self._most):
            part = np.ascontiguousarray(images[start : start + self._most])
            result[start : start + len(part)] = self._session.compute("latents", {"images": part})
        return result


def encoder_of(model: Origin, model_hash: str, threads: int = 0) -> Encoder | None:
    """The encoder of a generator: beside its file, where export leaves it, or in the registry.

    None where there is none. One that belongs to another generator is not taken, which is said by
    logging. Raises ModelFileError for a damaged one, ServiceError as the registry does.
    """
    path = origin.encoder_of(model)
    return None if path is None else belonging(path, model_hash, threads)


def belonging(path: Path, model_hash: str, threads: int = 0) -> Encoder | None:
    """Open an encoder file, if it belongs to the generator with this hash; if not, say so: None.

    Raises ModelFileError for a damaged one.
    """
    found = Encoder.load(path, threads)
    if found.contract.generator != model_hash:
        _log.warning("%s belongs to another generator than %s: not used", path, model_hash[:12])
        return None
    return found


def _contract(session: Session, path: str) -> EncoderContract:
    text = session.metadata.get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{path}: an ONNX file, but no encoder of monge's: it has no contract in its metadata "
            f"({METADATA_KEY})."
        )
    try:
        contract = EncoderContract.from_json(text)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    found = [(*tensor[:2], list(tensor[2][1:])) for tensor in (*session.inputs, *session.outputs)]
    wanted = [
        ("images", "tensor(uint8)", [*contract.image_shape]),
        ("latents", "tensor(float)", [contract.latent_dim]),
    ]
    if found != wanted:
        raise ModelFileError(
            f"{path}: breaks its contract: it must take and give {wanted}, got {found}."
        )
    return contract
