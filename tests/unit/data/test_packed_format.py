"""The packed format: what any reader may rely on, and what ours refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monge.data.packed import PackedDataset
from monge.data.writer import PackedWriter
from monge.errors import Busy, DatasetError

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 4), dtype=np.uint8)
LABELS = np.arange(10, dtype=np.int64) % 2


def write(folder: Path, *, shard_bytes: int = 2**30, classes: tuple[str, ...] = ("cat", "é")):
    labels = LABELS if classes else None
    with PackedWriter(folder, (3, 4, 4), classes, shard_bytes=shard_bytes) as writer:
        for part in (slice(0, 3), slice(3, 7)):
            writer.append("train", IMAGES[part], None if labels is None else labels[part])
        writer.append("validation", IMAGES[7:], None if labels is None else labels[7:])
        return writer.finish(source={"kind": "made"})


def read_independently(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Another program's reader: JSON and np.load, nothing from monge."""
    facts = json.loads((folder / "manifest.json").read_text("utf-8"))["splits"][split]
    images = np.concatenate([np.load(folder / shard["file"]) for shard in facts["shards"]])
    return images, np.load(folder / facts["labels"])


@pytest.mark.parametrize("shard_bytes", [2**30, 2 * 48, 1])
def test_plain_numpy_and_json_read_what_was_written(tmp_path: Path, shard_bytes: int) -> None:
    write(tmp_path / "d", shard_bytes=shard_bytes)
    for split, rows in (("train", slice(0, 7)), ("validation", slice(7, 10))):
        images, labels = read_independently(tmp_path / "d", split)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(images, IMAGES[rows])
        np.testing.assert_array_equal(labels, LABELS[rows])


def test_manifest_states_counts_classes_and_true_hashes(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    write(folder, shard_bytes=2 * 48)
    text = (folder / "manifest.json").read_text("utf-8")
    manifest = json.loads(text)
    assert text == json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert manifest["format_version"] == 1
    assert manifest["image_shape"] == [3, 4, 4]
    assert manifest["class_names"] == ["cat", "é"]
    assert manifest["splits"]["train"]["per_class"] == [4, 3]
    assert [s["count"] for s in manifest["splits"]["train"]["shards"]] == [2, 2, 2, 1]
    on_disk = {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert set(manifest["files"]) == on_disk
    for name, facts in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert facts == {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
        }


def test_content_hash_ignores_sharding_and_sees_images_labels_and_names(tmp_path: Path) -> None:
    whole = write(tmp_path / "a").content_hash
    assert write(tmp_path / "b", shard_bytes=100).content_hash == whole
    assert write(tmp_path / "c", classes=("cat", "dog")).content_hash != whole
    assert write(tmp_path / "d", classes=()).content_hash != whole
    for images, labels in ((IMAGES[::-1], LABELS), (IMAGES, LABELS[::-1])):
        with PackedWriter(tmp_path / "e", (3, 4, 4), ["cat", "é"]) as writer:
            writer.append("train", images[:7], labels[:7])
            writer.append("validation", images[7:], labels[7:])
            assert writer.finish().content_hash != whole


@pytest.mark.parametrize("shard_bytes", [2**30, 2 * 48])
def test_take_returns_fresh_copies_in_the_asked_order(tmp_path: Path, shard_bytes: int) -> None:
    train = write(tmp_path / "d", shard_bytes=shard_bytes).train
    order = np.array([6, 0, 3, 3, 5])
    taken = train.take(order)
    np.testing.assert_array_equal(taken, IMAGES[order])
    taken[:] = 0
    np.testing.assert_array_equal(train.take(order), IMAGES[order])
    assert train.take(np.array([], np.int64)).shape == (0, 3, 4, 4)
    assert len(train) == 7
    assert train.shape == (7, 3, 4, 4)
    assert all(isinstance(shard.base, np.memmap) for shard in train.shards)
    for bad in (-1, 7):
        with pytest.raises(IndexError):
            train.take(np.array([0, bad]))


def test_unlabelled_has_no_labels_and_no_label_file(tmp_path: Path) -> None:
    dataset = write(tmp_path / "d", classes=())
    assert dataset.train.labels is None
    assert dataset.class_names == ()
    assert not list((tmp_path / "d").glob("*labels*"))


def edit(change: Any) -> Any:
    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text("utf-8"))
        change(manifest)
        path.write_text(json.dumps(manifest), "utf-8")

    return damage


def cut(name: str, by: int) -> Any:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-by])


def save(name: str, array: Any, **how: Any) -> Any:
    return lambda folder: np.save(folder / name, array, **how)


