"""Write images where people and programs can use them: a grid, an array, a folder of pictures."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monge.errors import InputError, StorageError
from monge.files import sync
from monge.outputs import beside, is_stream, send, target
from monge.pictures import TILE_PX, tile
from monge.serving.marks import Packet, save

if TYPE_CHECKING:
    from PIL import Image

Images = NDArray[np.uint8]

MAX_GRID_PIXELS = 200_000_000


def grid(images: Images, columns: int | None = None, scale: int | None = None) -> Image.Image:
    """Tile uint8 [n, H, W, C] row by row, each pixel enlarged to scale × scale.

    By default about as many columns as rows, and tiny images enlarged until they can be seen.
    Raises InputError for what is too large to look at.
    """
    n, height, width, _ = _check(images)
    if n == 0:
        raise InputError("a grid needs at least one image.")
    # Left to itself, `tile` enlarges to less than twice its smallest tile.
    sides = [side * scale if scale else max(side, 2 * TILE_PX) for side in (height, width)]
    if n * sides[0] * sides[1] > MAX_GRID_PIXELS:
        raise InputError(
            f"a grid of {n} images would have more than {MAX_GRID_PIXELS // 10**6} million pixels: "
            "write fewer, or an .npz file or a folder of pictures."
        )
    return picture(tile(images, columns, scale))


def write(images: Images, output: Path, packet: Packet | None = None) -> None:
    """Write uint8 [n, H, W, C] to `x.png` (a grid), `x.npz` (key `images`), or a new folder.

    `-` is standard output; it, pipes and devices get a grid. Links are followed. The folder gets
    00000.png, 00001.png and so on. `packet` is the mark of each picture. What is there afterwards
    is whole. Raises InputError for another suffix or a folder that has files, StorageError on a
    full disk.
    """
    output = Path(output)
    _check(images)
    if is_stream(output):
        _send(images, output, packet)
        return
    output = target(output)
    suffix = output.suffix.lower()
    if output.is_dir() or suffix == "":
        _whole(output, lambda place: _write_folder(images, place, packet), folder=True)
    elif suffix == ".png":
        write_one(grid(images), output, None if packet is None else packet(None))
    elif suffix == ".npz":
        _whole(output, lambda place: _write_array(images, place))
    else:
        raise InputError(
            f"{output}: cannot write {suffix}. Name a .png (one grid), an .npz (the array), or a "
            "folder (one PNG an image)."
        )


def _send(images: Images, output: Path, packet: Packet | None) -> None:
    """Send a grid, or the array where the name ends in .npz, into a pipe or a device."""
    data = io.BytesIO()
    if output.suffix.lower() == ".npz":
        np.savez(data, images=images)
    else:
        save(grid(images), data, "png", None if packet is None else packet(None))
    try:
        send(output, data.getvalue())
    except OSError as error:
        raise StorageError(f"{output}: cannot be written: {error.strerror or error}.") from None


def write_one(drawn: Image.Image, output: Path, packet: bytes | None) -> None:
    """Write one picture, a .png or a .webp, whole or not at all. Raises StorageError."""
    output = target(output)
    form = output.suffix[1:].lower()
    if form not in ("png", "webp"):
        raise InputError(f"{output}: a picture is written as .png or .webp.")
    _whole(output, lambda place: save(drawn, place, form, packet))


def _write_folder(images: Images, folder: Path, packet: Packet | None) -> None:
    folder.mkdir()
    digits = max(5, len(str(len(images) - 1)))
    for i, image in enumerate(images):
        mark = None if packet is None else packet(i)
        save(picture(image), folder / f"{i:0{digits}}.png", "png", mark)


def _write_array(images: Images, place: Path) -> None:
    with place.open("wb") as file:  # given a name, numpy would add a suffix to it
        np.savez(file, images=images)


def _whole(output: Path, fill: Callable[[Path], None], *, folder: bool = False) -> None:
    """Let `fill` write aside, in a folder that is removed, and move the result into its place."""
    if folder and output.is_dir() and any(output.iterdir()):
        raise InputError(f"{output}: this folder has files. Name a new one.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=beside(output.name), dir=output.parent))
        try:
            fill(aside / "new")
            if not folder:
                sync(aside / "new")
            (aside / "new").replace(output)
            sync(output.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"{output}: cannot be written: {error.strerror or error}. "
            "Free space, or name another place."
        ) from None


def picture(image: Images) -> Image.Image:
    """One image, uint8 [H, W, C], as Pillow has it."""
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _check(images: Any) -> tuple[int, int, int, int]:
    shape: tuple[int, ...] = getattr(images, "shape", ())
    if len(shape) != 4 or shape[3] not in (1, 3, 4) or images.dtype != np.uint8:
        raise InputError(f"images must be uint8 [n, H, W, 1 or 3], got shape {tuple(shape)}.")
    return shape[0], shape[1], shape[2], shape[3]
