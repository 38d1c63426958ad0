"""Works on the images themselves for a person: adds to them, lists their versions, goes back."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from monge.errors import EnvironmentFault, InputError, SourceError
from monge.files import locked
from monge.params import Params, PrepareParams
from monge.paths import Paths
from monge.products import home

if TYPE_CHECKING:
    from monge.versions.content import Content
    from monge.versions.dvc import Tracked
    from monge.versions.records import Record

LOCK, _SEEN = "data.lock", "data-seen.npz"


def data_add(params: Params, paths: Paths, *, images: Path, into: str = "") -> Iterator[str]:
    """Add the images of a folder or an archive that are not there yet, as a new version; lines.

    Adding the project's own images makes a version of them as they are. Raises SourceError where
    none can be read, InputError where there is no place for them, EnvironmentFault when DVC fails.
    """
    from monge.versions import pending

    tracked = tracked_images(params, paths)
    given = _given(params.prepare, images)
    with locked(paths.own_state / LOCK):
        yield from pending.finish(paths, tracked)
        there = _there(params, paths, tracked)
        if there.notes:
            yield from there.notes
            yield from _pushed(tracked)
        if Path(given.path) == _folder(params, paths):
            if not there.notes:
                yield f"nothing new: {_here(there.record)}"
                yield from _pushed(tracked)
        else:
            yield from _added(params, paths, given, into, tracked, there)
            yield from _pushed(tracked)


@dataclass(frozen=True)
class _There:
    """The images that are there: what they are, their record, and what was done about them."""

    content: Content
    record: Record | None
    notes: tuple[str, ...] = ()


def tracked_images(params: Params, paths: Paths) -> Tracked:
    """The project's own images as DVC tracks them. Raises InputError where it cannot."""
    from monge.versions.dvc import Tracked

    prepare = params.prepare
    if prepare.source not in ("folder", "archive"):
        raise InputError(
            f"prepare.source is {prepare.source}, which is not added to. For images of your own "
            "set prepare.source: folder in params.yaml (and prepare.resolution, prepare.colour)."
        )
    if not _folder(params, paths).is_relative_to(home(paths.root).resolve()):
        raise InputError(
            f"prepare.path is {prepare.path}, outside of this project, where DVC keeps no "
            "versions. Set prepare.path: data/raw and prepare.source: folder in params.yaml, then "
            "run "
            f"`monge data add {prepare.path}` to bring them in."
        )
    return Tracked(paths.root, os.path.relpath(_folder(params, paths), paths.root.resolve()))


def _folder(params: Params, paths: Paths) -> Path:
    """The project's own images, a folder or an archive."""
    return Path(os.path.abspath(paths.root.resolve() / params.prepare.path))


def _given(prepare: PrepareParams, images: Path) -> PrepareParams:
    """The parameters that read what is to be added as the project's own images are read."""
    whole = Path(os.path.abspath(images.expanduser()))
    if not (whole.is_dir() or whole.is_file()):
        raise SourceError(f"{images}: no such folder or archive. Name the one with new images.")
    source = "folder" if whole.is_dir() else "archive"
    return prepare.model_copy(update={"source": source, "path": str(whole)})


def _there(params: Params, paths: Paths, tracked: Tracked) -> _There:
    """Look at the images that are there; those that are of no version yet become one."""
    from monge.versions import content, pending, records

    place = _folder(params, paths)
    if params.prepare.source == "folder":
        place.mkdir(parents=True, exist_ok=True)
    if tracked.hash() is None and not _has_images(place):
        return _There(content.Content(), None)
    left = tracked.leave_git()
    md5 = tracked.add()
    seen = _seen(params, paths, md5)
    found = records.current(records.read(paths), tracked.path, md5)
    if found is not None:
        return _There(seen, found)
    record = pending.settle(paths, tracked, _record(params, paths, tracked, seen, md5))
    notes = [f"version {record.version}: {records.counted(record)}, as they were here"]
    if left:
        notes += [f"  {', '.join(left)}: out of git, which cannot have what DVC has; they stay"]
    notes += [f"  git add {tracked.path}.dvc {_ignored(tracked)} data/versions.jsonl  # keep it"]
    return _There(seen, record, tuple(notes))


def _ignored(tracked: Tracked) -> str:
    """The file by which git does not look at what DVC tracks."""
    return os.path.join(os.path.dirname(tracked.path), ".gitignore")


def _has_images(place: Path) -> bool:
    """Tell whether there is more than a note such as README.md."""
    if not place.is_dir():
        return place.is_file()
    return any(file.suffix != ".md" for file in place.rglob("*") if file.is_file())


def _seen(params: Params, paths: Paths, md5: str) -> Content:
    from monge.versions import content

    file, key = paths.own_state / _SEEN, _key(params, md5)
    known = content.recall(key, file)
    if known is None:
        try:
            known = content.read(params.prepare, paths.root)
        except SourceError:
            if _has_images(_folder(params, paths)):
                raise
            known = content.Content()
        content.remember(known, key, file)
    return known


