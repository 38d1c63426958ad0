"""Parity: a file that is the network passes; each known way of getting it wrong is caught."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from monge.contract import Contract
from monge.errors import InputError, ModelFileError, StorageError
from monge.export import onnx as writer
from monge.export.onnx import write_generator
from monge.export.parity import check, write_checked

CONTRACT = Contract(latent_dim=8, image_shape=(8, 8, 3))
TOLERANCE = 1e-4


def _generator() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (8, 1, 1)),
        nn.ConvTranspose2d(8, 16, 4, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


def _trained() -> Any:
    net = _generator()
    norm = net[2]
    nn.init.uniform_(norm.running_var, 0.02, 0.2)
    nn.init.normal_(norm.running_mean, 0.0, 0.2)
    nn.init.normal_(net[4].weight, 0.0, 0.2)
    return net


def test_a_faithful_file_passes_with_its_figures(tmp_path: Path) -> None:
    path = tmp_path / "generator.onnx"
    parity = write_checked(_trained(), CONTRACT, path, TOLERANCE)
    assert path.is_file()
    assert list(tmp_path.iterdir()) == [path]
    assert parity.images == 70
    assert 0 < parity.max_difference < 1e-5
    assert parity.max_grey_levels <= 1
    assert parity.differing_fraction <= 1e-3


def test_a_generator_in_training_mode_is_written_in_evaluation_mode_and_left_alone(
    tmp_path: Path,
) -> None:
    net = _trained().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    write_checked(net, CONTRACT, tmp_path / "g.onnx", TOLERANCE)
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def _flip_sign(model: onnx.ModelProto) -> None:
    """The values before the sigmoid with the wrong sign: the picture inverted."""
    for name in _node(model, "ConvTranspose").input[1:]:
        _change(model, name, lambda weight: -weight)


def _not_doubled(model: onnx.ModelProto) -> None:
    """The sigmoid of x in the place of 2x: a duller picture."""
    for name in _node(model, "ConvTranspose").input[1:]:
        _change(model, name, lambda weight: weight / 2)


def _another_step(model: onnx.ModelProto) -> None:
    """256 levels and not 255: never more than one level, but in half of all."""
    _change_weight(model, "QuantizeLinear", lambda _: np.array(1 / 256, np.float32))


def _swap_axes(model: onnx.ModelProto) -> None:
    """[n, W, H, C] instead of [n, H, W, C]: invisible in the shape of a square image."""
    _node(model, "Transpose").attribute[0].ints[:] = [0, 3, 2, 1]


def _no_rounding(model: onnx.ModelProto) -> None:
    """A bare cast cuts off instead of rounding: never more than one level, but in half of all."""
    node = _node(model, "QuantizeLinear")
    place = list(model.graph.node).index(node)
    _change_weight(model, "QuantizeLinear", lambda step: 1 / step)
    model.graph.node.insert(place, onnx.helper.make_node("Mul", node.input[:2], ["levels"]))
    model.graph.node.insert(
        place + 1, onnx.helper.make_node("Cast", ["levels"], node.output, to=onnx.TensorProto.UINT8)
    )
    model.graph.node.remove(node)


def _flip_kernel(model: onnx.ModelProto) -> None:
    """A transposed convolution is not a convolution: its kernel must not be turned round."""
    _change_weight(model, "ConvTranspose", lambda kernel: kernel[:, :, ::-1, ::-1])


def _wrong_epsilon(model: onnx.ModelProto) -> None:
    """A batch norm folded with 1e-3 for 1e-5 moves every weight by half a per cent at most."""
    _change_weight(model, "Gemm", lambda weight: weight / np.float32(1.001))


def _one_channel_off(model: onnx.ModelProto) -> None:
    """Red and blue exchanged, as after a wrong colour order."""
    node = _node(model, "ConvTranspose")
    for name in node.input[1:]:
        _change(model, name, lambda weight: np.flip(weight, axis=-1 if weight.ndim == 1 else 1))


def _not_a_number(model: onnx.ModelProto) -> None:
    _change_weight(model, "Gemm", lambda weight: weight * np.nan)


def _node(model: onnx.ModelProto, operator: str) -> Any:
    return next(node for node in model.graph.node if node.op_type == operator)


def _change_weight(
    model: onnx.ModelProto, operator: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    _change(model, _node(model, operator).input[1], change)


def _change(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    weight = next(item for item in model.graph.initializer if item.name == name)
    array = np.ascontiguousarray(change(numpy_helper.to_array(weight)))
    weight.CopyFrom(numpy_helper.from_array(array, name))


@pytest.mark.parametrize(
    "trap",
    [_flip_sign, _not_doubled, _another_step, _swap_axes, _no_rounding, _flip_kernel,
     _wrong_epsilon, _one_channel_off, _not_a_number],
)  # fmt: skip
def test_a_wrong_file_is_caught_and_removed(
    tmp_path: Path, trap: Callable[[onnx.ModelProto], None]
) -> None:
    path = tmp_path / "generator.onnx"
    net = _trained()
    write_generator(net, CONTRACT, path)
    model = onnx.load(path)
    trap(model)
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match="not the network"):
        check(net, path, CONTRACT, TOLERANCE)
    assert not path.exists()


def test_the_message_says_where_it_differs_most(tmp_path: Path) -> None:
    """One weight of the last layer's bias: the second channel is off, everywhere."""
    path = tmp_path / "generator.onnx"
    net = _trained()
    write_generator(net, CONTRACT, path)
    model = onnx.load(path)
    bias = _node(model, "ConvTranspose").input[2]
    _change(model, bias, lambda b: b + np.array([0, 0.5, 0], np.float32))
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match=r"batch of 1 at \[0, 1, \d, \d\] it gives"):
        check(net, path, CONTRACT, TOLERANCE)


def test_a_file_with_another_contract_is_caught(tmp_path: Path) -> None:
    path = tmp_path / "generator.onnx"
    write_generator(_trained(), CONTRACT, path)
    with pytest.raises(ModelFileError, match="contract"):
        check(_trained(), path, Contract(latent_dim=8, image_shape=(8, 8, 3), step=1), TOLERANCE)
    assert not path.exists()


def test_a_failed_check_leaves_the_file_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(b"the last good one")
    net = _trained()
    with torch.no_grad():
        net[4].bias.fill_(float("nan"))
    with pytest.raises(ModelFileError):
        write_checked(net, CONTRACT, path, TOLERANCE)
    assert path.read_bytes() == b"the last good one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("image_shape", [(8, 8, 1), (16, 8, 3)])
def test_a_contract_that_the_network_does_not_keep_is_refused(
    tmp_path: Path, image_shape: tuple[int, int, int]
) -> None:
    with pytest.raises(ModelFileError, match="draws"):
        write_generator(
            _generator(), Contract(latent_dim=8, image_shape=image_shape), tmp_path / "g.onnx"
        )
    assert not list(tmp_path.iterdir())


def test_weights_beyond_what_a_file_can_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="narrower"):
        writer.serialise(_generator(), CONTRACT)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(b"old")

    def full(prefix: str, dir: Path) -> tuple[int, str]:
        name = dir / (prefix + "x")
        name.touch()
        return os.open("/dev/full", os.O_WRONLY), str(name)

    monkeypatch.setattr("tempfile.mkstemp", full)
    with pytest.raises(StorageError, match="No space left"):
        write_generator(_generator(), CONTRACT, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(StorageError, match="models"):
        write_generator(_generator(), CONTRACT, tmp_path / "models" / "generator.onnx")
