"""Open a generator file on a provider, and hold it to its contract."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from monge.contract import METADATA_KEY, Contract
from monge.errors import DeviceError, InputError, ModelFileError
from monge.operators import check_weights
from monge.serving.session import Session, open_session

ONE_SIZE = 64
"""Images of every batch on a GPU, where nothing else is asked for."""

_BATCH_BYTES = 8 << 20  # of finished images; what the network holds meanwhile is a multiple of it

_log = logging.getLogger(__name__)


def opened(
    data: bytes, path: str, provider: str, threads: int, batches: Sequence[int] | None
) -> tuple[Session, Contract]:
    """A session whose file keeps its contract, bound to batch sizes where there are any.

    With `auto` a GPU that cannot draw is said in the log, and the CPU taken. Raises ModelFileError,
    DeviceError, MissingExtra.
    """
    try:
        return _open(data, path, provider, threads, batches)
    except DeviceError as error:
        if provider != "auto":
            raise
        _log.warning("%s", error)
        return _open(data, path, "cpu", threads, batches)


def _open(
    data: bytes, path: str, provider: str, threads: int, batches: Sequence[int] | None
) -> tuple[Session, Contract]:
    session = open_session(data, path, provider, threads)
    contract = _contract(session, path)
    check_weights(data, session.metadata, path)
    if batches is None and session.provider != "cpu":
        batches = (min(ONE_SIZE, most_at_a_time(contract)),)
    if batches is not None:
        largest = max(batches)
        if largest > most_at_a_time(contract):
            raise InputError(
                f"batches: {largest} images of this size are more than {_BATCH_BYTES >> 20} MiB: "
                f"at most {most_at_a_time(contract)}."
            )
        session.bind(batches, len(contract.label_shares))
    return session, contract


def most_at_a_time(contract: Contract) -> int:
    """Count the images that a batch may have: 8 MiB of them."""
    return max(1, _BATCH_BYTES // int(np.prod(contract.image_shape)))


def _contract(session: Session, path: str) -> Contract:
    """Read the contract of an opened file, which its input and output must keep."""
    text = session.metadata.get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{path}: an ONNX file, but no generator of monge's: it has no contract in its "
            f"metadata ({METADATA_KEY})."
        )
    try:
        contract = Contract.from_json(text)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    inputs: list[Any] = [("latents", "tensor(float)", [contract.latent_dim])]
    if contract.conditional:
        inputs.append(("labels", "tensor(int64)", []))
    output = ("images", "tensor(uint8)", [*contract.image_shape])
    for kind, tensors, wanted in (
        ("input", session.inputs, inputs),
        ("output", session.outputs, [output]),
    ):
        found = [(name, type_, shape[1:]) for name, type_, shape in tensors]
        if found != wanted:
            raise ModelFileError(
                f"{path}: breaks its contract: its {kind} must be {_listed(wanted)}, "
                f"got {_listed(found)}."
            )
    fixed = [
        (name, n) for name, _, (n, *_) in (*session.inputs, *session.outputs) if isinstance(n, int)
    ]
    if fixed:
        name, n = fixed[0]
        raise ModelFileError(
            f"{path}: its {name} come {n} at a time and in no other number: another tool fixed the "
            "batch. Give the file as monge exported it, or keep its first dimension free there."
        )
    return contract


def _listed(tensors: list[Any]) -> str:
    return " and ".join(map(str, tensors)) or "nothing"
