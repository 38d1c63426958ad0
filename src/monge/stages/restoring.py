"""The versions of the images: listed with what became of them, and brought back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monge.errors import EnvironmentFault, InputError
from monge.files import locked
from monge.params import Params
from monge.paths import Paths
from monge.stages.collecting import LOCK, tracked_images

if TYPE_CHECKING:
    from monge.versions.dvc import Tracked


def data_log(params: Params, paths: Paths) -> Iterator[str]:
    """The versions of the images, the newest first: date, counts, what came, who used them."""
    from monge.versions import dvc, pending, records

    tracked = tracked_images(params, paths)
    with locked(paths.own_state / LOCK):
        yield from pending.finish(paths, tracked)
    known = records.read(paths)
    if not known:
        yield f"no version of {tracked.path} yet. `monge data add FOLDER` makes one."
        return
    here = records.current(known, tracked.path, tracked.hash())
    used, problem = _models(paths)
    for record in reversed(known):
        commit = dvc.commit_with(paths.root, record.path, record.hash)
        where = f"commit {commit}" if commit else "in no commit yet"
        mark = ", here" if record == here else ""
        yield f"version {record.version}{mark}: {record.date}, by {record.by}, {where}"
        yield f"  {records.counted(record)}"
        yield f"  {records.told(record.added) if record.added else 'as they were found'}"
        if models := used.get(record.hash):
            yield f"  used by {', '.join(models)}"
    if problem:
        yield problem


def _models(paths: Paths) -> tuple[dict[str, list[str]], str]:
    """The registered versions that were made from each hash of images, and why none is known."""
    from monge.registry.models import Registry
    from monge.registry.names import known_names

    try:
        names = known_names(paths.root)
        versions = [each for name in names for each in Registry(paths.root, name).versions()]
    except EnvironmentFault as error:
        return {}, f"which models used them is not known: {error}"
    used: dict[str, list[str]] = {}
    for version in versions:
        aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
        for key, md5 in version.tags.items():
            if key.startswith("dvc."):
                used.setdefault(md5, []).append(f"{version.name} {version.number}{aliases}")
    return used, ""


def data_checkout(params: Params, paths: Paths, *, version: str) -> Iterator[str]:
    """Bring a version of the images back, byte for byte.

    Raises InputError where the images that are there are of no version, or there is none of that
    name; EnvironmentFault where neither cache nor remote has it whole.
    """
    from monge.versions import cached, pending, records

    tracked = tracked_images(params, paths)
    with locked(paths.own_state / LOCK):
        yield from pending.finish(paths, tracked)
        known = records.read(paths)
        wanted = records.find([r for r in known if r.path == tracked.path], version)
        before = tracked.hash()
        _refuse_unversioned(tracked)
        if again := cached.require_whole(paths.root, tracked.path, wanted.hash):
            yield f"damaged in DVC's cache, and fetched again: {', '.join(again[:3])}" + (
                f" and {len(again) - 3} more" if len(again) > 3 else ""
            )
        if before is not None and before != wanted.hash:
            pending.begin_checkout(paths, wanted.hash)
            tracked.point_at(wanted.hash)
        try:
            tracked.bring()
        except EnvironmentFault as error:
            if before is not None:
                tracked.point_at(before)
                tracked.bring()
            pending.end(paths)
            raise EnvironmentFault(
                f"version {wanted.version} is neither in DVC's cache nor in its remote: {error}. "
                "The images are as they were."
            ) from None
        pending.end(paths)
    yield f"{tracked.path} is version {wanted.version} of {wanted.date}: {records.counted(wanted)}"
    back = records.current(known, tracked.path, before)
    if back is not None and back != wanted:
        yield f"  the way back: monge data checkout {back.version}"


def _refuse_unversioned(tracked: Tracked) -> None:
    if tracked.hash() is None:
        raise InputError(
            f"{tracked.file} is not there, which names the version. Take it from git: "
            f"git checkout -- {tracked.path}.dvc"
        )
    if tracked.place.exists() and tracked.is_changed():
        raise InputError(
            f"{tracked.path} has changes that are in no version, and would be lost. Run "
            f"`monge data add {tracked.path}` to make them one, or `dvc checkout --force "
            f"{tracked.path}.dvc` to drop them."
        )
