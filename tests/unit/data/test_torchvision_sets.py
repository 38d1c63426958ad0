"""torchvision's datasets, each from tiny files in its own format on disk."""

from __future__ import annotations

import gzip
import pickle
import socket
import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from monge.data.packed import PackedDataset
from monge.data.prepare import prepare
from monge.errors import MissingExtra, ServiceError, SourceError, StorageError
from monge.params import PrepareParams

RNG = np.random.default_rng(2)
CIFAR = [
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
]  # fmt: skip
STL = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def no_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our tiny files cannot have the official MD5; being there is still checked."""
    from torchvision.datasets import celeba, cifar, stl10, svhn, utils

    for module in (celeba, cifar, stl10, svhn, utils):
        monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: Path(path).is_file())


def run(root: Path, source: str, **params: Any) -> PackedDataset:
    asked = PrepareParams(source=source, **params)
    return prepare(asked, root, root / "downloads", root / "data" / "prepared")


def split_rows(dataset: PackedDataset) -> list[tuple[np.ndarray, list[int]]]:
    return [
        (split.shards[0], [] if split.labels is None else split.labels.tolist())
        for split in (dataset.train, dataset.validation)
    ]


def by_label(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Packed images are ordered by class, then by their number."""
    order = np.argsort(labels, kind="stable")
    return images[order], labels[order].tolist()


def same(dataset: PackedDataset, wanted: list[tuple[np.ndarray, list[int]]]) -> None:
    for (images, labels), (want, want_labels) in zip(split_rows(dataset), wanted, strict=True):
        np.testing.assert_array_equal(images, want)
        assert labels == want_labels


@pytest.mark.parametrize(
    ("source", "folder", "class_seven"),
    [("mnist", "MNIST", "7 - seven"), ("fashion-mnist", "FashionMNIST", "Sneaker")],
)
def test_idx_files(tmp_path: Path, source: str, folder: str, class_seven: str) -> None:
    raw = tmp_path / "downloads" / folder / "raw"
    raw.mkdir(parents=True)
    wanted = []
    for prefix, count in (("train", 30), ("t10k", 20)):
        images = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        head = struct.pack(">IIII", 0x803, count, 28, 28)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = struct.pack(">II", 0x801, count)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
        wanted.append(by_label(images[:, None], labels))
    dataset = run(tmp_path, source, resolution=28)
    assert dataset.class_names[7] == class_seven
    assert len(dataset.class_names) == 10
    same(dataset, wanted)
    assert dataset.manifest["source"] == {"kind": source}


def test_cifar10_batches(tmp_path: Path, no_checksums: None) -> None:
    folder = tmp_path / "downloads" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = CIFAR
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    (tmp_path / "downloads" / "cifar-10-python.tar.gz").write_bytes(b"unpacked already")
    parts = []
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        images = RNG.integers(0, 256, (10, 3072), dtype=np.uint8)
        labels = RNG.permutation(10).tolist()
        (folder / name).write_bytes(pickle.dumps({"data": images, "labels": labels}))
        parts.append((images.reshape(-1, 3, 32, 32), np.array(labels)))
    dataset = run(tmp_path, "cifar10", resolution=32, colour="rgb")
    assert dataset.class_names == tuple(names)
    train = by_label(
        np.concatenate([images for images, _ in parts[:5]]),
        np.concatenate([labels for _, labels in parts[:5]]),
    )
    same(dataset, [train, by_label(*parts[5])])


def test_svhn_matrices(tmp_path: Path, no_checksums: None) -> None:
    (tmp_path / "downloads").mkdir()
    wanted = []
    for split in ("train", "test"):
        images = RNG.integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
        digits = np.arange(20) % 10
        stored = np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]
        path = tmp_path / "downloads" / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": images, "y": stored})
        wanted.append(by_label(images.transpose(3, 2, 0, 1), digits))
    dataset = run(tmp_path, "svhn", resolution=32, colour="rgb")
    assert dataset.class_names == tuple("0123456789")
    same(dataset, wanted)


def test_stl10_binaries(tmp_path: Path, no_checksums: None) -> None:
    folder = tmp_path / "downloads" / "stl10_binary"
    folder.mkdir(parents=True)
    names = STL
    (folder / "class_names.txt").write_text("\n".join(names))
    (folder / "unlabeled_X.bin").write_bytes(b"")
    (tmp_path / "downloads" / "stl10_binary.tar.gz").write_bytes(b"unpacked already")
    wanted = []
    for split in ("train", "test"):
        images = RNG.integers(0, 256, (10, 3, 96, 96), dtype=np.uint8)
        labels = RNG.permutation(10)
        # Stored column by column; labels from 1.
        (folder / f"{split}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{split}_y.bin").write_bytes((labels + 1).astype(np.uint8).tobytes())
        wanted.append(by_label(images, labels))
    dataset = run(tmp_path, "stl10", resolution=96, colour="rgb")
    assert dataset.class_names == tuple(names)
    same(dataset, wanted)


