"""Files that are neither images nor archives that are read, known by their first bytes.

A name tells little: servers give a web page in place of a picture, phones write HEIC into .jpg, and
a version control's pointer has the name of what it points to.
"""

from __future__ import annotations

from typing import NamedTuple

HEAD_BYTES = 512

_UNPACK = "unpack it and name the folder, or pack it as one of these"
_CONVERT = "convert it to PNG or JPEG"
_FETCH = "fetch the file itself again"
_FRAMES = "write its pictures as files (ffmpeg does) and name their folder"
_WRITE = "write its images as PNG files, a folder a class, and name their folder"

_PAGE = "a web page, as a server gives it in place of a file that is not there"
_ANSWER = "a message of a server, in place of a file that is not there"


class Foreign(NamedTuple):
    """The kind of a file that is no image, and what to do about it."""

    what: str
    way: str


_STARTS = {
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK), b"rar!": ("a RAR archive", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", _UNPACK), b"lzip": ("compressed by lzip", _UNPACK),
    b"\x04\x22\x4d\x18": ("compressed by LZ4", _UNPACK), b"mscf": ("a CAB archive", _UNPACK),
    b"\x1f\x9d": ("compressed by compress", _UNPACK), b"0707": ("a cpio archive", _UNPACK),
    b"xar!": ("a xar archive", _UNPACK), b"!<arch>": ("an ar archive", _UNPACK),
    b"pk\x03\x04": ("a zip archive", _UNPACK),
    b"pk\x07\x08": ("a part of a zip in several parts", "join them (zip -s 0) or unpack them"),
    b"mz": ("a program for Windows", "if it is an archive that unpacks itself, do that, and name "
            "the folder"),
    b"<!doctype html": (_PAGE, _FETCH), b"<html": (_PAGE, _FETCH), b"<head": (_PAGE, _FETCH),
    b"<svg": ("an SVG drawing", _CONVERT), b"<error": (_ANSWER, _FETCH), b'{"': (_ANSWER, _FETCH),
    b"version https://git-lfs": ("a pointer of Git LFS", "`git lfs pull` fetches the file"),
    b"outs:": ("a file of DVC's, in place of what it tracks", "`dvc pull` fetches that"),
    b"%pdf": ("a PDF", "write its pages as images (pdftoppm does) and name their folder"),
    b"%!ps": ("PostScript", _CONVERT), b"8bps": ("a Photoshop document", _CONVERT),
    b"\xff\x0a": ("a JPEG XL image", _CONVERT), b"\0\0\0\x0cjxl ": ("a JPEG XL image", _CONVERT),
    b"\0\0\x01\0": ("an icon (ICO)", _CONVERT), b"simple  =": ("a FITS image", _CONVERT),
    b"par1": ("a Parquet table", _WRITE), b"arrow1": ("an Arrow table", _WRITE),
    b"\x89hdf": ("an HDF5 file", _WRITE), b"matlab": ("a MATLAB file", _WRITE),
    b"\x93numpy": ("a NumPy array", _WRITE), b"sqlite format": ("a database", _WRITE),
    b"\0\0\x08\x03": ("images in one file, as MNIST has them", "take prepare.source=mnist, "
                      "or write them as PNG files"),
    b"\x1a\x45\xdf\xa3": ("a video", _FRAMES), b"oggs": ("a video or sound", _FRAMES),
}  # fmt: skip
_PHONES = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def known(head: bytes) -> Foreign | None:
    """Tell what a file is from its first bytes, HEAD_BYTES of them; None for what is not known."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):  # text as some programs on Windows write it
        head = head.decode("utf-16", "replace").encode("utf-8", "replace")
    start = head.lower().removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if start.startswith(b"<?xml"):
        start = next((start[start.index(tag) :] for tag in (b"<svg", b"<html", b"<error")
                      if tag in start), start)  # fmt: skip
    for sign, (what, way) in _STARTS.items():
        if start.startswith(sign.lower()):
            return Foreign(what, way)
    if head[4:8] == b"ftyp":
        return _of_boxes(head[8:12])
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return Foreign("a video", _FRAMES)
    return None


def _of_boxes(brand: bytes) -> Foreign | None:
    """Name what begins with a box `ftyp` (ISO/IEC 14496-12): pictures of phones, and videos."""
    if brand in _PHONES:
        return Foreign("a HEIC image", _CONVERT)
    if brand == b"crx ":
        return Foreign("a camera's raw image", _CONVERT)
    return None if brand in (b"avif", b"avis") else Foreign("a video", _FRAMES)
