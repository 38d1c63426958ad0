"""Writing an addition: as a tar of its own in a folder, or into a new copy of an archive."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from monge.data import additions
from monge.data.sources import open_source
from monge.errors import SourceError
from monge.files import storing, sync
from monge.params import PrepareParams

Members = Iterator[tuple[str, bytes]]
_TARS = {b"\xfd7zXZ\x00": "xz", b"\x1f\x8b": "gz", b"BZh": "bz2"}


def tag(number: int, placed: Mapping[str, str], hashes: Mapping[str, str]) -> str:
    """Name an addition by its number and what it holds, so that the same one has the same name."""
    listed = "\n".join(f"{placed[name]} {hashes[name]}" for name in sorted(placed))
    return f"{number:04d}-{hashlib.sha256(listed.encode()).hexdigest()[:12]}"


def members(params: PrepareParams, root: Path, placed: Mapping[str, str]) -> Members:
    """Yield the bytes of the chosen images of a source under their new names."""
    for name, encoded in open_source(params, root, root / "data" / "downloads").items:
        if name in placed:
            if isinstance(encoded, str):
                encoded = Path(encoded).read_bytes()
            if not isinstance(encoded, bytes):
                raise SourceError(f"{params.path}: {name} changed while it was read. Try again.")
            yield placed[name], encoded


def write_tar(file: Path, content: Members) -> None:
    """Write an uncompressed tar with the same bytes whenever it is made; it is on the disk then."""
    with storing(file), tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in content:
            _put(archive, name, data)
    sync(file)


def write_with(file: Path, before: Path, tag: str, content: Members) -> None:
    """Write an archive of the kind of `before`, with its members and then those of an addition."""
    with before.open("rb") as opened:
        head = opened.read(8)
    with storing(file):
        if head.startswith(b"PK"):
            _zip(file, before, tag, content)
        else:
            kind = next((kind for magic, kind in _TARS.items() if head.startswith(magic)), "")
            _tar(file, before, tag, content, kind)
    sync(file)


def _zip(file: Path, before: Path, tag: str, content: Members) -> None:
    with zipfile.ZipFile(before) as old, zipfile.ZipFile(file, "w") as new:
        for member in old.infolist():
            new.writestr(member, old.read(member))
        for name, data in content:
            new.writestr(zipfile.ZipInfo(additions.name(tag, name)), data)


def _tar(file: Path, before: Path, tag: str, content: Members, kind: str) -> None:
    with (
        tarfile.open(before, "r:*") as old,
        tarfile.open(file, f"w:{kind}", format=tarfile.PAX_FORMAT) as new,  # type: ignore[call-overload]
    ):
        for member in old:
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
        for name, data in content:
            _put(new, additions.name(tag, name), data)


def _put(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))


def settle(made: Path, place: Path) -> None:
    """Put what was made in its place, in one step."""
    with storing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(made, place)
        sync(place.parent)
