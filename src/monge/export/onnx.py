"""Write a generator as one self-contained ONNX file that carries its contract."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper
from torch import nn

from monge import __version__
from monge.contract import METADATA_KEY, Contract
from monge.errors import InputError, ModelFileError
from monge.export import images
from monge.export.graph import Form, Graph, start
from monge.export.images import OUTPUT
from monge.export.lower import layers_of, lower
from monge.export.residual import without_lone_norms
from monge.files import write_whole
from monge.operators import WEIGHTS_KEY, check_operators, weights_sum

# Operators as they have been since opset 13, the first in which all of them are in their present
# form; IR version 7 came with it. Every ONNX Runtime since 1.6 reads that.
OPSET = 13
IR_VERSION = 7
MAX_BYTES = 2**31 - 1  # protobuf's limit; a file beyond it could not hold its own weights

INPUT, LABELS = "latents", "labels"


def write_generator(
    generator: nn.Module, contract: Contract, path: Path, form: Form | None = None
) -> None:
    """Write `generator` in evaluation mode as an ONNX file with its contract; atomic.

    The file takes `latents` float32 [n, latent_dim], and `labels` int64 [n] where its contract has
    shares of labels, and gives `images` uint8 [n, H, W, C]. The same weights and contract give the
    same bytes. Raises InputError for a layer that export does not know, ModelFileError where
    contract and network disagree, StorageError on a full disk.
    """
    write_whole(path, serialise(generator, contract, form))


def serialise(generator: nn.Module, contract: Contract, form: Form | None = None) -> bytes:
    """Build the bytes of the generator file."""
    weights = sum(tensor.numel() * 4 for tensor in generator.state_dict().values())
    if weights > MAX_BYTES:
        raise InputError(
            f"the generator's weights take {weights / 2**30:.1f} GiB, an ONNX file holds less than "
            "2: train a narrower net."
        )
    graph = Graph(form, LABELS)
    value = start(INPUT, (contract.latent_dim,), len(contract.label_shares))
    if graph.form.variant == "float16":
        value = graph.add("Cast", value, to=TensorProto.FLOAT16)
    layers = without_lone_norms(layers_of(generator))
    body = images.body(layers, contract.image_shape)
    value = lower(nn.Sequential(*body.layers), graph, value)
    height, width, channels = contract.image_shape
    if not body.in_order and value.shape != (channels, height, width):
        raise ModelFileError(
            f"the network draws {list(value.shape)} (C, H, W), its contract says "
            f"{[channels, height, width]}: export with the parameters it was trained with."
        )
    images.to_bytes(graph, value, body.logistic, contract.image_shape)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "generator",
            _inputs(contract),
            [
                helper.make_tensor_value_info(
                    OUTPUT, TensorProto.UINT8, ["n", *contract.image_shape]
                )
            ],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="monge",
        producer_version=__version__,
    )
    checksum = weights_sum(model.SerializeToString(deterministic=True))
    helper.set_model_props(model, {METADATA_KEY: contract.to_json(), WEIGHTS_KEY: checksum})
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    check_operators(data)
    return data


def _inputs(contract: Contract) -> list[onnx.ValueInfoProto]:
    latents = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", contract.latent_dim])
    labels = helper.make_tensor_value_info(LABELS, TensorProto.INT64, ["n"])
    return [latents, labels] if contract.conditional else [latents]
