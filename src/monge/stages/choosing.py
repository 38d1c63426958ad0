"""Filling in every `auto` of a parameter file, and making a product of a set of images."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monge import products
from monge.data import watched
from monge.durations import duration
from monge.errors import InputError, SourceError
from monge.files import write_whole
from monge.params import Params, TrainParams, auto, load, typed
from monge.params.edit import laid_over
from monge.params.file import read
from monge.params.keys import annotation, canonical
from monge.paths import Paths

if TYPE_CHECKING:
    from monge.choosing.choice import Choice
    from monge.data.packed import PackedDataset

_ADDRESS = re.compile(r"[a-z][a-z0-9+]+:/", re.I)

log = logging.getLogger(__name__)

AFTERWARDS_S = 60.0
"""The time of the chain after the training, about: export, judging, promotion."""

CLASSIFIER_S = 60.0
"""The time that the features of labelled images take more, the first time."""

TRAINING_SHARE = 0.9
"""The training's share of what is left: looks, pictures and checkpoints take the rest."""

LEAST_TRAINING_S = 30.0


def choose(file: Path, paths: Paths, *, minutes: float) -> Iterator[str]:
    """Choose what is `auto` in a parameter file, and write it; a line for each choice.

    The parameters of `prepare` come from the images and those of `train` from the packed ones, so
    that a file with both takes two calls, with `prepare` between. Raises ParamsError, SourceError.
    """
    document = read(file)
    section = next((s for s in ("prepare", "train") if auto.unchosen(document, s)), None)
    if section is None:
        yield "nothing is auto: every value is there"
        return
    params = load(file, chosen=())
    found = (_packing if section == "prepare" else _training)(params, paths, document, minutes)
    wanted = set(auto.unchosen(document, section))
    chosen = [choice for choice in found if choice.key in wanted]
    values = {choice.key: choice.value for choice in chosen}
    text = laid_over(file.read_text(encoding="utf-8"), values, lambda _: None)
    write_whole(file, text.encode("utf-8"))
    load(file, chosen=("prepare",) if section == "prepare" else ("prepare", "train"))
    yield from map(str, chosen)


def _packing(
    params: Params, paths: Paths, document: auto.Document, minutes: float
) -> Sequence[Choice]:
    from monge.choosing import packing
    from monge.choosing.look import look
    from monge.data.sources import open_source

    del document
    source = open_source(params.prepare, paths.root, paths.downloads)
    seen = look(source.items, params.prepare.max_pixels)
    if not seen.looked_at:
        raise SourceError(
            f"{params.prepare.path}: none of its {seen.pictures} images can be read. "
            "`monge prepare` says why of each."
        )
    return packing.choices(seen, minutes, gpu=_has_gpu(params))


def _training(
    params: Params, paths: Paths, document: auto.Document, minutes: float
) -> Sequence[Choice]:
    from monge.choosing import training
    from monge.stages import agreement

    dataset = agreement.prepared(params, paths)
    fixed = {
        key: canonical(auto.value(document, key), annotation(key))
        for key in (*auto.KEYS, *auto.ALONG)
        if auto.value(document, key) not in (None, auto.AUTO)
    }
    images = _images(dataset)
    afterwards_s = AFTERWARDS_S + (CLASSIFIER_S if training.has_learnable(images) else 0.0)
    left_s = (minutes * 60 - afterwards_s) * TRAINING_SHARE
    seconds = max(LEAST_TRAINING_S, left_s)
    log.info("timing a few steps here, of each network that could be chosen")
    if left_s < LEAST_TRAINING_S:
        log.warning(
            "the time that is left is too short for a training and what follows it: it gets %s "
            "all the same, and the run ends later than asked", duration(seconds),
        )  # fmt: skip

    def timed(given: Mapping[str, object]) -> float:
        return _each_s(_with(params, given).train, dataset)

    return training.choices(images, seconds, timed, fixed, gpu=_has_gpu(params))


def _each_s(train: TrainParams, dataset: PackedDataset) -> float:
    """Seconds of an iteration on this machine, and not a line about it."""
    from monge.data.batches import Batches
    from monge.training.forecast.timing import timed
    from monge.training.machine.device import choose_device

    logging.disable(logging.INFO)
    try:
        device = choose_device(train.device)
        with Batches(dataset.train, train, device) as batches:
            return timed(train, dataset, batches, device, 0).each_s
    finally:
        logging.disable(logging.NOTSET)


def _images(dataset: PackedDataset) -> Any:
    import numpy as np

    from monge.choosing.training import Images

    labels = dataset.train.labels
    counts = () if labels is None else np.bincount(labels, minlength=len(dataset.class_names))
    return Images(len(dataset.train), dataset.image_shape, tuple(int(n) for n in counts))


def _with(params: Params, values: Mapping[str, Any]) -> Params:
    """The parameters with others by dotted key."""
    document = params.model_dump(by_alias=True)
    for name, value in values.items():
        *sections, key = name.split(".")
        target = document
        for section in sections:
            target = target[section]
        target[key] = value
    return Params.model_validate(document)


