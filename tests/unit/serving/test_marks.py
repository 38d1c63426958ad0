"""A generated picture says that it is one, and can be made again from itself."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from monge.errors import InputError
from monge.serving import marks, origin, pictures
from monge.serving.again import described, made_again
from monge.serving.marks import SOURCE_TYPE, Marker
from monge.serving.sampler import Sampler
from tests.running import CLASSES, DIM, write


@pytest.fixture(scope="module")
def sampler(model):
    return Sampler.load(model, "cpu")


def _pixels(path_or_bytes) -> np.ndarray:
    source = io.BytesIO(path_or_bytes) if isinstance(path_or_bytes, bytes) else path_or_bytes
    with Image.open(source) as picture:
        return np.array(picture)


SEED = 2**64 - 5
ASKED = [
    ("samples", {"seed": SEED, "first": 3}),
    ("samples", {"n": 6, "seed": 9, "first": 2, "truncation": 0.6, "columns": 3}),
    ("samples", {"seeds": [4, 8, 15], "format": "webp"}),
    ("samples", {"n": 1, "columns": 1}),
    ("interpolations", {"start": {"seed": 3, "index": 1}, "end": {"seed": 5}, "steps": 4}),
    ("interpolations", {"start": {}, "end": {"latents": [0.25] * DIM}, "steps": 3}),
    ("samples", {"latents": [[0.5] * DIM, [-1.25] * DIM]}),
]


@pytest.mark.parametrize(("route", "body"), ASKED, ids=[str(i) for i in range(len(ASKED))])
def test_a_picture_of_the_service_is_made_again_from_itself(
    service, sampler, tmp_path, route, body
):
    if "latents" in str(body):
        body = {**body, "generator": sampler.model_hash}
    form = body.get("format", "png")
    answer = service.post(f"/v1/{route}", **body)
    assert answer.status_code == 200, answer.text
    place = tmp_path / f"picture.{form}"
    place.write_bytes(answer.content)
    drawn, mark = made_again(sampler, place)
    assert np.array_equal(np.asarray(drawn.convert("RGB")), _pixels(answer.content))
    assert mark.source_type == SOURCE_TYPE
    assert (mark.model, mark.model_hash) == ("generator.onnx", sampler.model_hash)


def test_every_picture_of_a_zip_is_made_again_by_itself(serve, conditional, tmp_path):
    service, sampler = serve(conditional), Sampler.load(conditional, "cpu")
    for route, body in (
        ("samples", {"n": 3, "seed": 6, "first": 5, "labels": [CLASSES[2], 0, 1]}),
        ("samples", {"seeds": [7, 8], "labels": "dog"}),
        ("interpolations", {"start": {"seed": 3}, "end": {"seed": 5}, "steps": 3}),
    ):
        for form in ("png", "webp"):
            answer = service.post(f"/v1/{route}", **body, layout="zip", format=form)
            with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
                for name in archive.namelist():
                    (tmp_path / name).write_bytes(archive.read(name))
                    drawn, _ = made_again(sampler, tmp_path / name)
                    assert np.array_equal(
                        np.asarray(drawn.convert("RGB")), _pixels(tmp_path / name)
                    )


def monge(*words: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "monge", *map(str, words)], capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_inspect_prints_the_command_that_makes_a_picture_again(model, tmp_path):
    monge("sample", model, "-n", 5, "--seed", 3, "--truncation", 0.8, "-o", tmp_path / "many")
    monge("sample", model, "-n", 5, "--seed", 3, "-o", tmp_path / "grid.png")
    for place in (tmp_path / "many" / "00002.png", tmp_path / "grid.png"):
        told = monge("inspect", place)
        assert SOURCE_TYPE in told
        words = shlex.split(told.splitlines()[-1].removeprefix("again: "))
        assert words[:2] == ["monge", "sample"]
        again = tmp_path / f"again-{place.name}"
        words = [str(model) if word == "generator.onnx" else word for word in words[1:-1]]
        monge(*words, again)
        assert np.array_equal(_pixels(again), _pixels(place))
        assert again.read_bytes() == place.read_bytes()
    other = write(tmp_path / "other.onnx", seed=1)
    refused = monge("sample", other, "--like", place, "-o", tmp_path / "no.png", code=2)
    assert "was made by the generator" in refused


def test_no_marks_leaves_the_files_as_they_were(serve, model, tmp_path):
    service = serve(model, "--no-marks")
    plain = service.post("/v1/samples", seed=3).content
    assert b"adobe" not in plain
    monge("sample", model, "--no-marks", "-n", 2, "-o", tmp_path / "grid.png")
    assert "no note of how it was made" in monge("inspect", tmp_path / "grid.png", code=2)


def test_shards_say_it_of_every_picture(model, sampler, tmp_path):
    import tarfile

    words = ("-n", 4, "--seed", 11, "--shards", "webdataset", "--shard-size", 2)
    monge("sample", model, *words, "-o", tmp_path / "shards")
    with tarfile.open(tmp_path / "shards" / "shard-00001-of-00002.tar") as archive:
        archive.extract("000000000003.png", tmp_path, filter="data")
    drawn, _ = made_again(sampler, tmp_path / "000000000003.png")
    assert np.array_equal(np.asarray(drawn), sampler.sample(1, 11, 3)[0])


def test_the_packet_is_xmp_that_other_readers_understand(sampler, tmp_path):
    packet = Marker("ab" * 32, 'odd <"name">&.onnx').packet({"seed": 1})
    root = ElementTree.fromstring(packet)
    assert root.tag == "{adobe:ns:meta/}xmpmeta"
    iptc = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert [e.get(iptc) for e in root.iter() if e.get(iptc)] == [SOURCE_TYPE]
    for form, key in (("png", "XML:com.adobe.xmp"), ("webp", "xmp")):
        place = tmp_path / f"x.{form}"
        pictures.write_one(pictures.picture(sampler.sample(1)[0]), place, packet)
        with Image.open(place) as picture:
            found = picture.info[key]
        assert (found.encode() if isinstance(found, str) else found) == packet
        mark = marks.read(place)
        assert (mark.model, mark.recipe) == ('odd <"name">&.onnx', {"seed": 1})


def test_a_mark_that_another_tool_rewrote_as_elements_is_read(sampler, tmp_path):
    text = Marker(sampler.model_hash, "generator.onnx").packet({"seed": 4, "first": 1}).decode()
    found = re.fullmatch(r"(.*<rdf:Description) (.*)/>(</rdf:RDF>.*)", text)
    assert found is not None
    start, attributes, end = found.groups()
    pairs = re.findall(r"(monge:\w+|Iptc4xmpExt:\w+)=(\"[^\"]*\"|'[^']*')", attributes)
    names = " ".join(re.findall(r"xmlns:\S+", attributes))
    inner = "".join(f"<{key}>{value[1:-1]}</{key}>" for key, value in pairs)
    rewritten = f'{start} rdf:about="" {names}>{inner}</rdf:Description>{end}'
    place = tmp_path / "x.png"
    pictures.write_one(pictures.picture(sampler.sample(1, 4, 1)[0]), place, rewritten.encode())
    drawn, mark = made_again(sampler, place)
    assert mark.source_type == SOURCE_TYPE
    assert np.array_equal(np.asarray(drawn), sampler.sample(1, 4, 1)[0])


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'


@pytest.mark.parametrize(
    "recipe",
    ["[]", "{", '{"seed":"x"}', '{"n":-1}', '{"steps":3}', '{"latents":[["a"]]}', '{"n":1e9}',
     '{"n":400000000}', '{"seeds":[1],"labels":[1,2]}', '{"seed":1,"step":7}',
     '{"columns":"x","layout":"grid"}'],
)  # fmt: skip
def test_a_strangers_recipe_is_refused_in_a_line(sampler, tmp_path, recipe):
    packet = Marker(sampler.model_hash).packet({}).replace(b'"{}"', f"'{recipe}'".encode())
    assert recipe.encode() in packet
    place = tmp_path / "x.png"
    pictures.write_one(pictures.picture(sampler.sample(1)[0]), place, packet)
    with pytest.raises(InputError) as raised:
        made_again(sampler, place)
    assert "\n" not in str(raised.value)
    pictures.write_one(pictures.picture(sampler.sample(1)[0]), place, BOMB)
    with pytest.raises(InputError, match="no note"):
        marks.read(place)


@pytest.mark.parametrize("name", [b"g\xff\x01.onnx", b"a b.onnx", b"<&>'\".onnx"])
def test_whatever_a_file_is_called_its_pictures_can_be_read(sampler, tmp_path, name):
    called = origin.called(os.fsdecode(b"/a/folder/" + name))
    packet = Marker(sampler.model_hash, called).packet({"seed": 1})
    (tmp_path / "link.png").symlink_to("x.png")
    (tmp_path / "x.png").touch()
    pictures.write_one(pictures.picture(sampler.sample(1)[0]), tmp_path / "link.png", packet)
    assert (tmp_path / "link.png").is_symlink()
    assert marks.read(tmp_path / "x.png").model == called
    assert "folder" not in called


def test_what_is_more_than_a_mark_holds_is_left_out_and_said(sampler, tmp_path):
    packet = Marker(sampler.model_hash).packet({"seeds": list(range(20_000))})
    assert len(packet) < 2000
    assert json.dumps(SOURCE_TYPE)[1:-1].encode() in packet
    place = tmp_path / "x.png"
    pictures.write_one(pictures.picture(sampler.sample(1)[0]), place, packet)
    assert "more than a mark holds" in "\n".join(described(Path(place)))
