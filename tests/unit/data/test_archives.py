"""Archives are streamed whole or refused by name; nothing in them can reach outside."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monge.data.encoded import MAX_FILE_BYTES, Unreadable
from monge.data.listing import Item
from monge.data.sources import open_source
from monge.errors import SourceError
from monge.params import PrepareParams


def png(shade: int, size: int = 8) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(shade).integers(0, 256, (size, size), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


FILES = {
    "set/dog/2.png": png(2),
    "set/cat/1.png": png(1),
    "set/readme.txt": b"hello",
    "set/.hidden.png": png(3),
    "__MACOSX/set/cat/1.png": b"resource fork",
    "set/cat/0.PNG": png(4),
}
WANTED = {"set/dog/2.png": png(2), "set/cat/1.png": png(1), "set/cat/0.PNG": png(4)}


def read(path: Path, **params: Any) -> list[Item]:
    asked = PrepareParams(source="archive", path=path.name, **params)
    return list(open_source(asked, path.parent, path.parent).items)


def make_zip(path: Path, files: dict[str, bytes] = FILES, kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as file:
        file.mkdir("set")
        for name, content in files.items():
            file.writestr(name, content)
    return path


def add(file: tarfile.TarFile, name: str, content: bytes = b"", **header: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in header.items():
        setattr(member, key, value)
    file.addfile(member, io.BytesIO(content))


def make_tar(path: Path, mode: str = "w", files: dict[str, bytes] = FILES) -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        add(file, "set", type=tarfile.DIRTYPE)
        for name, content in files.items():
            add(file, name, content)
    return path


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_zip_gives_its_images_and_nothing_else(tmp_path: Path, kind: int) -> None:
    assert dict(read(make_zip(tmp_path / "a.zip", kind=kind))) == WANTED


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_gives_its_images_whatever_its_name(tmp_path: Path, mode: str) -> None:
    assert dict(read(make_tar(tmp_path / "images", mode))) == WANTED


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_tar_with_long_names_is_read(tmp_path: Path, form: int) -> None:
    name = "é" * 60 + "/" + "x" * 120 + ".png"
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as file:
        add(file, name, png(1))
    assert read(tmp_path / "a.tar") == [(name, png(1))]


def test_leading_dot_slash_is_no_hidden_folder(tmp_path: Path) -> None:
    assert read(make_tar(tmp_path / "a.tar", files={"./cat/1.png": png(1)}))[0][0] == "cat/1.png"


def test_skipped_files_are_counted_and_nothing_is_extracted(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar")
    source = open_source(PrepareParams(source="archive", path="a.tar"), tmp_path, tmp_path)
    assert len(list(source.items)) == 3
    assert source.skipped == {".txt": 1, "hidden images": 1}  # and not what macOS puts beside each
    assert source.description == {"kind": "archive", "name": "a.tar"}
    assert list(tmp_path.iterdir()) == [path]


UNSAFE_NAMES = {
    "/etc/a.png": "absolute path",
    "C:\\a.png": "absolute path",
    "\\\\server\\a.png": "absolute path",
    "../a.png": r"leaves the archive by '\.\.'",
    "cat/../../a.png": r"leaves the archive by '\.\.'",
    "cat\\..\\a.png": r"leaves the archive by '\.\.'",
    "../notes.txt": r"leaves the archive by '\.\.'",
}


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_escaping_names_condemn_the_archive(
    tmp_path: Path, name: str, make: Callable[..., Path]
) -> None:
    path = make(tmp_path / "a", files={"cat/1.png": png(1), name: png(2)})
    with pytest.raises(SourceError, match=UNSAFE_NAMES[name]) as caught:
        read(path)
    assert repr(name) in str(caught.value)
    assert str(caught.value).startswith("a: unsafe archive")


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_devices_condemn_a_tar(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        add(file, "cat/1.png", png(1))
        add(file, "cat/2.png", type=kind)
    with pytest.raises(SourceError, match=r"'cat/2\.png' is a device"):
        read(tmp_path / "a.tar")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../1.png", "x" * 5000])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_links_that_lead_out_condemn_an_archive(tmp_path: Path, target: str, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as zipped:
            link = zipfile.ZipInfo("cat/2.png")
            link.external_attr = 0o120777 << 16
            zipped.writestr(link, target)
    else:
        if len(target) == 5000:
            target = "../" * 9
        with tarfile.open(path, "w") as file:
            add(file, "cat/2.png", type=tarfile.SYMTYPE, linkname=target)
    with pytest.raises(SourceError, match=r"'cat/2\.png' is a link that leaves the archive"):
        read(path)


def make_linked(path: Path, links: dict[str, str], files: dict[str, bytes]) -> Path:
    """A zip with symbolic links, a tar with hard ones; the links stand before what they lead to."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for name, target in links.items():
                link = zipfile.ZipInfo(name)
                link.external_attr = 0o120777 << 16
                zipped.writestr(link, os.path.relpath(target, os.path.dirname(name) or "."))
            for name, content in files.items():
                zipped.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as file:
        for name, target in links.items():
            add(file, name, type=tarfile.LNKTYPE, linkname=target)
        for name, content in files.items():
            add(file, name, content)
    return path


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_links_to_other_members_are_images_as_they_are_in_a_folder(
    tmp_path: Path, kind: str
) -> None:
    stored = {"cat/1.png": png(1), "store/7f": png(2), "store/9.bin": png(3), "store/text": b"x"}
    links = {
        "dog/1.png": "cat/1.png", "dog/2.png": "store/7f", "dog/3.png": "dog/2.png",
        "dog/4": "store/9.bin", "dog/5": "store/text", "dog/6.png": "none.png",
        "dog/7.png": "store", "dog/8.png": "dog/9.png", "dog/9.png": "dog/8.png",
        "dog/10.txt": "cat/1.png",
    }  # fmt: skip
    path = make_linked(tmp_path / kind, links, stored)
    source = open_source(PrepareParams(source="archive", path=kind), tmp_path, tmp_path)
    assert dict(source.items) == {
        "cat/1.png": png(1), "store/7f": png(2),
        "dog/1.png": png(1), "dog/2.png": png(2), "dog/3.png": png(2), "dog/4": png(3),
    }  # fmt: skip
    assert source.skipped == {
        ".bin": 1, "without an ending": 2, ".txt": 1, "links to no file of the archive": 4,
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == [path]


def test_symbolic_links_of_a_tar_are_read_from_their_own_folder(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        add(file, "store/1.png", png(1))
        add(file, "cat/2.png", type=tarfile.SYMTYPE, linkname="../store/1.png")
    assert dict(read(tmp_path / "a.tar")) == {"store/1.png": png(1), "cat/2.png": png(1)}


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_many_links_to_one_large_member_are_a_bomb(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monge.data.gate._FREE_BYTES", 2**20)
    monkeypatch.setattr("monge.data.gate.MAX_EXPANSION", 1)
    large = png(1) + np.random.default_rng(0).bytes(100_000)
    links = {f"dog/{n}.png": "cat/1.png" for n in range(20)}
    with pytest.raises(SourceError, match=r"'cat/1\.png' expands more than 1 times by its links"):
        read(make_linked(tmp_path / kind, links, {"cat/1.png": large}))


def test_a_sparse_member_is_read_whole(tmp_path: Path) -> None:
    whole = png(1) + bytes(1 << 20)  # a decoder does not mind what comes after the end
    (tmp_path / "cat").mkdir()
    with (tmp_path / "cat" / "1.png").open("wb") as file:
        file.write(png(1))
        file.truncate(len(whole))
    tar = shutil.which("tar")
    if tar is None:
        pytest.skip("there is no tar here to write sparse members")
    for form in ("gnu", "posix"):
        command = [tar, f"--format={form}", "-S", "-cf", f"{form}.tar", "cat"]
        subprocess.run(command, cwd=tmp_path, check=True)
        assert (tmp_path / f"{form}.tar").stat().st_size < 1 << 19
        assert read(tmp_path / f"{form}.tar") == [("cat/1.png", whole)]


def test_separators_of_windows_are_separators_in_a_zip_that_has_no_others(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("pics\\cat\\0.png", "pics\\dog\\0.png"):
            member = zipfile.ZipInfo("x")
            member.filename, member.create_system = name, 0
            file.writestr(member, png(1))
    assert [name for name, _ in read(tmp_path / "a.zip")] == ["pics/cat/0.png", "pics/dog/0.png"]


@pytest.mark.parametrize("apart", ["/", "\\"])
def test_separators_of_windows_may_stand_beside_others(tmp_path: Path, apart: str) -> None:
    """Folders have the one, files the other; or files have both, or some files each."""
    files = {f"pics{apart}cat\\{n}.png": png(n) for n in range(4)}
    path = make_zip(tmp_path / "a.zip", {"pics/dog/1.png": png(9), **files})
    wanted = {"pics/dog/1.png", *(f"pics/cat/{n}.png" for n in range(4))}
    assert {name for name, _ in read(path)} == wanted


def test_a_backslash_in_a_few_names_is_a_letter(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"cat/1.png": png(1), "cat/a\\nb.png": png(2)})
    assert [name for name, _ in read(path)] == ["cat/1.png", "cat/a\\\\nb.png"]


def test_names_in_utf8_that_are_not_marked_so_are_read_as_meant(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"caf##/1.png": png(1), "tea/1.png": png(2)})
    path.write_bytes(path.read_bytes().replace(b"caf##", "café".encode()))
    assert [name for name, _ in read(path)] == ["café/1.png", "tea/1.png"]
    path.write_bytes(path.read_bytes().replace("café".encode(), b"caf\x82\x82"))  # of MS-DOS
    assert [name for name, _ in read(path)] == ["caféé/1.png", "tea/1.png"]


@pytest.mark.parametrize("checked", [True, False])
def test_a_name_that_stands_in_utf8_beside_a_code_page_is_that(
    tmp_path: Path, checked: bool
) -> None:
    meant, written = "犬/1.png".encode(), "犬/1.png".encode("cp932")
    again = struct.pack("<BI", 1, zlib.crc32(written if checked else b"renamed since")) + meant
    info = zipfile.ZipInfo("@@/1.png")
    info.extra = struct.pack("<HHI", 0x7075, 4, 0) + struct.pack("<HH", 0x7075, len(again)) + again
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, png(1))
    content = (tmp_path / "a.zip").read_bytes().replace(b"@@/", written[:3])
    (tmp_path / "a.zip").write_bytes(content)
    (found,) = (name for name, _ in read(tmp_path / "a.zip"))
    assert found == (meant.decode() if checked else written.decode("cp437"))


def test_names_that_collide_when_escaped_stay_two(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", files={"a\nb.png": png(1), "a\\nb.png": png(2)})
    assert dict(read(path)) == {"a\\nb.png": png(1), "a\\\\nb.png": png(2)}


@pytest.mark.parametrize("name", ["7:30 am.png", "a:b.png", "C:.png"])
def test_a_colon_is_a_letter_like_others(tmp_path: Path, name: str) -> None:
    assert [found for found, _ in read(make_tar(tmp_path / "a.tar", files={name: png(1)}))] == [
        name
    ]


def test_a_large_file_beside_the_images_is_none_of_theirs(tmp_path: Path) -> None:
    zipped = make_zip(tmp_path / "a.zip", {"cat/1.png": png(1), "features.npy": b"x"})
    content = bytearray(zipped.read_bytes())
    at = content.rindex(b"PK\x01\x02")  # the uncompressed size that its directory claims
    content[at + 24 : at + 28] = (64 << 20).to_bytes(4, "little")
    zipped.write_bytes(content)
    assert [name for name, _ in read(zipped)] == ["cat/1.png"]
    source = open_source(PrepareParams(source="archive", path="a.zip"), tmp_path, tmp_path)
    list(source.items)
    assert source.skipped == {".npy": 1}


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"), (b"Rar!\x1a\x07\x01\0", "a RAR archive"),
        (b"\x28\xb5\x2f\xfd", "compressed by zstd"), (b"\x04\x22\x4d\x18", "compressed by LZ4"),
        (b"LZIP\1", "compressed by lzip"), (b"\x1f\x9d\x90", "compressed by compress"),
        (b"MSCF", "a CAB archive"), (b"070701", "a cpio archive"),
    ],
)  # fmt: skip
def test_what_is_no_archive_that_is_read_is_called_by_its_name(
    tmp_path: Path, start: bytes, told: str
) -> None:
    (tmp_path / "a.zip").write_bytes(start + bytes(600))
    with pytest.raises(SourceError, match=rf"a\.zip: {told}.*\.tar\.xz are: unpack it") as caught:
        read(tmp_path / "a.zip")
    assert "Fetch it again" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"<!DOCTYPE html>", "a web page.*fetch the file"), (b"<html><body>", "a web page"),
        (b"\r\n  <html>", "a web page"), (b"\xef\xbb\xbf<!doctype html>", "a web page"),
        ("<!DOCTYPE html>".encode("utf-16"), "a web page"),
        (b'<?xml version="1.0"?>\n<Error><Code>NoSuchKey', "a message of a server"),
        (b'{"message": "Not Found"}', "a message of a server"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS.*git lfs pull"),
        (b"outs:\n- md5: 1\n", "a file of DVC's.*dvc pull"),
        (png(1), "an image.*name the folder"), (gzip.compress(png(1), mtime=0), "an image"),
        (b"PAR1", "a Parquet table.*write its images as PNG"), (b"\x89HDF\r\n\x1a\n", "an HDF5"),
        (b"\x93NUMPY", "a NumPy array"), (b"PK\x07\x08", "a part of a zip"),
        (gzip.compress(b"\0\0\x08\x03" + bytes(999), mtime=0), "images.*MNIST.*source=mnist"),
        (b"\0\0\0\x18ftypmp42", "a video"), (b"\x1a\x45\xdf\xa3", "a video"),
        (b"RIFF\0\0\0\0AVI LIST", "a video"), (b"MZ\x90", "a program for Windows"),
    ],
)  # fmt: skip
def test_what_is_no_archive_at_all_is_called_by_its_name_with_a_way_on(
    tmp_path: Path, start: bytes, told: str
) -> None:
    (tmp_path / "a.zip").write_bytes(start + bytes(600) * (start[:2] != b"\x1f\x8b"))
    with pytest.raises(SourceError, match=rf"a\.zip: {told}"):
        read(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["matlab/1.png", "0707/1.png", "mz.png", "outs: 1.png"])
