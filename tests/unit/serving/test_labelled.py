"""Protects: a conditional file draws the class that it is asked for, and says what it needs."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import onnxruntime
import pyarrow.parquet
import pytest
from PIL import Image

from monge.errors import InputError, ModelFileError
from monge.labels import drawn
from monge.latents import latents, slerp
from monge.serving import bulk
from monge.serving.inspect import describe
from monge.serving.sampler import Sampler
from tests.running import DIM, SHARES


@pytest.fixture
def sampler(conditional, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Sampler.load(conditional, "cpu")


def reference(path, batch, labels):
    """The file in a runtime of its own."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["images"], {"latents": batch, "labels": np.asarray(labels, np.int64)})[0]


def test_labels_that_nobody_chose_are_those_of_seed_and_index(sampler, conditional):
    images = sampler.sample(40, seed=5, first=3)
    expected = reference(conditional, latents(5, 3, 40, DIM), drawn(5, 3, 40, SHARES))
    assert np.array_equal(images, expected)
    assert np.array_equal(np.concatenate(list(sampler.stream(40, 5, 3))), expected)


@pytest.mark.parametrize("batches", [None, (1, 4, 16)])
def test_a_class_is_drawn_by_number_by_name_and_image_by_image(conditional, batches):
    sampler = Sampler.load(conditional, "cpu", batches=batches)
    batch = latents(5, 0, 21, DIM)
    dogs = reference(conditional, batch, [1] * 21)
    cats = reference(conditional, batch, [0] * 21)
    assert not np.array_equal(dogs, cats)
    for asked in (1, "dog", np.int64(1), ["dog"] * 21, np.ones(21, np.uint8)):
        assert np.array_equal(sampler.sample(21, seed=5, labels=asked), dogs)
    mixed = [i % 3 for i in range(21)]
    expected = reference(conditional, batch, mixed)
    assert np.array_equal(sampler.sample(21, seed=5, labels=mixed), expected)
    assert np.array_equal(sampler.run(batch, np.array(mixed)), expected)
    assert np.array_equal(np.concatenate(list(sampler.stream(21, 5, label="dog"))), dogs)


def test_a_walk_keeps_one_label(sampler, conditional):
    ends = np.concatenate([latents(seed, 0, 1, DIM) for seed in (4, 9)])
    between = slerp(ends[:1], ends[1:], np.linspace(0, 1, 5)[None])[0]
    for label, expected in (("eel", 2), (None, int(drawn(4, 0, 1, SHARES)[0]))):
        walked = sampler.interpolate([4, 9], 5, label)[0]
        assert np.array_equal(walked, reference(conditional, between, [expected] * 5))


def test_what_makes_no_sense_is_refused_in_one_line(sampler, model):
    batch = latents(0, 0, 2, DIM)
    for ask, told in (
        (lambda: sampler.sample(2, labels="cow"), "no class is called 'cow'"),
        (lambda: sampler.sample(2, labels=3), "from 0 to 2, got 3"),
        (lambda: sampler.sample(2, labels=[0, 1, 2]), "2 images need 2 labels"),
        (lambda: sampler.run(batch), "labels are needed: 2 whole numbers from 0 to 2"),
        (lambda: sampler.run(batch, np.array([0, -1])), "from 0 to 2"),
        (lambda: sampler.walk(batch[:1], batch[1:], 3), "labels are needed"),
        (lambda: Sampler.load(model, "cpu").sample(2, labels=0), "takes no labels"),
        (lambda: Sampler.load(model, "cpu").run(batch, np.zeros(2, int)), "takes no labels"),
        (lambda: Sampler.load(model, "cpu").interpolate([0, 1], 2, 0), "takes no labels"),
    ):
        with pytest.raises(InputError, match=told) as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_a_file_that_promises_labels_and_takes_none_is_refused(model, tmp_path):
    import onnx

    broken = onnx.load(model)
    document = json.loads(broken.metadata_props[0].value)
    document |= {"classes": ["a", "b"], "label_shares": [0.5, 0.5]}
    broken.metadata_props[0].value = json.dumps(document)
    onnx.save(broken, tmp_path / "broken.onnx")
    with pytest.raises(ModelFileError, match="its input must be .* and .*'labels'"):
        Sampler.load(tmp_path / "broken.onnx", "cpu")


def test_inspect_says_that_labels_are_needed(conditional):
    assert "  labels     0 to 2, a class for each image" in list(describe(conditional, "cpu"))


@pytest.mark.parametrize("label", [None, 2])
def test_shards_say_which_class_each_image_is_of(sampler, tmp_path, label):
    plan = bulk.Plan(n=30, seed=3, shard_size=20, model_hash=sampler.model_hash, label=label)
    bulk.write(sampler, tmp_path / "out", plan)
    expected = drawn(3, 0, 30, SHARES) if label is None else np.full(30, label)
    images = sampler.sample(30, seed=3, labels=expected)
    with tarfile.open(tmp_path / "out" / plan.name(1)) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    assert [int(files[f"{i:012}.cls"]) for i in range(20, 30)] == expected[20:].tolist()
    shown = np.asarray(Image.open(io.BytesIO(files["000000000025.png"])))
    assert np.array_equal(shown, images[25])
    table = bulk.Plan(n=30, seed=3, model_hash=sampler.model_hash, label=label, format="parquet")
    bulk.write(sampler, tmp_path / "table", table)
    rows = pyarrow.parquet.read_table(tmp_path / "table" / table.name(0))
    assert rows["label"].to_pylist() == expected.tolist()
    with pytest.raises(InputError, match="meant for other images: label"):
        bulk.begin(tmp_path / "table", bulk.Plan(
            n=30, seed=3, model_hash=sampler.model_hash, label=1, format="parquet"
        ))  # fmt: skip
