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
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from monge.data.decode import MAX_FILE_BYTES, Unreadable
from monge.data.sources import (
    Item,
    Source,
    clean_name,
    is_hidden,
    is_image_name,
    none_found,
    shown_name,
    too_many,
)
from monge.errors import SourceError
from monge.params import PrepareParams

# Real images hardly compress; a bomb expands a thousandfold and more.
MAX_EXPANSION = 200
_FREE_BYTES = 64 * 2**20
_MAX_OTHER_MEMBERS = 1_000_000
_BLOCK = 512
_READ_BYTES = 2**20
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError,
    ValueError, NotImplementedError, IndexError,
)  # fmt: skip


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
            magic = file.read(6)
        is_zip = magic[:4] in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError as error:
        raise SourceError(f"{params.path}: cannot be read: {error.strerror}.") from None
    source = Source({"kind": "archive", "name": shown_name(path, root)}, iter(()))
    gate = _Gate(params.path, path.stat().st_size, params.max_images, source)
    source.items = gate.guarded(_zip(path, gate) if is_zip else _tar(path, magic, gate))
    return source


class _Gate:
    """Decides member by member what is an image, what is skipped, and what is unsafe."""

    def __init__(self, shown: str, size_bytes: int, max_images: int, source: Source) -> None:
        self.shown = shown
        self.max_images = max_images
        self.max_bytes = _FREE_BYTES + MAX_EXPANSION * size_bytes
        self._source = source
        self._seen: set[str] = set()
        self._members = 0

    def guarded(self, items: Iterator[Item]) -> Iterator[Item]:
        """Turn what the archive modules raise on damage into SourceError; refuse an empty one."""
        try:
            yield from items
        except _DAMAGE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SourceError(
                f"{self.shown}: damaged archive or none ({reason}). Fetch it again."
            ) from None
        if not self._seen:
            raise none_found(self.shown, self._source.skipped)

    def unsafe(self, name: str, why: str) -> SourceError:
        return SourceError(
            f"{self.shown}: unsafe archive: {clean_name(name)!r} {why}. Nothing was taken from it; "
            "use an archive that you trust."
        )

    def admit(self, name: str, size_bytes: int, is_file: bool) -> str | None:
        """Give the clean name of an image to read, None to pass over; raises SourceError."""
        self._members += 1
        if self._members > self.max_images + _MAX_OTHER_MEMBERS:
            raise self.unsafe(name, f"is member number {self._members}, over the limit")
        slashed = name.replace("\\", "/")
        if slashed.startswith("/") or slashed[1:2] == ":":
            raise self.unsafe(name, "has an absolute path")
        if ".." in slashed.split("/"):
            raise self.unsafe(name, "leaves the archive by '..'")
        if not 0 <= size_bytes <= MAX_FILE_BYTES:
            raise self.unsafe(name, f"claims {size_bytes} bytes, over {MAX_FILE_BYTES}")
        path = PurePosixPath(name)
        if not is_file or is_hidden(path):
            return None
        if not is_image_name(path):
            self._source.skipped += 1
            return None
        clean = clean_name(str(path))
        if clean in self._seen:
            raise self.unsafe(name, "is there twice")
        self._seen.add(clean)
        if len(self._seen) > self.max_images:
            raise too_many(self.shown, self.max_images)
        return clean


def _zip(path: Path, gate: _Gate) -> Iterator[Item]:
    with zipfile.ZipFile(path) as file:
        members = file.infolist()
        expanded = 0
        images: list[tuple[str, zipfile.ZipInfo]] = []
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise gate.unsafe(member.filename, "is a link or a device")
            if member.flag_bits & 1:
                raise gate.unsafe(member.filename, "is encrypted")
            expanded += member.file_size
            if expanded > gate.max_bytes:
                raise gate.unsafe(member.filename, f"expands more than {MAX_EXPANSION} times")
            name = gate.admit(member.filename, member.file_size, not member.is_dir())
            if name is not None:
                images.append((name, member))
        for name, member in images:
            yield name, _zip_bytes(file, member)


def _zip_bytes(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | Unreadable:
    """Read one member; a zip's others stay readable when it is damaged."""
    try:
        return file.read(member)
    except _DAMAGE as error:
        reason = "" if isinstance(error, OSError) else f": {error}"
        return Unreadable(f"damaged in the archive{reason}")


def _tar(path: Path, magic: bytes, gate: _Gate) -> Iterator[Item]:
    with _decompressed(path, magic) as file:
        meter = _Meter(file, gate)
        end = 0
        # Streaming mode: members come in the order of the file, and nothing is read twice.
        with tarfile.open(fileobj=meter, mode="r|") as archive_file:  # type: ignore[call-overload]
            while (member := archive_file.next()) is not None:
                archive_file.members.clear()  # it would keep every header in memory
                meter.member = member.name
                if not (member.isreg() or member.isdir()) or member.issparse():
                    raise gate.unsafe(member.name, "is a link or a device")
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                name = gate.admit(member.name, member.size, member.isreg())
                if name is None:
                    continue
                content = archive_file.extractfile(member)
                assert content is not None
                yield name, content.read()
            meter.check_end(end)


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

    def __init__(self, file: IO[bytes] | gzip.GzipFile, gate: _Gate) -> None:
        self.member = ""
        self._file = file
        self._gate = gate
        self._position = 0
        self._last: Any = b""

    def read(self, size: int) -> bytes:
        self._last = self._file.read(size)
        self._position += len(self._last)
        if self._position > self._gate.max_bytes:
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