def _has_gpu(params: Params) -> bool:
    from monge.training.machine.device import choose_device

    return choose_device(params.train.device).type == "cuda"


def product_name(root: Path, images: Path) -> str:
    """The name of the product of these images: that of the one there is, or one that is free.

    Where their own name is a product's of other images, it gets a hash of their path. Raises
    ServiceError, and ParamsError for a parameter file that cannot be read.
    """
    home = products.home(root)
    images = _absolute(images, home)
    plain = products.name_for(images)
    names = [plain, products.with_hash(plain, str(images)), products.former_name_for(images)]
    for name in names:
        file = products.folder(home, name) / products.PARAMS
        if file.exists() and auto.value(read(file), "prepare.path") == _path(images, file.parent):
            return name
    is_taken = (products.folder(home, plain) / products.PARAMS).exists() or _is_known(home, plain)
    return names[1] if is_taken else plain


def new(root: Path, name: str, images: Path, overrides: Sequence[str]) -> Iterator[str]:
    """Make the folder of a product, with everything that can be chosen still `auto`; lines.

    The folder that is there for the same images already is kept. Raises InputError, SourceError,
    ParamsError, with nothing left behind.
    """
    home = products.home(root)
    if not (home / products.STAGES).is_file():
        raise InputError(f"{home}: has no dvc.yaml. Run this in a checkout of monge.")
    images = _absolute(images, home)
    place = products.folder(root, name)
    path = _path(images, place)
    if (place / products.PARAMS).exists():
        there = load(place / products.PARAMS, chosen=()).prepare.path
        if there != path:
            raise InputError(
                f"products/{name} is of other images ({there}). Take another name, or go on with "
                f"those: make run PRODUCT={name}"
            )
        yield f"products/{name} is there already: going on with it"
        return
    if _is_known(home, name):
        raise InputError(
            f"the registry has a model that is called {name}, of other images. Take another name."
        )
    values = dict.fromkeys(auto.KEYS, auto.AUTO) | {
        "prepare.source": "archive" if images.is_file() else "folder",
        "prepare.path": path, "promote.name": name,
    }  # fmt: skip
    text = laid_over((home / products.PARAMS).read_text(encoding="utf-8"), values, lambda _: None)
    pairs = [override.partition("=") for override in overrides]
    given = {key.strip(): typed(key.strip(), value) for key, _, value in pairs}
    text = laid_over(text, given, lambda _: None)
    with _nothing_left_behind(place):
        write_whole(place / products.PARAMS, text.encode("utf-8"))
        _require_pictures(load(place / products.PARAMS, chosen=()), Paths(place))
    products.write_stages(place)
    yield f"made products/{name}: parameters, data, checkpoints and reports of these images"


@contextmanager
def _nothing_left_behind(place: Path) -> Iterator[None]:
    """Make a product's folder, and remove it and its parameters if something is wrong with them."""
    around = place.parent
    made = [folder for folder in (place, around) if not folder.exists()]
    place.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        (place / products.PARAMS).unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):  # what else is there is not of this call
                folder.rmdir()
        raise


def _require_pictures(params: Params, paths: Paths) -> None:
    """Raise SourceError where there is no image, none that can be read, or what DVC will refuse."""
    from monge.choosing.look import unreadable
    from monge.data.sources import open_source
    from monge.data.telling import none_readable

    prepare = params.prepare
    source = open_source(prepare, paths.root, paths.downloads)
    if prepare.source == "folder":
        watched.refuse(paths.root / prepare.path)
    reasons: dict[str, str] = {}
    for name, encoded in source.items:
        reason = unreadable(encoded, prepare.max_pixels)
        if not reason:
            return
        reasons[name] = reason
    raise none_readable(prepare.path, reasons)


def _absolute(images: Path, home: Path) -> Path:
    """The whole path of a person's images. Raises SourceError where there can be none."""
    given = str(images)
    if _ADDRESS.match(given):
        address = given.replace(":/", "://", 1)  # a path has one slash
        raise SourceError(f"{address}: nothing is downloaded. Fetch the file, and name it here.")
    images = Path(os.path.abspath(images.expanduser()))
    if not (images.is_dir() or images.is_file()):
        raise SourceError(f"{images}: no such folder or archive. Name the one with your images.")
    if home.is_relative_to(images):
        raise SourceError(
            f"{images}: this checkout itself lies there, and what it makes would be taken for "
            "images. Name the folder that has your images and nothing else."
        )
    watched.require_utf8(str(images))
    return images


def _path(images: Path, place: Path) -> str:
    """`prepare.path` of a product in the folder `place`: relative within its checkout."""
    within = images.is_relative_to(products.home(place))
    return os.path.relpath(images, place) if within else str(images)


def _is_known(home: Path, name: str) -> bool:
    """Tell whether the registry has a model of that name. Raises ServiceError."""
    from monge.registry.names import known_names

    return name in known_names(home)