def test_celeba_files_with_its_own_partition(tmp_path: Path, no_checksums: None) -> None:
    folder = tmp_path / "downloads" / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    (folder / "img_align_celeba.zip").write_bytes(b"unpacked already")
    files = [f"{number:06d}.png" for number in range(1, 9)]
    parts = [0, 0, 1, 2, 0, 0, 1, 2]
    for number, file in enumerate(files):
        image = Image.new("RGB", (178, 218), (number, 0, 0))
        image.save(folder / "img_align_celeba" / file)

    def table(name: str, head: str, *columns: Any) -> None:
        rows = [" ".join(map(str, row)) for row in zip(files, *columns, strict=True)]
        (folder / name).write_text(head + "\n".join(rows) + "\n")

    ones = [1] * 8
    table("list_eval_partition.txt", "", parts)
    table("identity_CelebA.txt", "", ones)
    table("list_bbox_celeba.txt", "8\nimage_id x y\n", ones, ones)
    table("list_landmarks_align_celeba.txt", "8\nx y\n", ones, ones)
    table("list_attr_celeba.txt", "8\nYoung Smiling\n", ones, ones)
    dataset = run(tmp_path, "celeba", resolution=64, colour="rgb")
    assert dataset.class_names == ()
    assert dataset.train.shards[0][:, 0, 0, 0].tolist() == [0, 1, 4, 5]
    assert dataset.validation.shards[0][:, 0, 0, 0].tolist() == [3, 7, 2, 6]


def lsun_folders(tmp_path: Path) -> None:
    for name in ("tower_train_lmdb", "tower_val_lmdb", "bedroom_train_lmdb", "bedroom_val_lmdb"):
        (tmp_path / "downloads" / name).mkdir(parents=True)
        for number in range(3):
            image = Image.new("RGB", (20, 10), (len(name) * 10 + number, 0, 0))
            image.save(tmp_path / "downloads" / name / f"{number}.png")


def test_lsun_categories_become_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database library itself is stood in for by a folder of files: it is not in our lock."""

    class Database:
        def __init__(self, path: str, **_: Any) -> None:
            self.files = sorted(Path(path).glob("*.png"))

        def __enter__(self) -> Database:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def begin(self) -> Database:
            return self

        def cursor(self) -> list[tuple[bytes, bytes]]:
            return [(file.name.encode(), file.read_bytes()) for file in self.files]

    lmdb = types.ModuleType("lmdb")
    lmdb.open = Database  # type: ignore[attr-defined]
    lmdb.Error = KeyError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lmdb", lmdb)
    lsun_folders(tmp_path)
    dataset = run(tmp_path, "lsun", resolution=10, colour="rgb")
    assert dataset.class_names == ("bedroom", "tower")
    (train, train_labels), (held, held_labels) = split_rows(dataset)
    assert train_labels == held_labels == [0, 0, 0, 1, 1, 1]
    assert train[:, 0, 0, 0].tolist() == [180, 181, 182, 160, 161, 162]
    assert held[:, 0, 0, 0].tolist() == [160, 161, 162, 140, 141, 142]


def test_lsun_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="CATEGORY_train_lmdb"):
        run(tmp_path, "lsun")
    lsun_folders(tmp_path)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(MissingExtra, match="pip install lmdb"):
        run(tmp_path, "lsun")


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("mnist", "MNIST/raw: train-images-idx3-ubyte.gz"),
        ("cifar10", "cifar-10-python.tar.gz"),
        ("svhn", "train_32x32.mat"),
        ("stl10", "stl10_binary.tar.gz"),
        ("celeba", "img_align_celeba.zip"),
    ],
)
def test_without_a_network_one_line_says_where_to_put_the_files(
    tmp_path: Path, source: str, file: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        run(tmp_path, source)
    message = str(caught.value)
    assert message.startswith(f"{source}: cannot be downloaded (")
    assert str(tmp_path / "downloads") in message
    assert file in message
    assert "\n" not in message
    assert len(message) < 600


def test_a_damaged_download_is_said_too(tmp_path: Path) -> None:
    raw = tmp_path / "downloads" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"not the data set"))
    with pytest.raises(ServiceError, match="mnist: cannot be downloaded"):
        run(tmp_path, "mnist")


def test_without_torchvision_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingExtra, match=r"pip install 'monge\[pipeline\]'"):
        run(tmp_path, "mnist")


def test_a_downloads_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "downloads").symlink_to("/proc/self/nowhere")
    with pytest.raises((StorageError, ServiceError), match="downloads"):
        run(tmp_path, "cifar10")
