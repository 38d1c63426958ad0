"""The Open Inference Protocol: clients of Triton, KServe and MLServer work unchanged."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tritonclient.http as triton

from monge.latents import latents
from monge.server.routes.v2 import JSON_LENGTH
from monge.serving.sampler import Sampler
from tests.running import DIM, SHAPE

INFER = "/v2/models/generator/infer"


@pytest.fixture(scope="module")
def sampler(model):
    return Sampler.load(model, "cpu")


@pytest.fixture
def client(service):
    client = triton.InferenceServerClient(f"127.0.0.1:{service.port}")
    yield client
    client.close()


def test_tritons_client_sees_a_model_that_is_ready(client, service):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("generator")
    assert client.get_server_metadata()["name"] == "monge"
    metadata = client.get_model_metadata("generator")
    assert metadata["inputs"] == [{"name": "latents", "datatype": "FP32", "shape": [-1, DIM]}]
    images = {"name": "images", "datatype": "UINT8", "shape": [-1, *SHAPE[1:], SHAPE[0]]}
    assert metadata["outputs"] == [images]
    assert not client.is_model_ready("another")


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_tritons_client_gets_the_samplers_images(client, sampler, binary_in, binary_out):
    drawn = latents(3, 0, 5, DIM)
    given = triton.InferInput("latents", list(drawn.shape), "FP32")
    given.set_data_from_numpy(drawn, binary_data=binary_in)
    wanted = triton.InferRequestedOutput("images", binary_data=binary_out)
    answer = client.infer("generator", [given], outputs=[wanted], request_id="42")
    assert answer.get_response()["id"] == "42"
    assert np.array_equal(answer.as_numpy("images"), sampler.sample(5, seed=3))


def test_tritons_client_asks_for_bytes_unless_told_otherwise(client, sampler):
    given = triton.InferInput("latents", [2, DIM], "FP32")
    given.set_data_from_numpy(latents(3, 0, 2, DIM))
    answer = client.infer("generator", [given])
    assert np.array_equal(answer.as_numpy("images"), sampler.sample(2, seed=3))


def test_tritons_client_shows_what_was_wrong(client):
    given = triton.InferInput("latents", [1, DIM + 1], "FP32")
    given.set_data_from_numpy(np.zeros((1, DIM + 1), np.float32))
    with pytest.raises(triton.InferenceServerException, match="latents must be numbers of shape"):
        client.infer("generator", [given])


def tensor(**changes):
    whole = {"name": "latents", "datatype": "FP32", "shape": [1, DIM], "data": [0.0] * DIM}
    return whole | changes


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "must be a mapping"),
        ({}, "inputs"),
        ({"inputs": [tensor(), tensor()]}, "each once"),
        ({"inputs": [tensor(name="z")]}, "'latents'"),
        ({"inputs": [tensor(datatype="FP64")]}, "FP32"),
        ({"inputs": [tensor(shape=[DIM])]}, "shape"),
        ({"inputs": [tensor(shape=[True, DIM])]}, "shape"),
        ({"inputs": [tensor(shape=[0, DIM], data=[])]}, "out of range"),
        ({"inputs": [tensor(shape=[1 << 40, DIM], data=[])]}, "out of range"),
        ({"inputs": [tensor(data=[0.0])]}, "numbers of its shape"),
        ({"inputs": [tensor(data=["a"] * DIM)]}, "numbers of its shape"),
        ({"inputs": [tensor(data=[[0.0], [0.0, 1.0]])]}, "block of numbers"),
        ({"inputs": [tensor(data=[1e300] * DIM)]}, "finite"),
        ({"inputs": [tensor(parameters={"binary_data_size": 64})]}, "bytes came"),
        ({"inputs": [tensor()], "outputs": [{"name": "scores"}]}, "'images'"),
        ({"inputs": [tensor(shape=[1025, DIM], data=[0.0] * 1025 * DIM)]}, "1024 images"),
    ],
)
def test_bad_tensors_are_refused_in_one_line(service, document, said):
    answer = service.client.post(INFER, json=document)
    assert answer.status_code == 422
    assert said in answer.json()["error"]


def test_infinite_latents_spoil_nobody(service):
    text = json.dumps({"inputs": [tensor(data=[float("nan")] * DIM)]})
    answer = service.client.post(INFER, content=text)
    assert answer.status_code == 422
    assert "finite" in answer.json()["error"]


@pytest.mark.parametrize("told", ["-1", "x", "99999999", "5"])
def test_a_wrong_length_of_the_json_is_refused(service, told):
    text = json.dumps({"inputs": [tensor()]})
    answer = service.client.post(INFER, content=text, headers={JSON_LENGTH: told})
    assert answer.status_code == 422


def test_another_model_or_version_is_not_here(service):
    for path in ("/v2/models/another/infer", "/v2/models/generator/versions/7/infer"):
        answer = service.client.post(path, json={"inputs": [tensor()]})
        assert answer.status_code == 404
        assert "generator version 1" in answer.json()["error"]
