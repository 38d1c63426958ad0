"""The datasets that torchvision knows, with their official splits: test becomes validation."""

from __future__ import annotations

import importlib
import re
import socket
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.data.encoded import Encoded
from monge.data.listing import Item, Source
from monge.data.replacement import DISK_FAULTS, storage_error
from monge.errors import MissingExtra, ServiceError, SourceError

_TIMEOUT_S = 30
_DIGIT_NAMES = [str(digit) for digit in range(10)]

# Where torchvision looks, and what for: said when a download fails.
_BY_HAND = {
    "mnist": "MNIST/raw: train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
    "t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz",
    "fashion-mnist": "FashionMNIST/raw: train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
    "t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz",
    "cifar10": "cifar-10-python.tar.gz",
    "svhn": "train_32x32.mat, test_32x32.mat",
    "stl10": "stl10_binary.tar.gz",
    "celeba": "celeba: img_align_celeba.zip, list_attr_celeba.txt, identity_CelebA.txt, "
    "list_bbox_celeba.txt, list_landmarks_align_celeba.txt, list_eval_partition.txt",
    "lsun": "the unpacked folders CATEGORY_train_lmdb and CATEGORY_val_lmdb",
}


def torchvision_set(name: str, downloads: Path) -> Source:
    """One of torchvision's datasets, downloaded into `downloads` unless it is there.

    Raises MissingExtra without torchvision, ServiceError when the download fails.
    """
    source = Source({"kind": name}, iter(()))
    if name == "lsun":
        source.items = _lsun(downloads, source)
        return source
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise MissingExtra(
            f"prepare.source: {name} needs torchvision ({reason}). "
            "Run pip install 'monge[pipeline]'."
        ) from None
    if name == "celeba":
        source.items = _celeba(datasets, downloads)
    else:
        splits = [_arrays(datasets, name, downloads, split) for split in ("train", "test")]
        source.titles = splits[0][2]
        source.count = sum(len(labels) for _, labels, _ in splits)
        source.items = _array_items(splits)
    return source


def _array_items(splits: list[tuple[NDArray[np.uint8], NDArray[Any], list[str]]]) -> Iterator[Item]:
    for split, (images, labels, _) in zip(("train", "test"), splits, strict=True):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield f"{split}/{int(label):04d}/{number:08d}", image


def _arrays(
    datasets: Any, name: str, downloads: Path, split: str
) -> tuple[NDArray[np.uint8], NDArray[Any], list[str]]:
    """Images uint8 [n, H, W] or [n, H, W, 3], labels int [n], class names in label order."""
    train = split == "train"
    with _download(name, downloads):
        if name in ("mnist", "fashion-mnist"):
            kind = datasets.MNIST if name == "mnist" else datasets.FashionMNIST
            loaded = kind(downloads, train=train, download=True)
            return loaded.data.numpy(), loaded.targets.numpy(), list(loaded.classes)
        if name == "cifar10":
            loaded = datasets.CIFAR10(downloads, train=train, download=True)
            return loaded.data, np.asarray(loaded.targets), list(loaded.classes)
        if name == "svhn":
            loaded = datasets.SVHN(downloads, split=split, download=True)
            return loaded.data.transpose(0, 2, 3, 1), loaded.labels, _DIGIT_NAMES
        loaded = datasets.STL10(downloads, split=split, download=True)
        return loaded.data.transpose(0, 2, 3, 1), loaded.labels, list(loaded.classes)


def _celeba(datasets: Any, downloads: Path) -> Iterator[Item]:
    """Unlabelled: its forty attributes are no classes. valid and test are both held out."""
    for split in ("train", "valid", "test"):
        with _download("celeba", downloads):
            loaded = datasets.CelebA(downloads, split=split, download=True)
        folder = Path(loaded.root) / loaded.base_folder / "img_align_celeba"
        for file in loaded.filename:
            path: Encoded = str(folder / file)
            yield f"{split}/{file}", path


def _lsun(downloads: Path, source: Source) -> Iterator[Item]:
    """Every category that is there; nobody offers LSUN for download by program.

    Read from its databases directly: torchvision's reader leaves a pickle in the current folder
    and loads the one that it finds there.
    """
    found = sorted(downloads.glob("*_lmdb"))
    parts = [part for path in found if (part := re.fullmatch(r"(.+)_(train|val)_lmdb", path.name))]
    if not parts:
        raise SourceError(f"lsun: nothing in {downloads.name}. Put there {_BY_HAND['lsun']}.")
    try:
        lmdb: Any = importlib.import_module("lmdb")
    except ImportError:
        raise MissingExtra("lsun needs the package lmdb. Run pip install lmdb.") from None
    source.titles = sorted({part[1] for part in parts})
    for part in parts:
        folder, label = downloads / part[0], source.titles.index(part[1])
        try:
            with lmdb.open(str(folder), readonly=True, lock=False, readahead=False) as database:
                for key, encoded in database.begin().cursor():
                    yield f"{part[2]}/{label:04d}/{key.hex()}", encoded
        except lmdb.Error as error:
            raise SourceError(f"lsun: {folder.name} cannot be read ({error}).") from None


@contextmanager
def _download(name: str, downloads: Path) -> Iterator[None]:
    """Say a failed download in one line, with what to do by hand."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, RuntimeError, EOFError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            raise storage_error(downloads, error) from None
        reason = textwrap.shorten(str(error), 160, placeholder=" ...")
        raise ServiceError(
            f"{name}: cannot be downloaded ({reason}). Fetch it elsewhere and put into {downloads} "
            f"by hand: {_BY_HAND[name]}"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
