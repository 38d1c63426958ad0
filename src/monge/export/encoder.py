"""Write an encoder as one ONNX file, images to latents, and hold it to its network.

The bytes' way to [-1, 1] is taken into a plain first layer but for a shift, which a padding of
zeros does not let in: x / 127.5 - 1 = (x - 127.5) / 127.5. Of a Gaussian encoder the means are
written.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import nn

from monge import __version__
from monge.encoder_contract import METADATA_KEY, EncoderContract
from monge.errors import InputError, ModelFileError
from monge.export.graph import Graph, made
from monge.export.lower import layers_of, lower
from monge.export.onnx import IR_VERSION, OPSET
from monge.files import write_whole
from monge.operators import WEIGHTS_KEY, check_operators, weights_sum

IMAGES, LATENTS = "images", "latents"
BATCH_SIZES = (1, 3, 64)
_HALF = 127.5
_SEED = 20_261_126


def write_encoder(
    encoder: nn.Module, contract: EncoderContract, path: Path, tolerance: float
) -> float:
    """Write `encoder` in evaluation mode as an ONNX file with its contract; atomic.

    It takes `images` uint8 [n, H, W, C] and gives `latents` float32 [n, latent_dim]. Returns the
    largest difference from the network, over random images, on the scale of the latents, whose
    prior's is 1. Raises InputError for a layer that export does not know, ModelFileError where the
    file is not the network by more than `tolerance`; what was at `path` then stays.
    """
    data = serialise(encoder, contract)
    apart = _difference(encoder, data, contract)
    if not apart <= tolerance:
        raise ModelFileError(
            f"{path}: the encoder file is not the network: latents differ by {apart:.3g} "
            f"(tolerance {tolerance:g})."
        )
    write_whole(path, data)
    return apart


def serialise(encoder: nn.Module, contract: EncoderContract) -> bytes:
    """Build the bytes of the encoder file; the same for the same weights and contract."""
    height, width, channels = contract.image_shape
    graph = Graph()
    layers, folded = _layers(encoder, contract.latent_dim)
    floats = graph.node("Cast", IMAGES, to=TensorProto.FLOAT)
    centred = graph.node("Sub", floats, graph.weight("half", np.array(_HALF)))
    if not folded:
        centred = graph.node("Mul", centred, graph.weight("step", np.array(1.0 / _HALF)))
    if channels > 1:
        maps = graph.node("Transpose", centred, perm=[0, 3, 1, 2])
    else:
        maps = graph.reshape(centred, [0, 1, height, width])
    value = made(maps, (channels, height, width))
    value = lower(nn.Sequential(*layers), graph, value)
    if value.shape != (contract.latent_dim,):
        raise ModelFileError(
            f"the encoder gives {list(value.shape)}, its contract says {[contract.latent_dim]}: "
            "export with the parameters it was trained with."
        )
    graph.nodes[-1].output[0] = LATENTS
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "encoder",
            [_tensor(IMAGES, TensorProto.UINT8, contract.image_shape)],
            [_tensor(LATENTS, TensorProto.FLOAT, (contract.latent_dim,))],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="monge",
        producer_version=__version__,
    )  # fmt: skip
    weights = weights_sum(model.SerializeToString(deterministic=True))
    helper.set_model_props(model, {METADATA_KEY: contract.to_json(), WEIGHTS_KEY: weights})
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    check_operators(data)
    return data


def _layers(encoder: nn.Module, latent_dim: int) -> tuple[list[nn.Module], bool]:
    """The layers with the means alone in the last one, and whether the first has the scale in it.

    A block in the first one's place sees the image by two ways: it is given the scaled one.
    """
    layers = copy.deepcopy(layers_of(encoder))
    first = next((layer for layer in layers if not isinstance(layer, nn.Flatten)), None)
    last = layers[-1]
    if not isinstance(last, nn.Linear):
        raise InputError(
            f"export cannot write {type(encoder).__name__}: an encoder ends with a Linear layer."
        )
    folded = isinstance(first, nn.Linear | nn.Conv2d)
    with torch.no_grad():
        if isinstance(first, nn.Linear | nn.Conv2d):
            first.weight.div_(_HALF)
        last.weight = nn.Parameter(last.weight[:latent_dim].clone())
        if last.bias is not None:
            last.bias = nn.Parameter(last.bias[:latent_dim].clone())
    last.out_features = min(last.out_features, latent_dim)
    return layers, folded


def _difference(encoder: nn.Module, data: bytes, contract: EncoderContract) -> float:
    """The largest difference of a latent from the network's, over batches of random images."""
    import onnxruntime  # type: ignore[import-untyped, unused-ignore]

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    network = copy.deepcopy(encoder).cpu().eval()
    dice, worst = np.random.default_rng(_SEED), 0.0
    for size in BATCH_SIZES:
        images = dice.integers(0, 256, (size, *contract.image_shape), dtype=np.uint8)
        values = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / _HALF - 1.0)
        with torch.no_grad():
            expected = network(values)[:, : contract.latent_dim].numpy()
        found: NDArray[Any] = session.run([LATENTS], {IMAGES: images})[0]
        if found.shape != expected.shape:
            raise ModelFileError(f"the encoder file gives {found.shape}, not {expected.shape}.")
        apart = float(np.abs(found - expected).max())
        worst = max(worst, apart) if apart == apart else float("nan")  # a NaN is a difference
    return worst


def _tensor(name: str, kind: int, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["n", *shape])
