"""Protects: a conditional generator behind HTTP draws the classes that each client asks for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.http as triton

from monge.labels import drawn
from monge.latents import latents
from monge.serving.sampler import Sampler
from tests.running import CLASSES, DIM, SHAPE, SHARES

HWC = (*SHAPE[1:], SHAPE[0])


@pytest.fixture(scope="module")
def labelled(serve, conditional):
    return serve(conditional)


@pytest.fixture(scope="module")
def sampler(conditional):
    return Sampler.load(conditional, "cpu")


def images(answer):
    assert answer.status_code == 200, answer.text
    shape = [int(side) for side in answer.headers["monge-shape"].split(",")]
    return np.frombuffer(answer.content, np.uint8).reshape(shape)


@pytest.mark.parametrize("labels", [None, 1, "eel", [2, "cat", 1, 0, "dog"]])
def test_samples_are_those_of_the_sampler(labelled, sampler, labels):
    asked = {} if labels is None else {"labels": labels}
    answer = labelled.post("/v1/samples", n=5, seed=7, first=3, format="raw", **asked)
    assert np.array_equal(images(answer), sampler.sample(5, seed=7, first=3, labels=labels))


def test_each_seed_has_its_own_label(labelled, sampler):
    seeds = [2**64 - 1, 5, 6, 7]
    got = images(labelled.post("/v1/samples", seeds=seeds, format="raw"))
    assert np.array_equal(got, np.concatenate([sampler.sample(1, seed=s) for s in seeds]))
    got = images(labelled.post("/v1/samples", seeds=seeds, labels=[0, 1, 2, 0], format="raw"))
    each = [sampler.sample(1, seed=s, labels=k) for s, k in zip(seeds, (0, 1, 2, 0), strict=True)]
    assert np.array_equal(got, np.concatenate(each))


@pytest.mark.parametrize("label", [None, "dog"])
def test_a_walk_keeps_one_label(labelled, sampler, label):
    asked = {} if label is None else {"label": label}
    body = {"start": {"seed": 4}, "end": {"seed": 9}, "steps": 6, "format": "raw", **asked}
    got = images(labelled.post("/v1/interpolations", **body))
    assert np.array_equal(got, sampler.interpolate([4, 9], 6, label)[0])


def test_requests_that_share_a_batch_keep_their_classes(labelled, sampler):
    def ask(i):
        kind = CLASSES[i % 3]
        return images(labelled.post("/v1/samples", n=3, seed=i, labels=kind, format="raw"))

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(64)))
    for i, got in enumerate(answers):
        assert np.array_equal(got, sampler.sample(3, seed=i, labels=CLASSES[i % 3]))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"n": 2, "labels": 3}, "labels are from 0 to 2, got 3"),
        ({"n": 2, "labels": "cow"}, "no class is called 'cow'. There are: cat, dog, eel"),
        ({"n": 2, "labels": [0, 1, 2]}, "2 images need 2 labels, or one for all: got 3"),
        ({"n": 2, "labels": -1}, "labels"),
        ({"n": 2, "labels": 1.5}, "labels"),
        ({"n": 2, "labels": True}, "labels"),
        ({"n": 2, "labels": []}, "labels"),
    ],
)
def test_labels_that_make_no_sense_are_refused_in_one_line(labelled, body, said):
    answer = labelled.post("/v1/samples", **body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


def test_a_generator_without_labels_says_so(service):
    for path, body in (
        ("/v1/samples", {"labels": 0}),
        ("/v1/interpolations", {"start": {}, "end": {"seed": 1}, "label": 0}),
    ):
        answer = service.post(path, **body)
        assert answer.status_code == 422
        assert "takes no labels" in answer.json()["detail"]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("column", [True, False])
def test_tritons_client_gives_labels_as_a_second_input(labelled, sampler, binary, column):
    with triton.InferenceServerClient(f"127.0.0.1:{labelled.port}") as client:
        inputs = client.get_model_metadata("generator")["inputs"]
        assert inputs[1] == {"name": "labels", "datatype": "INT64", "shape": [-1]}
        batch, labels = latents(3, 0, 4, DIM), np.array([2, 0, 1, 2])
        given = [triton.InferInput("latents", [4, DIM], "FP32")]
        given[0].set_data_from_numpy(batch, binary_data=binary)
        given.append(triton.InferInput("labels", [4, 1] if column else [4], "INT64"))
        given[1].set_data_from_numpy(labels[:, None] if column else labels, binary_data=binary)
        got = client.infer("generator", given[::-1]).as_numpy("images")
        assert np.array_equal(got, sampler.run(batch, labels))
        with pytest.raises(triton.InferenceServerException, match="labels are needed: 4"):
            client.infer("generator", given[:1])


def test_bad_labels_in_the_protocol_are_refused(labelled, service):
    whole = {"name": "latents", "datatype": "FP32", "shape": [2, DIM], "data": [0.0] * 2 * DIM}
    labels = {"name": "labels", "datatype": "INT64", "shape": [2], "data": [0, 1]}
    infer = "/v2/models/generator/infer"
    for change, said in (
        ({"data": [0, 3]}, "from 0 to 2"),
        ({"data": [0.0, 1.0]}, "numbers of its shape"),
        ({"shape": [3], "data": [0, 1, 2]}, "shape [2]"),
        ({"shape": [2, 2], "data": [0] * 4}, "shape must be [n]"),
        ({"shape": None}, "shape must be [n]"),
        ({"datatype": "INT32"}, "each once"),
        ({"name": "latents"}, "each once"),
    ):
        answer = labelled.post(infer, inputs=[whole, labels | change])
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["detail"]
    answer = service.post(infer, inputs=[whole, labels])
    assert (answer.status_code, "takes no labels" in answer.json()["detail"]) == (422, True)
    answer = labelled.post(infer, inputs=[labels])
    assert (answer.status_code, "'latents' is missing" in answer.json()["detail"]) == (422, True)


def test_the_model_says_its_classes_and_their_shares(labelled):
    contract = labelled.client.get("/v1/model").json()["contract"]
    assert contract["classes"] == list(CLASSES)
    assert contract["label_shares"] == list(SHARES)
    assert drawn(0, 0, 1, contract["label_shares"]).shape == (1,)