DAMAGES = {
    "truncated images": cut("train.npy", 1),
    "truncated to nothing": cut("train.npy", 128 + 7 * 48),
    "longer images": lambda f: (f / "train.npy").write_bytes((f / "train.npy").read_bytes() + b"x"),
    "truncated labels": cut("train-labels.npy", 8),
    "missing images": lambda f: (f / "validation.npy").unlink(),
    "other dtype": save("train.npy", IMAGES[:7].astype(np.int8)),
    "other shape": save("train.npy", IMAGES[:7].transpose(0, 2, 3, 1)),
    "fortran order": save("train.npy", np.asfortranarray(IMAGES[:7])),
    "pickled objects": save("train.npy", np.array([{}] * 7, object), allow_pickle=True),
    "label out of range": save("train-labels.npy", np.full(7, 2, np.int64)),
    "negative label": save("train-labels.npy", np.full(7, -1, np.int64)),
    "manifest no JSON": lambda f: (f / "manifest.json").write_text("{"),
    "manifest deep": lambda f: (f / "manifest.json").write_text("[" * 100_000),
    "manifest a list": lambda f: (f / "manifest.json").write_text("[]"),
    "count absurd": edit(lambda m: m["splits"]["train"].update(count=2**60)),
    "count negative": edit(lambda m: m["splits"]["train"].update(count=-7)),
    "count a float": edit(lambda m: m["splits"]["train"].update(count=7.0)),
    "count a bool": edit(lambda m: m["splits"]["train"].update(count=True)),
    "shards do not add up": edit(lambda m: m["splits"]["train"]["shards"].append(
        {"file": "validation.npy", "count": 3})),
    "no shards": edit(lambda m: m["splits"]["train"].update(shards=[])),
    "shape absurd": edit(lambda m: m.update(image_shape=[3, 10**9, 4])),
    "shape short": edit(lambda m: m.update(image_shape=[3, 4])),
    "classes twice": edit(lambda m: m.update(class_names=["a", "a"])),
    "classes no list": edit(lambda m: m.update(class_names="ab")),
    "no splits": edit(lambda m: m.pop("splits")),
    "file elsewhere": edit(
        lambda m: m["splits"]["train"]["shards"][0].update(file="../d/train.npy")),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_open_refuses_a_damaged_dataset_and_names_the_remedy(tmp_path: Path, damage: Any) -> None:
    write(tmp_path / "d")
    damage(tmp_path / "d")
    with pytest.raises(DatasetError, match="monge prepare") as caught:
        PackedDataset.open(tmp_path / "d")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_open_refuses_a_missing_folder_and_another_version(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no packed dataset here"):
        PackedDataset.open(tmp_path / "none")
    write(tmp_path / "d")
    edit(lambda manifest: manifest.update(format_version=2))(tmp_path / "d")
    with pytest.raises(DatasetError, match="format 2"):
        PackedDataset.open(tmp_path / "d")


def test_verify_finds_one_changed_bit(tmp_path: Path) -> None:
    dataset = write(tmp_path / "d")
    dataset.verify()
    path = tmp_path / "d" / "validation.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    changed = PackedDataset.open(tmp_path / "d")
    with pytest.raises(DatasetError, match=r"validation\.npy has changed"):
        changed.verify()


def test_old_dataset_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    before = write(tmp_path / "d").content_hash
    with PackedWriter(tmp_path / "d", (3, 4, 4)) as writer:
        writer.append("train", IMAGES)
        with pytest.raises(DatasetError, match="validation split has no image"):
            writer.finish()
    dataset = PackedDataset.open(tmp_path / "d")
    dataset.verify()
    assert dataset.content_hash == before
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_new_dataset_replaces_the_old_one_completely(tmp_path: Path) -> None:
    write(tmp_path / "d", shard_bytes=48)
    write(tmp_path / "d").verify()
    names = sorted(path.name for path in (tmp_path / "d").iterdir())
    assert names == [
        "manifest.json", "train-labels.npy", "train.npy", "validation-labels.npy",
        "validation.npy",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_two_writers_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    with (
        PackedWriter(tmp_path / "d", (3, 4, 4)),
        pytest.raises(Busy),
        PackedWriter(tmp_path / "d", (3, 4, 4)),
    ):
        pass


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES.astype(np.int16), LABELS),
        (IMAGES[:, :1], LABELS),
        (IMAGES, None),
        (IMAGES, LABELS[:3]),
        (IMAGES, LABELS + 1),
        (IMAGES, LABELS - 1),
    ],
)
def test_writer_refuses_what_does_not_fit(tmp_path: Path, images: Any, labels: Any) -> None:
    with (
        PackedWriter(tmp_path / "d", (3, 4, 4), ["a", "b"]) as writer,
        pytest.raises(ValueError, match=r"must|expected"),
    ):
        writer.append("train", images, labels)
