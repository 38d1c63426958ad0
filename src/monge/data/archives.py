"""Images straight out of a zip or tar file: streamed once, nothing written to disk.

A member that could do harm if somebody did extract the archive condemns the whole file.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from monge.data import foreign
from monge.data.encoded import Unreadable
from monge.data.foreign import HEAD_BYTES
from monge.data.gate import DAMAGE, MAX_EXPANSION, READ, Gate
from monge.data.listing import Item, Source, clean_name, has_image_bytes, shown_name
from monge.data.zip_names import named
from monge.errors import SourceError
from monge.params import PrepareParams

_BLOCK = 512
_READ_BYTES = 2**20
_LONGEST_PATH = 4096
_METHODS = {9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "zstd", 95: "xz", 98: "PPMd"}


def archive(params: PrepareParams, root: Path) -> Source:
    """Stream the images of a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz, known by content.

    Raises SourceError (some of it while streaming): not an archive, damaged, unsafe member named.
    """
    path = root / params.path
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        remedy = "Set prepare.source to folder, or name" if path.is_dir() else "Name"
        raise SourceError(
            f"prepare.path: {params.path}: {what}. {remedy} a .zip, .tar, .tar.gz, .tar.bz2 or "
            ".tar.xz in prepare.path."
        )
    source = Source({"kind": "archive", "name": shown_name(path, root)}, iter(()))
    gate = Gate(params.path, path.stat().st_size, params.max_images, source)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise SourceError(f"{params.path}: cannot be read: {error.strerror}.") from None
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        source.items = gate.guarded(_zip(path, gate))
        return source
    for begins in (head, _first_bytes(path, head)):
        _refuse_others(params.path, begins)
    source.items = gate.guarded(_tar(path, head, gate))
    return source


def _refuse_others(shown: str, head: bytes) -> None:
    """Raise SourceError for what is known to be something else, with what to do."""
    found = foreign.known(head)
    if found is None and has_image_bytes(head):
        found = foreign.Foreign("an image", "name the folder that it is in")
    if found is not None and not _is_tar(head):
        raise SourceError(f"{shown}: {found.what}, which is not read. {READ} are: {found.way}.")


def _is_tar(head: bytes) -> bool:
    """Tell whether these bytes are a tar's first header, which begins with a name of any kind."""
    try:
        tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _first_bytes(path: Path, head: bytes) -> bytes:
    """Read the beginning of what is compressed; nothing where it is damaged, as will be said."""
    try:
        with _decompressed(path, head) as file:
            return file.read(HEAD_BYTES)
    except DAMAGE:
        return b""


def _zip(path: Path, gate: Gate) -> Iterator[Item]:
    with zipfile.ZipFile(path) as file:
        images: list[tuple[str, zipfile.ZipInfo]] = []
        files: dict[str, zipfile.ZipInfo] = {}
        expanded = 0
        for member, called in named(file.infolist()):
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind == stat.S_IFLNK:
                _refuse_closed(member, gate)
                gate.link(called, _link_target(file, member))
                continue
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise gate.unsafe(member.filename, "is a device")
            name = gate.admit(called, member.file_size, not member.is_dir())
            files[posixpath.normpath(called)] = member
            if name is None:
                continue
            _refuse_closed(member, gate)
            expanded += member.file_size
            if expanded > gate.max_bytes:
                raise gate.unsafe(member.filename, f"expands more than {MAX_EXPANSION} times")
            images.append((name, member))
        for name, member in images:
            content = _zip_bytes(file, member)
            if gate.taken(name, content):
                yield name, content
        yield from _zip_links(file, files, gate)


def _zip_links(
    file: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo], gate: Gate
) -> Iterator[Item]:
    for reached, names in gate.links.by_member().items():
        member = files.get(reached)
        if member is None or member.is_dir():
            gate.leads_nowhere(names)
            continue
        _refuse_closed(member, gate)
        gate.require_size(reached, member.file_size)
        yield from gate.linked(reached, _zip_bytes(file, member), names)


def _refuse_closed(member: zipfile.ZipInfo, gate: Gate) -> None:
    """Raise SourceError for a member that cannot be read, though nothing is wrong with it."""
    if member.flag_bits & 1:
        raise gate.closed(member.filename, "is encrypted")
    if member.compress_type not in (0, 8, 12, 14):
        method = _METHODS.get(member.compress_type, f"method {member.compress_type}")
        raise gate.closed(member.filename, f"is compressed by {method}")