def test_a_tar_is_one_whatever_its_first_member_is_called(tmp_path: Path, name: str) -> None:
    assert read(make_tar(tmp_path / "a.tar", files={name: png(1)})) == [(name, png(1))]


@pytest.mark.parametrize("at", [8, 10])  # the flags, the method
def test_a_text_that_cannot_be_read_is_no_reason_to_refuse_the_images(
    tmp_path: Path, at: int
) -> None:
    path = make_zip(tmp_path / "a.zip", {"cat/1.png": png(1), "password.txt": b"x"})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + at] = 93
    path.write_bytes(content)
    assert read(path) == [("cat/1.png", png(1))]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_tars_put_one_behind_the_other_are_refused_before_the_second_is_lost(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    parts = [
        pack(make_tar(tmp_path / "x", files={f"{name}.png": png(1)}).read_bytes())
        for name in ("cat", "dog")
    ]
    (tmp_path / "a.tar").write_bytes(b"".join(parts))
    with pytest.raises(SourceError, match=r"a\.tar: goes on behind its end.*tar -i"):
        read(tmp_path / "a.tar")


@pytest.mark.parametrize(("method", "told"), [(9, "deflate64"), (93, "zstd"), (77, "method 77")])
def test_a_compression_that_is_not_read_is_named(tmp_path: Path, method: int, told: str) -> None:
    path = make_zip(tmp_path / "a.zip", {"cat/1.png": png(1)})
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 10 : at + 12] = method.to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(SourceError, match=rf"'cat/1\.png' is compressed by {told}") as caught:
        read(path)
    assert "Unpack it and name the folder" in str(caught.value)


