"""Protects: a served generator finds the latents of pictures, and draws nobody else's."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monge.errors import InputError, Late, QueueFull
from monge.latents import slerp
from monge.server.models import open_model, warm_up
from monge.server.routes.latents import Turns
from monge.server.service import Limits
from monge.serving.encoder import Encoder
from monge.serving.latents_file import LatentsFile
from monge.serving.sampler import Sampler
from tests.running import CLASSES, DIM, add_encoder, write, write_conditional

COLOURS = np.random.default_rng(3).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)


def file_of(pixels, form="PNG"):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, form)
    return data.getvalue()


def zipped(**files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


@pytest.fixture(scope="module")
def served(serve, way_back):
    return serve(way_back)


@pytest.fixture(scope="module")
def sampler(way_back):
    return Sampler.load(way_back, "cpu")


def post(service, content, query="", kind="application/octet-stream"):
    return service.client.post(
        f"/v1/latents{query}", content=content, headers={"Content-Type": kind}
    )


@pytest.mark.parametrize("kind", ["image/png", "application/x-www-form-urlencoded", "text/plain"])
def test_a_picture_has_the_encoders_latents_whatever_it_is_called(served, sampler, kind):
    answer = post(served, file_of(COLOURS[0]), kind=kind)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["generator"], said["names"]) == (sampler.model_hash, ["picture"])
    assert answer.headers["monge-model-hash"] == sampler.model_hash
    np.testing.assert_array_equal(
        np.array(said["latents"], np.float32), sampler.encode(COLOURS[:1])
    )


def test_another_shape_is_fitted_as_the_trainings_pictures_were(served, sampler):
    wide = np.full((8, 16, 3), 200, np.uint8)
    padded = np.full((1, 16, 16, 3), (255, 0, 0), np.uint8)  # by its contract: on red
    padded[0, 4:12] = 200
    found = np.array(post(served, file_of(wide)).json()["latents"], np.float32)
    np.testing.assert_array_equal(found, sampler.encode(padded))


def test_a_zip_gives_a_row_for_each_picture_and_a_file_that_sample_reads(served, sampler, tmp_path):
    body = zipped(**{
        "in/b.png": file_of(COLOURS[1]), "a.png": file_of(COLOURS[0]), "in/.DS_Store": b"\0",
    })  # fmt: skip
    answer = post(served, body, "?format=npz", "application/zip")
    assert answer.headers["content-type"] == "application/x-npz"
    place = tmp_path / "latents.npz"
    place.write_bytes(answer.content)
    found = LatentsFile.read(place)
    assert (found.generator, found.names) == (sampler.model_hash, ("in/b.png", "a.png"))
    np.testing.assert_array_equal(found.latents, sampler.encode(COLOURS[[1, 0]]))


def test_latents_are_drawn_again_and_walked_between(served, sampler):
    said = post(served, zipped(a=file_of(COLOURS[0]), b=file_of(COLOURS[1]))).json()
    given, of = np.array(said["latents"], np.float32), said["generator"]
    drawn = served.post("/v1/samples", latents=said["latents"], generator=of, format="raw")
    assert drawn.status_code == 200, drawn.text
    assert drawn.content == sampler.run(given).tobytes()
    ends = [{"latents": row} for row in said["latents"]]
    walk = served.post(
        "/v1/interpolations", start=ends[0], end=ends[1], steps=5, generator=of, format="raw"
    )
    between = slerp(given[:1], given[1:], np.linspace(0, 1, 5))
    assert walk.content == sampler.run(between).tobytes()
    to_seed = served.post(
        "/v1/interpolations", start=ends[0], end={"seed": 9}, steps=3, generator=of, format="raw"
    )
    one = int(np.prod(sampler.contract.image_shape))
    assert to_seed.content[:one] == sampler.run(given[:1]).tobytes()
    assert to_seed.content[-one:] == sampler.sample(1, seed=9).tobytes()


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("samples", {"latents": [[0.0] * DIM], "generator": "ab" * 32}, 409, "Encode the pictures"),
        ("samples", {"latents": [[0.0] * DIM]}, 422, "generator: latents mean nothing without"),
        ("samples", {"latents": [[0.0] * 3], "generator": None}, 422, "have 16 values, got 3"),
        ("samples", {"latents": [[1e300] * DIM], "generator": None}, 422, "finite"),
        ("samples", {"latents": [[0.0] * DIM], "seed": 1, "generator": None}, 422, "in the place"),
        ("samples", {"latents": [], "generator": None}, 422, "latents"),
        ("samples", {"latents": [[0.0] * DIM], "labels": 1, "generator": None}, 422, "label"),
        ("samples", {"latents": [[0.0] * DIM], "generator": "x"}, 422, "generator"),
        ("interpolations", {"start": {"latents": [0.0] * DIM}, "end": {"seed": 1}}, 422, "without"),
        (
            "interpolations",
            {"start": {"latents": [0.0] * DIM}, "end": {"seed": 1}, "generator": "ab" * 32},
            409, "answers now",
        ),
        (
            "interpolations",
            {"start": {"latents": [0.0] * DIM, "seed": 2}, "end": {}, "generator": None},
            422, "latents, or seed",
        ),
    ],
)  # fmt: skip
def test_latents_that_make_no_sense_or_are_anothers_are_refused(
    served, sampler, path, body, status, said
):
    if "generator" in body and body["generator"] is None:
        body = body | {"generator": sampler.model_hash}
    answer = served.post(f"/v1/{path}", **body)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


@pytest.mark.parametrize(
    ("content", "query", "status", "said"),
    [
        (b"", "", 422, "the body is empty"),
        (b"no picture", "", 422, "picture: not an image"),
        (file_of(COLOURS[0])[:90], "", 422, "picture: "),
        (zipped(**{"a.png": file_of(COLOURS[0]), "b.png": b"torn"}), "", 422, "b.png: not an"),
        (zipped(**{"folder/": b""}), "", 422, "holds no files"),
        (b"PK\x03\x04 and no more", "", 422, "the zip cannot be read"),
        (zipped(bomb=bytes(65 << 20)), "", 422, "unpacks to more than"),
        (zipped(**{str(i): b"" for i in range(1025)}), "", 422, "1025 files"),
        (file_of(np.zeros((7100, 7100), np.uint8)), "", 422, "than the limit 50000000."),
        (bytes((8 << 20) + 1), "", 413, "larger than"),
        (file_of(COLOURS[0]), "?format=png", 422, "format: json or npz"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused_in_a_line(served, content, query, status, said):
    answer = post(served, content, query)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
    assert "\n" not in answer.json()["detail"]


def test_a_generator_without_an_encoder_says_so(service, served):
    answer = post(service, file_of(COLOURS[0]))
    assert answer.status_code == 404
    assert "has no encoder" in answer.json()["detail"]
    assert service.client.get("/v1/model").json()["encoder"] is False
    assert served.client.get("/v1/model").json()["encoder"] is True


def test_the_encoder_of_another_generator_is_not_served(tmp_path, caplog):
    model = write(tmp_path / "generator.onnx", seed=1)
    add_encoder(model)
    assert open_model(str(model), "cpu", 1).encoder is not None
    write(model, seed=2)
    opened = open_model(str(model), "cpu", 1)
    assert opened.encoder is None
    assert "belongs to another generator" in caplog.text
    warm_up(opened)


def test_a_conditional_generator_asks_for_the_class(serve, tmp_path):
    model = write_conditional(tmp_path / "generator.onnx")
    add_encoder(model)
    service, sampler = serve(model), Sampler.load(model, "cpu")
    said = post(service, file_of(COLOURS[0])).json()
    given = {"latents": said["latents"], "generator": said["generator"], "format": "raw"}
    assert "labels are needed" in service.post("/v1/samples", **given).json()["detail"]
    drawn = service.post("/v1/samples", labels="eel", **given)
    label = np.array([CLASSES.index("eel")])
    latents = np.array(said["latents"], np.float32)
    assert drawn.content == sampler.run(latents, label).tobytes()
    walk = {"start": {"latents": said["latents"][0]}, "end": {"seed": 1}, "steps": 2}
    walk |= {"generator": said["generator"], "format": "raw"}
    assert "no class of their own" in service.post("/v1/interpolations", **walk).json()["detail"]
    walked = service.post("/v1/interpolations", label="eel", **walk).content
    assert walked[: len(drawn.content)] == drawn.content


def test_a_new_champion_brings_its_own_encoder(monkeypatch, tmp_path):
    from monge.server import models
    from monge.serving.origin import Found

    place = write(tmp_path / "generator.onnx", seed=4)
    encoder = add_encoder(place)
    digest = Encoder.load(encoder).contract.generator
    for fetch, there in ((lambda: encoder, True), (lambda: None, False)):
        found = Found("faces", 3, digest, lambda: place, fetch)
        monkeypatch.setattr(models, "look_up", lambda _, found=found: found)
        opened = open_model("models:/faces@champion", "cpu", 1)
        assert (opened.encoder is not None) == there
        assert (opened.name, opened.version) == ("faces", "3")


class Slow:
    """An encoder that waits until it may go on."""

    def __init__(self, way_back):
        self.contract = Encoder.load(way_back.parent / "encoder/encoder.onnx").contract
        self.go, self.most, self.now = threading.Event(), 0, 0

    def encode(self, images):
        self.now += 1
        self.most = max(self.most, self.now)
        self.go.wait(30)
        self.now -= 1
        return np.zeros((len(images), DIM), np.float32)


def test_requests_take_turns_and_no_more_wait_than_may(way_back):
    body = file_of(COLOURS[0])

    async def many():
        slow: Any = Slow(way_back)
        turns = Turns(30.0)
        asked = [asyncio.ensure_future(turns.encoded(slow, body, Limits())) for _ in range(33)]
        await asyncio.sleep(0.2)
        with pytest.raises(QueueFull):
            await turns.encoded(slow, body, Limits())
        asked[0].cancel()  # its client is gone: its thread goes on, and nobody else begins
        await asyncio.sleep(0.2)
        assert slow.now == 1
        slow.go.set()
        answers = await asyncio.gather(*asked[1:])
        assert [names for names, _ in answers] == [("picture",)] * 32
        assert slow.most == 1

    asyncio.run(many())


def test_who_waits_too_long_is_told(way_back):
    async def two():
        slow: Any = Slow(way_back)
        turns = Turns(0.2)
        first = asyncio.ensure_future(turns.encoded(slow, file_of(COLOURS[0]), Limits()))
        await asyncio.sleep(0.05)
        began_s = time.monotonic()
        with pytest.raises(Late, match=r"within 0\.2 s"):
            await turns.encoded(slow, file_of(COLOURS[1]), Limits())
        assert time.monotonic() - began_s < 20
        slow.go.set()
        await first
        with pytest.raises(InputError):
            await turns.encoded(slow, b"", Limits())
        names, _ = await turns.encoded(slow, file_of(COLOURS[1]), Limits())  # nobody has the turn
        assert names == ("picture",)

    asyncio.run(two())


def test_the_interface_is_described(served):
    document = served.client.get("/openapi.json").json()
    about = document["paths"]["/v1/latents"]["post"]
    assert "application/zip" in about["requestBody"]["content"]
    assert json.dumps(about["responses"]["409"])
