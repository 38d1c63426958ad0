"""Pictures: each pixel where it belongs, and nothing half written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monge.errors import InputError, StorageError
from monge.serving.pictures import grid, write


def _images(n: int, height: int = 8, width: int = 8, channels: int = 1) -> np.ndarray:
    generator = np.random.default_rng(n)
    return generator.integers(0, 256, (n, height, width, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_holds_every_image_row_by_row(channels: int) -> None:
    images = _images(7, 4, 6, channels)
    picture = np.asarray(grid(images, columns=3, scale=2))
    picture = picture.reshape(*picture.shape[:2], channels)
    pitch_y, pitch_x = (picture.shape[0] - 8) // 2, (picture.shape[1] - 12) // 2
    assert (pitch_y - 8, pitch_x - 12) == (1, 1)
    for i, image in enumerate(images):
        y, x = i // 3 * pitch_y, i % 3 * pitch_x
        part = picture[y : y + 8, x : x + 12]
        for pixels in (part[::2, ::2], part[1::2, ::2], part[::2, 1::2], part[1::2, 1::2]):
            np.testing.assert_array_equal(pixels, image)


@pytest.mark.parametrize(("side", "at_least"), [(4, 32), (8, 32), (28, 32), (64, 64)])
def test_tiny_images_are_enlarged_and_large_ones_are_not(side: int, at_least: int) -> None:
    width, height = grid(_images(64, side, side)).size
    assert 8 * at_least <= width <= 8 * max(96, side)
    assert width == height


def test_a_png_is_the_grid(tmp_path: Path) -> None:
    images = _images(5)
    write(images, tmp_path / "new" / "grid.PNG")
    read = Image.open(tmp_path / "new" / "grid.PNG")
    np.testing.assert_array_equal(np.asarray(read), np.asarray(grid(images)))
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["grid.PNG"]


def test_an_npz_holds_the_images(tmp_path: Path) -> None:
    images = _images(5, channels=3)
    write(images, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as read:
        assert list(read) == ["images"]
        np.testing.assert_array_equal(read["images"], images)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_holds_one_picture_an_image_in_order(tmp_path: Path, channels: int) -> None:
    images = _images(12, channels=channels)
    write(images, tmp_path / "faces")
    names = sorted(item.name for item in (tmp_path / "faces").iterdir())
    assert names == [f"{i:05}.png" for i in range(12)]
    for name, image in zip(names, images, strict=True):
        read = np.asarray(Image.open(tmp_path / "faces" / name))
        np.testing.assert_array_equal(read.reshape(image.shape), image)


def test_an_empty_folder_is_taken_and_one_with_files_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run.1"
    folder.mkdir()
    write(_images(1), folder)
    before = (folder / "00000.png").read_bytes()
    with pytest.raises(InputError, match="has files"):
        write(_images(2), folder)
    assert [item.name for item in folder.iterdir()] == ["00000.png"]
    assert (folder / "00000.png").read_bytes() == before


def test_another_suffix_is_refused_with_the_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.gif.*\.png.*\.npz.*folder"):
        write(_images(1), tmp_path / "x.gif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.png", "x.npz", "x"])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name != "x":
        (tmp_path / name).write_bytes(b"old")
    before = sorted(tmp_path.iterdir())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(StorageError, match="No space left"):
        write(_images(3), tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before
    assert all(item.read_bytes() == b"old" for item in before)


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 2), np.uint8), np.zeros((2, 8, 8, 1)), []],
)
def test_what_is_no_stack_of_images_is_refused(images: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="uint8"):
        write(images, tmp_path / "x.png")


def test_a_grid_too_large_to_look_at_is_refused() -> None:
    with pytest.raises(InputError, match="million pixels"):
        grid(_images(100, 64, 64), scale=30)
    with pytest.raises(InputError, match="at least one"):
        grid(_images(0))
