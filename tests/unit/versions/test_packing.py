"""Protects: an archive that is added to keeps what it had, and its kind."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile

import pytest

from monge.versions import packing

OLD = {"cat/1.png": b"one" * 500, "dog/2.png": b"two" * 300}
NEW = {"cat/3.png": b"three" * 50}


def packed(path) -> dict[str, bytes]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        files = {m.name: archive.extractfile(m) for m in archive if m.isreg()}
        return {name: file.read() for name, file in files.items() if file}


@pytest.mark.parametrize(
    ("kind", "magic"), [("zip", b"PK"), ("", b"cat"), ("gz", b"\x1f\x8b"), ("xz", b"\xfd7z")]
)
def test_an_archive_that_is_added_to_keeps_what_it_had_and_its_kind(tmp_path, kind, magic):
    before, after = tmp_path / "before", tmp_path / "after"
    if kind == "zip":
        with zipfile.ZipFile(before, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in OLD.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(before, f"w:{kind}") as archive:  # type: ignore[call-overload]
            for name, data in OLD.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    packing.write_with(after, before, "0002-00000000000b", iter(NEW.items()))
    added = {f"additions/0002-00000000000b/{name}": data for name, data in NEW.items()}
    assert packed(after) == OLD | added
    assert after.read_bytes().startswith(magic)


def test_the_same_addition_has_the_same_bytes(tmp_path):
    hashes = []
    for name in ("one", "two"):
        packing.write_tar(tmp_path / name, iter(NEW.items()))
        hashes.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert hashes[0] == hashes[1]
