"""Protects: encoder.onnx is the encoder, in either family, grey or colour, and says whose it is."""

import json

import numpy as np
import onnx
import pytest
import torch

from monge import nets
from monge.encoder_contract import METADATA_KEY, EncoderContract
from monge.errors import InputError, ModelFileError
from monge.export.encoder import serialise, write_encoder
from monge.params import TrainParams
from monge.serving.encoder import Encoder

HASH = "ab" * 32


def made(net, method, channels=3, size=16):
    train = TrainParams.model_validate(
        {
            "net": net, "objective": method, "latent_dim": 5,
            "mlp": {"depth": 2, "width": 32}, "dcgan": {"features": 4},
        }
    )  # fmt: skip
    torch.manual_seed(0)
    encoder = nets.build("encoder", train, (channels, size, size)).eval()
    with torch.no_grad():  # running statistics as a training leaves them
        for name, buffer in encoder.named_buffers():
            if name.endswith(("mean", "var")):
                buffer.add_(torch.rand(buffer.shape))
    contract = EncoderContract(latent_dim=5, image_shape=(size, size, channels), generator=HASH)
    return encoder, contract


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("method", ["vae", "wae-mmd"])
@pytest.mark.parametrize("net", ["mlp", "dcgan", "dcgan-plain"])
def test_the_file_gives_the_networks_latents(net, method, channels, tmp_path):
    encoder, contract = made(net, method, channels)
    place = tmp_path / "encoder.onnx"
    assert write_encoder(encoder, contract, place, 1e-4) < 1e-4
    images = np.random.default_rng(1).integers(0, 256, (7, 16, 16, channels), dtype=np.uint8)
    values = torch.from_numpy(images.transpose(0, 3, 1, 2) / 127.5 - 1.0).float()
    with torch.no_grad():
        wanted = encoder(values)[:, :5].numpy()
    opened = Encoder.load(place)
    assert opened.contract == contract
    np.testing.assert_allclose(opened.encode(images), wanted, atol=1e-4)
    assert opened.encode(images[:0]).shape == (0, 5)
    # An image's latents do not depend on its batch, as far as a person can see.
    np.testing.assert_allclose(opened.encode(images[3:4])[0], wanted[3], atol=1e-4)


def test_the_same_weights_give_the_same_bytes_and_no_norm_is_left():
    encoder, contract = made("dcgan", "wae-mmd")
    data = serialise(encoder, contract)
    assert data == serialise(encoder, contract)
    operators = {node.op_type for node in onnx.load_from_string(data).graph.node}
    assert operators == {"Cast", "Sub", "Transpose", "Conv", "Relu", "Reshape", "Gemm"}


def test_a_file_that_is_not_the_network_is_not_written(tmp_path):
    encoder, contract = made("mlp", "wae-gan")
    place = tmp_path / "encoder.onnx"
    place.write_bytes(b"before")
    with pytest.raises(ModelFileError, match="latents differ by"):
        write_encoder(encoder, contract, place, 0.0)
    assert place.read_bytes() == b"before"
    other = EncoderContract(latent_dim=6, image_shape=(16, 16, 3), generator=HASH)
    with pytest.raises(ModelFileError, match="its contract says"):
        write_encoder(encoder, other, place, 1e-4)
    with pytest.raises(InputError, match="ends with a Linear layer"):
        write_encoder(torch.nn.Sequential(torch.nn.Flatten()), contract, place, 1e-4)


def rewritten(data, text):
    model = onnx.load_from_string(data)
    del model.metadata_props[:]
    if text is not None:
        onnx.helper.set_model_props(model, {METADATA_KEY: text})
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "no encoder of monge's"),
        ("{", "broken or of another monge"),
        ("[]", "broken or of another monge"),
        ({"latent_dim": 7}, "breaks its contract"),
        ({"latent_dim": True}, "latent_dim must be"),
        ({"generator": "../../etc"}, "generator must be a SHA-256"),
        ({"image_shape": [16, 16]}, "image_shape must be"),
        ({"format_version": 2}, "format_version must be 1"),
        ({"surprise": 1}, "broken or of another monge"),
    ],
)
def test_another_file_is_refused_in_a_line(change, said, tmp_path):
    encoder, contract = made("mlp", "wae-gan")
    text = change
    if isinstance(change, dict):
        text = json.dumps(json.loads(contract.to_json()) | change)
    place = tmp_path / "encoder.onnx"
    place.write_bytes(rewritten(serialise(encoder, contract), text))
    with pytest.raises(ModelFileError, match=said) as caught:
        Encoder.load(place)
    assert "\n" not in str(caught.value)


def test_images_of_another_shape_or_kind_are_refused(tmp_path):
    encoder, contract = made("mlp", "vae")
    opened = Encoder.of(serialise(encoder, contract), "here")
    for images in (np.zeros((2, 16, 16), np.uint8), np.zeros((2, 8, 8, 3), np.uint8)):
        with pytest.raises(InputError, match=r"uint8 of shape \[n, 16, 16, 3\]"):
            opened.encode(images)
    with pytest.raises(InputError, match="must be uint8"):
        opened.encode(np.zeros((2, 16, 16, 3), np.float32))
