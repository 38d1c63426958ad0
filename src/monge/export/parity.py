"""Is the file the network? Both draw the same latents, and every value is compared."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from monge.contract import METADATA_KEY, Contract
from monge.errors import ModelFileError
from monge.export.graph import Form
from monge.export.images import OUTPUT, VALUES
from monge.export.onnx import INPUT, LABELS, write_generator
from monge.labels import drawn
from monge.latents import latents

BATCH_SIZES = (1, 2, 3, 64)
MAX_DIFFERING_FRACTION = 1e-3
MAX_REDUCED = {"float16": 0.01, "int8": 0.1}
"""The bounds of a smaller variant: root mean square, as a share of the values' own spread."""

_SEED = 20_260_101


@dataclass(frozen=True)
class Parity:
    """The difference of a file from its network, over all batch sizes of the check.

    `max_difference` is on the values in [-1, 1], `max_grey_levels` and `differing_fraction` on the
    uint8 images.
    """

    images: int
    max_difference: float
    max_grey_levels: int
    differing_fraction: float

    @property
    def word(self) -> str:
        """Say what the file does: it equals the network, or, a smaller variant, comes near it."""
        equal = self.max_grey_levels <= 1 and self.differing_fraction <= MAX_DIFFERING_FRACTION
        return "equals" if equal else "comes near"


def write_checked(
    generator: nn.Module, contract: Contract, path: Path, tolerance: float, form: Form | None = None
) -> Parity:
    """Write the generator file beside `path`, check it, and only then let it take that place."""
    form = form or Form()
    unproved = path.with_name(f".{path.name}.unproved")
    write_generator(generator, contract, unproved, form)
    parity = check(generator, unproved, contract, tolerance, form.variant)
    unproved.replace(path)
    return parity


def check(
    generator: nn.Module,
    path: Path,
    contract: Contract,
    tolerance: float,
    variant: str = "float32",
) -> Parity:
    """Compare a generator file with its network at batch sizes 1, 2, 3 and 64.

    Equal means: the values in [-1, 1] within `tolerance`, the uint8 images at most one grey level
    apart, in at most 1 value of 1,000, and the contract in the metadata the one given. A smaller
    variant cannot be equal: it is held to MAX_REDUCED. Raises ModelFileError, which says where it
    differs most, and removes the file.
    """
    try:
        return _compare(generator, path, contract, tolerance, MAX_REDUCED.get(variant))
    except Exception:
        path.unlink(missing_ok=True)
        raise


def _compare(
    generator: nn.Module, path: Path, contract: Contract, tolerance: float, reduced: float | None
) -> Parity:
    network = copy.deepcopy(generator).cpu().eval()
    session, values_session = _sessions(path, contract)
    images, worst, levels, differing, values_seen = 0, 0.0, 0, 0, 0
    for feeds in _batches(contract):
        with torch.no_grad():
            expected = network(*map(torch.from_numpy, feeds.values())).numpy()
        values = _of_network(values_session.run([VALUES], feeds)[0], contract)
        difference = np.abs(values - expected)
        if reduced is not None:
            _check_reduced(path, difference, expected, reduced)
        # Written so that NaN, on whichever side, is a difference.
        elif values.shape != expected.shape or not np.all(difference <= tolerance):
            raise _unequal(path, difference, values, expected, f"tolerance {tolerance:g}")
        bytes_expected = _to_bytes(expected)
        pixels = session.run([OUTPUT], feeds)[0]
        if pixels.shape != bytes_expected.shape:
            raise ModelFileError(
                f"{path}: the file draws {pixels.shape}, the network {bytes_expected.shape}."
            )
        apart = np.abs(pixels.astype(np.int64) - bytes_expected)
        if apart.max() > 1 and reduced is None:
            raise _unequal(path, apart, pixels, bytes_expected, "at most one grey level")
        images += len(expected)
        worst, levels = max(worst, float(difference.max())), max(levels, int(apart.max()))
        differing, values_seen = differing + int((apart > 0).sum()), values_seen + apart.size
    fraction = differing / values_seen
    if fraction > MAX_DIFFERING_FRACTION and reduced is None:
        raise ModelFileError(
            f"{path}: the file is not the network: {fraction:.2%} of its grey levels differ "
            f"(allowed: {MAX_DIFFERING_FRACTION:.1%})."
        )
    return Parity(images, worst, levels, fraction)


def _check_reduced(
    path: Path, difference: NDArray[Any], expected: NDArray[Any], allowed: float
) -> None:
    share = float(np.sqrt(np.square(difference).mean()) / max(float(expected.std()), 1e-12))
    if not share <= allowed:
        raise ModelFileError(
            f"{path}: the smaller variant is {share:.1%} of the values' spread away from the "
            f"network (allowed: {allowed:.0%}). Export it as float32."
        )


def _batches(contract: Contract) -> Iterator[dict[str, NDArray[Any]]]:
    """The inputs of each batch, in the order in which the network takes them."""
    first = 0
    for size in BATCH_SIZES:
        feeds: dict[str, NDArray[Any]] = {INPUT: latents(_SEED, first, size, contract.latent_dim)}
        if contract.conditional:
            feeds[LABELS] = drawn(_SEED, first, size, contract.label_shares)
        yield feeds
        first += size


def _sessions(path: Path, contract: Contract) -> tuple[Any, Any]:
    """Open the file as it is, and a copy in memory that gives the values before rounding."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, when the library is loaded
    import onnxruntime  # type: ignore[import-untyped, unused-ignore]

    try:
        model = onnx.load(path)
    except Exception as error:
        raise ModelFileError(f"{path}: not an ONNX file: {' '.join(str(error).split())}") from None
    found = {item.key: item.value for item in model.metadata_props}.get(METADATA_KEY)
    if found != contract.to_json():
        raise ModelFileError(f"{path}: the contract in the file is not the one it was given.")
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(VALUES, onnx.TensorProto.FLOAT, None)
    )
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers = ["CPUExecutionProvider"]
    return (
        onnxruntime.InferenceSession(str(path), options, providers=providers),
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers),
    )


def _of_network(values: NDArray[np.float32], contract: Contract) -> NDArray[np.float64]:
    """Turn what becomes bytes, in [0, 1], into the network's [n, C, H, W], in [-1, 1].

    The difference from the network is doubled with it, and none is lost.
    """
    if values.ndim == 2:
        values = values.reshape(-1, *contract.image_shape).transpose(0, 3, 1, 2)
    return 2.0 * values.astype(np.float64) - 1.0


def _to_bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[n, C, H, W] in [-1, 1] to [n, H, W, C] in 0..255: the definition, apart from the graph."""
    levels = np.clip(np.rint((values + np.float32(1.0)) * np.float32(127.5)), 0, 255)
    pixels: NDArray[np.uint8] = levels.astype(np.uint8).transpose(0, 2, 3, 1)
    return pixels


def _unequal(
    path: Path, difference: NDArray[Any], got: NDArray[Any], expected: NDArray[Any], allowed: str
) -> ModelFileError:
    if got.shape != expected.shape:
        return ModelFileError(f"{path}: the file draws {got.shape}, the network {expected.shape}.")
    where = np.unravel_index(np.argmax(np.nan_to_num(difference, nan=np.inf)), difference.shape)
    place = ", ".join(str(int(i)) for i in where)
    return ModelFileError(
        f"{path}: the file is not the network: in a batch of {len(got)} at [{place}] it gives "
        f"{got[where]:.6g}, the network {expected[where]:.6g} ({allowed})."
    )
