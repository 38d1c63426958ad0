"""Images straight out of a zip or tar file: streamed once, nothing written to disk.

A member that could do harm if somebody did extract the archive condemns the whole file.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from monge.data.decode import Unreadable
from monge.data.gate import DAMAGE, MAX_EXPANSION, READ, Gate
from monge.data.sources import (
    Item,
    Source,
    clean_name,
    shown_name,
)
from monge.errors import SourceError
from monge.params import PrepareParams

_BLOCK = 512
_READ_BYTES = 2**20
_LONGEST_PATH = 4096
_OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "compressed by zstd", b"\x04\x22\x4d\x18": "compressed by LZ4",
    b"<!doct": "a web page, as a server gives it in place of a file that is not there",
    b"<html": "a web page, as a server gives it in place of a file that is not there",
    b"\x89png": "an image", b"\xff\xd8\xff": "an image", b"%pdf": "a PDF",
}  # fmt: skip
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
    try:
        with path.open("rb") as file:
            magic = file.read(16)
        is_zip = magic[:4] in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError as error:
        raise SourceError(f"{params.path}: cannot be read: {error.strerror}.") from None
    source = Source({"kind": "archive", "name": shown_name(path, root)}, iter(()))
    gate = Gate(params.path, path.stat().st_size, params.max_images, source)
    _refuse_others(params.path, magic)
    source.items = gate.guarded(_zip(path, gate) if is_zip else _tar(path, magic, gate))
    return source


def _refuse_others(shown: str, magic: bytes) -> None:
    """Raise SourceError for what is known to be something else, with what to do."""
    start_of_file = magic.lower().removeprefix(b"\xef\xbb\xbf").lstrip()  # as pages may begin
    found = next((kind for start, kind in _OTHERS.items() if start_of_file.startswith(start)), None)
    if found is not None:
        raise SourceError(
            f"{shown}: {found}, which is not read. {READ} are: unpack it and name the folder, or "
            "pack it as one of these."
        )


def _zip(path: Path, gate: Gate) -> Iterator[Item]:
    with zipfile.ZipFile(path) as file:
        expanded = 0
        images: list[tuple[str, zipfile.ZipInfo]] = []
        for member, called in _named(file.infolist()):
            if member.flag_bits & 1:
                raise gate.closed(member.filename, "is encrypted")
            if member.compress_type not in (0, 8, 12, 14):
                method = _METHODS.get(member.compress_type, f"method {member.compress_type}")
                raise gate.closed(member.filename, f"is compressed by {method}")
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind == stat.S_IFLNK:
                gate.link(member.filename, _link_target(file, member))
                continue
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise gate.unsafe(member.filename, "is a device")
            name = gate.admit(called, member.file_size, not member.is_dir())
            if name is None:
                continue
            expanded += member.file_size
            if expanded > gate.max_bytes:
                raise gate.unsafe(member.filename, f"expands more than {MAX_EXPANSION} times")
            images.append((name, member))
        for name, member in images:
            content = _zip_bytes(file, member)
            if gate.taken(name, content):
                yield name, content


def _link_target(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    """Where a link in a zip leads, which is its content; one of an absurd length leads out."""
    if member.file_size > _LONGEST_PATH:
        return "/"
    return file.read(member).decode("utf-8", "replace")


def _named(members: list[zipfile.ZipInfo]) -> list[tuple[zipfile.ZipInfo, str]]:
    """Each member's name; some programs on Windows write its own separators into a zip."""
    names = [member.filename for member in members]
    if any("/" in name for name in names) or not any("\\" in name for name in names):
        return list(zip(members, names, strict=True))
    return [(member, member.filename.replace("\\", "/")) for member in members]


def _zip_bytes(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | Unreadable:
    """Read one member; a zip's others stay readable when it is damaged."""
    try:
        return file.read(member)
    except DAMAGE as error:
        reason = "" if isinstance(error, OSError) else f": {error}"
        return Unreadable(f"damaged in the archive{reason}")


def _tar(path: Path, magic: bytes, gate: Gate) -> Iterator[Item]:
    with _decompressed(path, magic) as file:
        meter = _Meter(file, gate)
        end = 0
        # Streaming mode: members come in the order of the file, and nothing is read twice.
        with tarfile.open(fileobj=meter, mode="r|") as archive_file:  # type: ignore[call-overload]
            while (member := archive_file.next()) is not None:
                archive_file.members.clear()  # it would keep every header in memory
                meter.member = member.name
                end = member.offset_data + _blocks(member)
                if member.issym() or member.islnk():
                    gate.link(member.name, member.linkname)
                    continue
                if not (member.isreg() or member.isdir()):
                    raise gate.unsafe(member.name, "is a device")
                meter.holes += member.size if member.issparse() else 0
                name = gate.admit(member.name, member.size, member.isreg())
                if name is None:
                    continue
                file_of = archive_file.extractfile(member)
                assert file_of is not None
                content = file_of.read()
                if gate.taken(name, content):
                    yield name, content
            meter.check_end(end)


def _blocks(member: tarfile.TarInfo) -> int:
    """How many bytes a member has in the archive, filled up to whole blocks; a link has none."""
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
        while self.read(_READ_BYTES):  # reaches the checksum of the compressed stream
            pass