def _link_target(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    """Read where a link in a zip leads, its content; one of an absurd length leads out."""
    if member.file_size > _LONGEST_PATH:
        return "/"
    return file.read(member).decode("utf-8", "replace")


def _zip_bytes(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | Unreadable:
    """Read one member; a zip's others stay readable when it is damaged."""
    try:
        return file.read(member)
    except DAMAGE as error:
        reason = "" if isinstance(error, OSError) else f": {error}"
        return Unreadable(f"damaged in the archive{reason}")


def _tar(path: Path, head: bytes, gate: Gate) -> Iterator[Item]:
    with _decompressed(path, head) as file:
        meter = _Meter(file, gate)
        end = 0
        # Streaming mode: members come in the order of the file, and nothing is read twice.
        with tarfile.open(fileobj=meter, mode="r|") as archive_file:  # type: ignore[call-overload]
            for member in _members(archive_file):
                meter.member = member.name
                end = member.offset_data + _blocks(member)
                if member.issym() or member.islnk():
                    gate.link(member.name, member.linkname, hard=member.islnk())
                    continue
                if not (member.isreg() or member.isdir()):
                    raise gate.unsafe(member.name, "is a device")
                meter.holes += member.size if member.issparse() else 0
                name = gate.admit(member.name, member.size, member.isreg())
                if name is None:
                    continue
                content = _tar_bytes(archive_file, member)
                if gate.taken(name, content):
                    yield name, content
            meter.check_end(end)
    yield from _tar_links(path, head, gate)


def _tar_links(path: Path, head: bytes, gate: Gate) -> Iterator[Item]:
    """Read the members that links lead to; a link may stand before them, so only now."""
    wanted = gate.links.by_member()
    if wanted:
        with (
            _decompressed(path, head) as file,
            tarfile.open(fileobj=file, mode="r|") as archive_file,
        ):
            for member in _members(archive_file):
                names = wanted.pop(posixpath.normpath(member.name), []) if member.isreg() else []
                if names:
                    gate.require_size(member.name, member.size)
                    content = _tar_bytes(archive_file, member)
                    yield from gate.linked(member.name, content, names)
    for names in wanted.values():
        gate.leads_nowhere(names)


def _members(archive_file: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive_file.next()) is not None:
        archive_file.members.clear()  # type: ignore[attr-defined]  # it would keep every header
        yield member


def _tar_bytes(archive_file: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file_of = archive_file.extractfile(member)
    assert file_of is not None
    return file_of.read()


def _blocks(member: tarfile.TarInfo) -> int:
    """Count a member's bytes in the archive, filled up to whole blocks; a link has none."""
    if not member.isreg():
        return 0
    chunks: Any = member.sparse  # (offset, bytes) of what is no hole
    stored = sum(size for _, size in chunks) if chunks else member.size
    return -(-stored // _BLOCK) * _BLOCK


def _decompressed(path: Path, magic: bytes) -> IO[bytes] | gzip.GzipFile:
    # tarfile's own decompression takes a stream that stops half-way for the end.
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(path)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(path)
    if magic.startswith(b"BZh"):
        return bz2.open(path)
    return path.open("rb")


class _Meter:
    """Passes bytes on, stops a bomb, and knows whether the tar stream came to its proper end."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, gate: Gate) -> None:
        self.member = ""
        self.holes = 0
        """Bytes of sparse members, which expand without being read."""
        self._file = file
        self._gate = gate
        self._position = 0
        self._last: Any = b""

    def read(self, size: int) -> bytes:
        self._last = self._file.read(size)
        self._position += len(self._last)
        if self._position + self.holes > self._gate.max_bytes:
            why = f"comes just before it has expanded more than {MAX_EXPANSION} times"
            raise self._gate.unsafe(self.member, why)
        return bytes(self._last)

    def check_end(self, end: int) -> None:
        """`end` is where the last member ended: tarfile takes any garbage there for the end."""
        start = end - (self._position - len(self._last))
        block = self._last[start : start + _BLOCK] if start >= 0 else b""
        if block != bytes(_BLOCK):
            raise EOFError(f"it stops after {clean_name(self.member)}")
        rest = self._last[start:]
        while rest:  # reaches the checksum of the compressed stream
            if end and rest.count(0) < len(rest):
                raise SourceError(
                    f"{self._gate.shown}: goes on behind its end, as tars put one behind the other "
                    "do, and only the first would be read. Unpack it (tar -i) and name the folder."
                )
            rest = self.read(_READ_BYTES)