def test_an_image_without_an_ending_is_one_by_its_bytes(tmp_path: Path) -> None:
    files = {"cat/1": png(1), "cat/README": b"hello", "cat/2.png": png(2)}
    for make in (make_tar, make_zip):
        make(tmp_path / "a", files=files)
        source = open_source(PrepareParams(source="archive", path="a"), tmp_path, tmp_path)
        assert [name for name, _ in source.items] == ["cat/1", "cat/2.png"]
        assert source.skipped == {"without an ending": 1}


def test_an_encrypted_link_is_refused_like_other_members(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        link = zipfile.ZipInfo("cat/2.png")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "1.png")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"'cat/2\.png' is encrypted"):
        read(path)


def test_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"cat/1.png": png(1)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    # General purpose flag, bit 0, of the file's entry in the central directory.
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"'cat/1\.png' is encrypted"):
        read(path)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_the_same_name_twice_is_refused(
    tmp_path: Path, make: Callable[..., Path], recwarn: pytest.WarningsRecorder
) -> None:
    path = make(tmp_path / "a", files={"cat/1.png": png(1), "./cat/1.png": png(2)})
    with pytest.raises(SourceError, match="is there twice"):
        read(path)


def test_absurd_declared_sizes_are_refused_before_reading(tmp_path: Path) -> None:
    member = tarfile.TarInfo("cat/1.png")
    member.size = MAX_FILE_BYTES + 1
    (tmp_path / "a.tar").write_bytes(member.tobuf() + bytes(10240))
    with pytest.raises(SourceError, match=f"claims {MAX_FILE_BYTES + 1} bytes"):
        read(tmp_path / "a.tar")


