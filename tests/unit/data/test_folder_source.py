"""A folder of images is walked completely, repeatably, and never left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from monge.data.decode import Recipe, decode_chunk
from monge.data.encoded import Unreadable, image_extensions
from monge.data.listing import Source
from monge.data.sources import open_source
from monge.errors import SourceError
from monge.params import PrepareParams


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2)).save(path, "PNG")
    return path


def source(root: Path, path: str = "raw", **params: Any) -> Source:
    return open_source(PrepareParams(source="folder", path=path, **params), root, root)


def names(root: Path) -> list[str]:
    return [name for name, _ in source(root).items]


def test_images_come_sorted_by_path_with_other_files_counted(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.JPG", "a/b/0.webp", "z.tiff", "é.png"):
        touch(tmp_path / "raw" / name)
    for name in ("notes.txt", "a/labels.json", "x.eps", "x.pdf", "none"):
        (tmp_path / "raw" / name).write_text("x")
    for name in (".hidden.png", ".git/x.png", "__MACOSX/a.png"):
        touch(tmp_path / "raw" / name)
    found = source(tmp_path)
    assert [name for name, _ in found.items] == [
        "a/1.JPG",
        "a/b/0.webp",
        "b/2.png",
        "z.tiff",
        "é.png",
    ]
    assert found.skipped == {
        ".txt": 1, ".json": 1, ".eps": 1, ".pdf": 1, "without an ending": 1, "hidden images": 1,
    }  # fmt: skip
    assert found.count == 5
    assert found.description == {"kind": "folder", "name": "raw"}


def test_thumbnails_and_bins_of_systems_are_not_taken_for_images(tmp_path: Path) -> None:
    touch(tmp_path / "raw" / "cat" / "1.png")
    for folder in ("@eaDir/1.png", "$RECYCLE.BIN", "lost+found", "#recycle", ".ipynb_checkpoints"):
        touch(tmp_path / "raw" / "cat" / folder / "SYNOPHOTO_THUMB_M.jpg")
    touch(tmp_path / "raw" / ".mine" / "2.png")
    found = source(tmp_path)
    assert [name for name, _ in found.items] == ["cat/1.png"]
    assert found.skipped == {"hidden folders": 1}  # a person may have meant that one


@pytest.mark.parametrize(
    "name", ["1.jpg?w=300", "1.png~", "v1.5", "1.jpeg_large", "1.jpg:orig", "1.png ", "1.PNG.1"]
)
def test_an_ending_that_says_nothing_leaves_it_to_the_bytes(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "raw" / name)
    (tmp_path / "raw" / f"text {name}").write_text("x")
    found = source(tmp_path)
    assert [each for each, _ in found.items] == [name]
    assert found.skipped == {"without an ending": 1}


def test_a_zip_of_windows_that_was_unpacked_elsewhere_has_its_folders_again(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(3):
            touch(tmp_path / "raw" / f"pics\\{name}\\{number}.png")
    assert names(tmp_path)[0] == "pics/cat/0.png"
    touch(tmp_path / "raw" / "pics" / "cat" / "0.png")  # which would be there twice
    assert names(tmp_path)[0] == "pics/cat/0.png"
    assert names(tmp_path)[1] == "pics\\\\cat\\\\0.png"


def test_only_safe_raster_formats_count_as_images() -> None:
    extensions = image_extensions()
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".bmp", ".gif", ".pgm"} <= extensions
    assert not {".eps", ".ps", ".pdf", ".wmf", ".emf", ".svg", ".txt"} & extensions


def test_links_that_leave_are_rejected_by_name_and_not_followed(tmp_path: Path) -> None:
    touch(tmp_path / "raw" / "a.png")
    touch(tmp_path / "outside" / "secret.png")
    (tmp_path / "raw" / "file.png").symlink_to(tmp_path / "outside" / "secret.png")
    (tmp_path / "raw" / "folder").symlink_to(tmp_path / "outside")
    items = dict(source(tmp_path).items)
    assert set(items) == {"a.png", "file.png", "folder"}
    for name in ("file.png", "folder"):
        found = items[name]
        assert isinstance(found, Unreadable)
        assert "symbolic link" in found.reason


def test_a_neighbour_with_the_same_beginning_is_outside(tmp_path: Path) -> None:
    touch(tmp_path / "raw" / "a.png")
    touch(tmp_path / "raw-private" / "b.png")
    (tmp_path / "raw" / "b.png").symlink_to(tmp_path / "raw-private" / "b.png")
    assert isinstance(dict(source(tmp_path).items)["b.png"], Unreadable)


def test_links_inside_and_loops_are_harmless(tmp_path: Path) -> None:
    touch(tmp_path / "raw" / "a" / "1.png")
    (tmp_path / "raw" / "a" / "up").symlink_to(tmp_path / "raw")
    (tmp_path / "raw" / "self.png").symlink_to("self.png")
    (tmp_path / "raw" / "dangling.png").symlink_to("nothing.png")
    (tmp_path / "raw" / "alias.png").symlink_to("a/1.png")
    items = dict(source(tmp_path).items)
    assert list(items) == ["a/1.png", "alias.png", "dangling.png", "self.png"]
    reasons = decode_chunk(list(items.values()), Recipe(4, "grey", "crop", "#000000", 100)).reasons
    assert reasons[:2] == [None, None]
    assert reasons[2] == "cannot be read: No such file or directory"
    assert reasons[3] == "cannot be read: Too many levels of symbolic links"


def test_the_folder_itself_may_be_a_link_to_another_disk(tmp_path: Path) -> None:
    touch(tmp_path / "disk" / "a.png")
    (tmp_path / "raw").symlink_to(tmp_path / "disk")
    assert names(tmp_path) == ["a.png"]


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    touch(tmp_path / "raw" / "a.png")
    os.mkfifo(tmp_path / "raw" / "b.png")
    assert names(tmp_path) == ["a.png"]


def test_odd_file_names_are_escaped(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path / "raw")
    os.mkdir(raw)
    for name in (b"a\nb.png", b"\xff.png", b"\x1b[31m.png"):
        Image.new("L", (2, 2)).save(os.fsdecode(raw + b"/" + name), "PNG")
    assert names(tmp_path) == ["\\udcff.png", "\\x1b[31m.png", "a\\nb.png"]


def test_no_image_no_folder_and_a_file_each_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(SourceError, match=r"^no image found in raw\. Put images there, or set"):
        source(tmp_path)
    for number in range(12):
        (tmp_path / "raw" / f"{number}.txt").write_text("x")
    with pytest.raises(SourceError, match=r"^no image found in raw, only 12 \.txt\. Put"):
        source(tmp_path)
    with pytest.raises(SourceError, match=r"prepare\.path: none: no such folder"):
        source(tmp_path, "none")
    with pytest.raises(SourceError, match=r"Set prepare\.source to archive"):
        source(tmp_path, "raw/1.txt")


def test_too_many_images_are_refused(tmp_path: Path) -> None:
    for number in range(3):
        touch(tmp_path / "raw" / f"{number}.png")
    assert source(tmp_path, max_images=3).count == 3
    with pytest.raises(SourceError, match="more than 2 images"):
        source(tmp_path, max_images=2)


def test_a_source_outside_the_project_is_recorded_by_its_name_only(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "a.png")
    found = source(tmp_path / "project", str(tmp_path / "elsewhere"))
    assert found.description["name"] == "elsewhere"
    assert source(tmp_path, "elsewhere").description["name"] == "elsewhere"
