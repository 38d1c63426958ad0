"""Looks hourly for new images, whether they drift, and whether to train again."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monge.errors import DatasetError, EnvironmentFault
from monge.params import Params
from monge.paths import Paths
from monge.versions import keeping

if TYPE_CHECKING:
    from monge.data.packed import Images, PackedDataset
    from monge.metrics.features import Extractor
    from monge.registry.models import Registry, Version
    from monge.versions.drift import Policy, Window

_SHOWN = 32

Hashes = NDArray[np.void]


@dataclass(frozen=True)
class Notice:
    """The finding of a look: whether to train, the reason as a sentence, figures, and a picture.

    The picture is a PNG of new images beside old ones; empty where nothing is new.
    """

    train: bool
    sentence: str
    figures: dict[str, Any] = field(default_factory=dict)
    picture: bytes = b""


def notice(params: Params, paths: Paths, policy: Policy) -> Notice:
    """Look at the images as they are now, beside those that were packed for the last training.

    Raises what `prepare` does: images that break their contract are trained on by nobody.
    """
    from monge.data.packed import PackedDataset
    from monge.data.prepare import prepare
    from monge.stages import agreement

    try:
        PackedDataset.open(paths.prepared)
    except DatasetError:
        return Notice(True, "nothing is packed here yet: a first training")
    old = agreement.prepared(params, paths)
    paths.own_state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.own_state) as folder:
        now = prepare(params.prepare, paths.root, paths.downloads, Path(folder) / "now")
        if now.content_hash == old.content_hash:
            return Notice(False, "nothing new: the images are those of the last training")
        return _compared(paths, policy, old, now, _champions_images(params, paths))


def _compared(
    paths: Paths, policy: Policy, old: PackedDataset, now: PackedDataset, champions: str | None
) -> Notice:
    from monge.metrics.pretrained import pretrained_extractor
    from monge.versions import drift

    look, state = pretrained_extractor(), _state(paths, old.content_hash)
    images, hashes = _new(old, now)
    fresh = ~np.isin(hashes, state.seen)
    reference, shown, whose = _reference(paths, old, champions, look)
    if fresh.sum() >= policy.window_images:
        rows = np.flatnonzero(fresh)[drift.chosen(int(fresh.sum()), 0)]
        date = datetime.now(UTC).isoformat(timespec="seconds")
        seen = drift.features(images[rows], look)
        state.windows.append(drift.compare(reference, seen, date, int(fresh.sum())))
        state.seen = np.concatenate([state.seen, hashes[fresh]])
        _keep(paths, old.content_hash, state, policy.windows)
    there = len(old.train) + len(old.validation)
    decision = drift.decide(policy, len(images), there, state.windows)
    gone = there + len(images) - len(now.train) - len(now.validation)
    figures = {
        "new images": len(images), "images of the last training": there,
        "images that are gone": gone, "compared with": whose,
        "windows": [asdict(window) for window in state.windows[-policy.windows :]],
    }  # fmt: skip
    changed = f"; {gone:,} are gone" if gone else ""
    picture = _beside(shown, images[-_SHOWN:]) if len(images) else b""
    return Notice(decision.train, decision.reason + changed, figures, picture)


@dataclass
class _State:
    """The windows since the last training, and hashes of the images that were in them."""

    windows: list[Window]
    seen: Hashes


def _state(paths: Paths, dataset: str) -> _State:
    """Read what earlier looks left; nothing once another dataset was trained on."""
    from monge.versions.drift import Window

    kept = keeping.kept(_file(paths), dataset) or {}
    with suppress(KeyError, TypeError):  # none yet, or those of a monge that kept others
        windows = [Window(**each) for each in json.loads(str(kept["windows"]))]
        return _State(windows, kept["seen"])
    return _State([], np.zeros(0, "V16"))


def _keep(paths: Paths, dataset: str, state: _State, windows: int) -> None:
    told = json.dumps([asdict(window) for window in state.windows[-windows:]])
    keeping.keep(_file(paths), dataset, windows=np.array(told), seen=state.seen)


def _file(paths: Paths) -> Path:
    return paths.own_state / "new-data.npz"


def _new(old: PackedDataset, now: PackedDataset) -> tuple[Images, Hashes]:
    """The packed images that are not among the old ones, in the order of their names."""
    known = np.concatenate([_hashes(split) for split in (old.train, old.validation)])
    found, hashes = [], []
    for split in (now.train, now.validation):
        own = _hashes(split)
        rows = np.flatnonzero(~np.isin(own, known))
        found.append(split.take(rows))
        hashes.append(own[rows])
    return np.concatenate(found), np.concatenate(hashes)


def _hashes(split: Any) -> Hashes:
    """A hash of each packed image, 16 bytes [n]."""
    digests = [
        hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        for shard in split.shards
        for image in shard
    ]
    return np.frombuffer(b"".join(digests), "V16")


def _reference(
    paths: Paths, old: PackedDataset, champions: str | None, look: Extractor
) -> tuple[NDArray[np.float64], Images, str]:
    """Features and some images of what the champion was trained on, and whose they are.

    They are kept when the champion's images are those that are packed, for the time when these
    are others; where they were not kept, those of the last training stand in.
    """
    from monge.versions import drift

    file, key = paths.own_state / "champion-images.npz", f"{champions} {look.hash}"
    kept = keeping.kept(file, key)
    if kept is not None:
        return kept["features"], kept["images"], "the champion's images"
    images = old.train.take(drift.chosen(len(old.train), 1))
    found = drift.features(images, look), images[:_SHOWN]
    if champions != old.content_hash:
        return *found, "the images of the last training"
    keeping.keep(file, key, features=found[0], images=found[1])
    return *found, "the champion's images"


def _champions_images(params: Params, paths: Paths) -> str | None:
    """The hash of the packed images that the champion was trained on, where that is known."""
    found = _champion(params, paths)
    return None if found is None else found[1].tags.get("monge.dataset")


def _champion(params: Params, paths: Paths) -> tuple[Registry, Version] | None:
    """The champion and its registry; none where that does not answer, for the look need not wait.

    Asking makes no registry.
    """
    from monge.registry.models import Registry
    from monge.registry.names import known_names

    with suppress(EnvironmentFault):
        if params.promote.name in known_names(paths.root):
            registry = Registry(paths.root, params.promote.name)
            champion = registry.champion()
            return None if champion is None else (registry, champion)
    return None


def _beside(old: Images, new: Images) -> bytes:
    """A PNG: old images on the left, new ones on the right of a white stripe."""
    from PIL import Image

    from monge.pictures import tile

    parts = [tile(np.moveaxis(each, 1, -1), 8) for each in (old, new)]
    height = max(part.shape[0] for part in parts)
    canvas = np.full((height, parts[0].shape[1] + parts[1].shape[1] + 16, 3), 255, np.uint8)
    canvas[: parts[0].shape[0], : parts[0].shape[1]] = parts[0]
    canvas[: parts[1].shape[0], -parts[1].shape[1] :] = parts[1]
    data = io.BytesIO()
    Image.fromarray(canvas).save(data, "PNG")
    return data.getvalue()


def start_of(params: Params, paths: Paths) -> tuple[list[str], str]:
    """The changes of parameters by which a training goes on from the champion, and a sentence.

    There are none where the champion's checkpoints are not here: the training begins afresh then.
    """
    from monge.serving.sampler import Sampler
    from monge.training.checkpoints import checkpoint, record

    found = _champion(params, paths)
    if found is not None and checkpoint.latest(paths.checkpoints) is not None:
        registry, champion = found
        of = Sampler.load(registry.fetch(champion), "cpu").contract.run
        if of == record.run_key(paths.checkpoints):
            changes = ["train.init_from=checkpoints.replaced"]
            return changes, "the training goes on from the champion's weights"
    return [], "the training begins afresh: the champion's checkpoints are not here"