def test_zip_bomb_is_refused_before_reading(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"1.png": png(1), "2.png": bytes(100 * 2**20)})
    with pytest.raises(SourceError, match=r"'2\.png' expands more than 200 times"):
        read(path)


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_compressed_tar_bomb_is_stopped(tmp_path: Path, mode: str) -> None:
    path = make_tar(tmp_path / "a", mode, {"1.png": png(1), "2.txt": bytes(96 * 2**20)})
    with pytest.raises(SourceError, match="expanded more than 200 times"):
        read(path)


def test_more_images_than_allowed_are_refused(tmp_path: Path) -> None:
    for path in (make_zip(tmp_path / "a.zip"), make_tar(tmp_path / "a.tar")):
        assert len(read(path, max_images=3)) == 3
        with pytest.raises(SourceError, match=r"more than 2 images.*prepare\.max_images"):
            read(path, max_images=2)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_cut_anywhere_is_refused_never_silently_shorter(tmp_path: Path, mode: str) -> None:
    path = make_tar(tmp_path / "a", mode)
    content = path.read_bytes()
    # For the plain one the end-of-archive blocks are padding: cut before them.
    length = len(content) if mode != "w" else content.rstrip(b"\0").__len__()
    for end in {1, 7, length // 3, length // 2, length - 700, length - 5} - {0}:
        path.write_bytes(content[: max(1, end)])
        with pytest.raises(SourceError, match=r"damaged archive|no image found"):
            read(path)


def test_a_tar_cut_between_members_is_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", files={"1.png": png(1), "2.png": png(2)})
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"2.png")])
    with pytest.raises(SourceError, match=r"damaged archive.*stops after 1\.png"):
        read(path)


