"""The names in a zip, in the letters and with the separators that were meant."""

from __future__ import annotations

import struct
import zipfile
import zlib

from monge.data.separators import slashed

_UTF8 = 1 << 11
_UNICODE_PATH = 0x7075


def named(members: list[zipfile.ZipInfo]) -> list[tuple[zipfile.ZipInfo, str]]:
    """Each member's name, in the letters and with the separators that were meant."""
    names = [_in_utf8(member) for member in members]
    return list(zip(members, slashed(names), strict=True))


def _in_utf8(member: zipfile.ZipInfo) -> str:
    """A name without the flag that says UTF-8, which many programs forget; else as it is read.

    Some, WinRAR and Info-ZIP among them, write it once more in UTF-8 beside the letters of the
    machine's own code page, which nobody else can tell.
    """
    if member.flag_bits & _UTF8 or member.filename.isascii():
        return member.filename
    try:
        written = member.filename.encode("cp437")
        return (_once_more(member.extra, written) or written).decode("utf-8")
    except UnicodeError:
        return member.filename


def _once_more(extra: bytes, written: bytes) -> bytes:
    """Read the name in UTF-8 beside one as it is written; nothing where there is none of it.

    A version, the checksum of what was written, and the name: APPNOTE 6.3.10, 4.6.9.
    """
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and field[:5] == struct.pack("<BI", 1, zlib.crc32(written)):
            return field[5:]
    return b""