def _key(params: Params, md5: str) -> str:
    return f"{md5} {params.prepare.max_pixels} {params.prepare.levels}"


def _record(params: Params, paths: Paths, tracked: Tracked, seen: Content, md5: str) -> Record:
    from monge.versions import dvc, placing, records

    counts = placing.census(list(seen.hashes), seen.labels, params.prepare)
    known = records.read(paths)
    parent = records.current(known, tracked.path, tracked.hash())
    return records.Record(
        version=max((each.version for each in known), default=0) + 1,
        path=tracked.path,
        hash=md5,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        by=dvc.person(paths.root),
        images=counts.images,
        held_out=counts.held_out,
        classes=counts.classes,
        parent=None if parent is None else parent.version,
    )


def _added(
    params: Params, paths: Paths, given: PrepareParams, into: str, tracked: Tracked, there: _There
) -> Iterator[str]:
    """Sift what is given, place what is new, and make it a version."""
    from monge.data.telling import none_readable, reasons
    from monge.versions import content, packing, pending, records

    offered = content.read(given, paths.root)
    if offered.rejected and not offered.hashes:
        raise none_readable(given.path, offered.rejected)
    if offered.rejected:
        yield f"left out, {len(offered.rejected):,} rejected: {reasons(offered.rejected)}"
    new = _unknown(there.content, offered)
    again = len(offered.hashes) - len(new)
    if not new:
        yield f"nothing new: all {again:,} images of {given.path} are there. {_here(there.record)}"
        return
    tag, placed = _placed(params, there.content, offered, new, into)
    near = content.near_copies(there.content, offered, new)
    after = there.content.with_more(tag, placed, offered)
    record = _record(params, paths, tracked, after, "")
    brought = records.Added(
        given.path, len(new), _more(record, there.record), again, len(near), len(offered.rejected)
    )
    made, place = _made(params, paths, given, tag, placed)
    begun = pending.Addition(made, place, replace(record, added=brought))
    pending.begin_addition(paths, begun)
    packing.settle(made, place)
    record = pending.settle(paths, tracked, begun.record)
    pending.end(paths)
    content.remember(after, _key(params, record.hash), paths.own_state / _SEEN)
    yield f"version {record.version}: {records.counted(record)}"
    yield f"  {records.told(brought)}"


def _placed(
    params: Params, there: Content, offered: Content, new: Mapping[str, str], into: str
) -> tuple[str, dict[str, str]]:
    """The name of the addition, and where each new image lies in it."""
    from monge.data import additions
    from monge.versions import packing, placing

    names = {name: _labelled(name, offered.labels) for name in new}
    latest = max((additions.number(additions.split(n)[0]) for n in there.hashes), default=0)
    draft = packing.tag(latest + 1, names, new)
    found = placing.place(
        list(there.hashes), list(names.values()), draft, there.labels, params.prepare, into
    )
    placed = {name: found[called] for name, called in names.items()}
    return packing.tag(latest + 1, placed, new), placed


def _unknown(there: Content, offered: Content) -> dict[str, str]:
    """The hashes of the images that are not there, by name; of copies among them the first."""
    known, new = set(there.hashes.values()), {}
    for name, digest in offered.hashes.items():
        if digest not in known:
            known.add(digest)
            new[name] = digest
    return new


def _labelled(name: str, labels: Mapping[str, str]) -> str:
    """A name whose folder is its class, where a dataset.json beside it says that."""
    return f"{labels[name]}/{name}" if name in labels else name


def _more(now: Record, before: Record | None) -> dict[str, int]:
    counts = Counter(now.classes)
    counts.subtract(before.classes if before else {})
    return {name: count for name, count in counts.items() if count > 0}


def _made(
    params: Params, paths: Paths, given: PrepareParams, tag: str, placed: Mapping[str, str]
) -> tuple[Path, Path]:
    """Write the file of an addition beside the images, and say where its place is."""
    from monge.data import additions
    from monge.versions import packing

    own = _folder(params, paths)
    made = own.with_name(f".{own.name}.adding")
    members = packing.members(given, paths.root, placed)
    if params.prepare.source == "folder":
        packing.write_tar(made, members)
        return made, own / additions.FOLDER / f"{tag}.tar"
    packing.write_with(made, own, tag, members)
    return made, own


def _pushed(tracked: Tracked) -> Iterator[str]:
    """Send what is tracked to DVC's remote, where there is one."""
    from monge.versions import dvc

    if tracked.hash() is None or not dvc.has_remote(tracked.root):
        return
    try:
        tracked.push()
    except EnvironmentFault as error:
        raise EnvironmentFault(
            f"the version is kept here and not sent to the remote yet: {error}. The same command "
            "sends it."
        ) from None
    yield "sent to DVC's remote"


def _here(record: Record | None) -> str:
    return "no version yet" if record is None else f"This is version {record.version}."