def test_a_damaged_header_inside_a_tar_is_not_taken_for_its_end(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", files={"1.png": png(1), "2.png": png(2), "3.png": png(3)})
    content = bytearray(path.read_bytes())
    content[content.index(b"2.png")] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"damaged archive.*stops after 1\.png"):
        read(path)


def test_a_flipped_bit_in_a_compressed_tar_is_found(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a", "w:xz", {"1.png": png(1, 64)})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(SourceError, match="damaged archive"):
        read(path)


def test_one_damaged_zip_member_costs_only_itself(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"1.png": png(1), "2.png": png(2)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(png(1)) + 40] ^= 1
    path.write_bytes(content)
    items = dict(read(path))
    damaged = items["1.png"]
    assert isinstance(damaged, Unreadable)
    assert "damaged in the archive" in damaged.reason
    assert items["2.png"] == png(2)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(2000), b"PK\x03\x04 no", b"BZh9 no"])
def test_what_is_no_archive_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(SourceError, match=r"^(a\.zip: damaged archive|no image found)") as caught:
        read(tmp_path / "a.zip")
    assert "\n" not in str(caught.value)


def test_an_archive_of_archives_says_which_one_to_name(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip").read_bytes()
    path = make_zip(tmp_path / "a.zip", {"inner.zip": inner})
    with pytest.raises(SourceError, match=r"1 \.zip \(an archive inside.*Name the archive itself"):
        read(path)


def test_an_archive_without_images_says_so(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.txt": b"", "b.json": b""})
    with pytest.raises(SourceError, match=r"no image found in a\.zip, only 1 \.txt, 1 \.json\."):
        read(path)


def test_missing_file_and_folder_say_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError, match=r"folder: is a folder\. Set prepare\.source to folder"):
        read(tmp_path / "folder")
    with pytest.raises(SourceError, match=r"none\.zip: no such file"):
        read(tmp_path / "none.zip")
