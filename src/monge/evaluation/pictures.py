"""The pictures of a report, all in one style: PNG files drawn with Pillow and Matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monge import alpha
from monge.evaluation.judgement import ClassShares, Neighbours, Returned
from monge.pictures import paired, tile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image, ImageFont

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]

GRID_COLUMNS = 8
_INK, _FAINT, _BLUE, _GREY = "#222222", "#666666", "#1f5fa8", "#b9c4d0"
_ORANGE = "#c8641e"
_MARGIN_PX, _TITLE_PX, _LABEL_PX, _GAP_PX = 16, 20, 13, 6
_TILE_PX = 56
_MAX_TILE_PX = 128
_MAX_CLASSES_NAMED = 30
_MOST_ERRORS = 20.0
_FILTER_SHARE = 1 / 20


def grid(images: Images, title: str, path: Path) -> None:
    """Draw uint8 [n, H, W, C] in rows of eight under a title."""
    _titled(_tiles(images, GRID_COLUMNS), title, "").save(path)


def interpolations(rows: Images, path: Path) -> None:
    """Draw uint8 [rows, steps, H, W, C]: each row leads from one latent to another."""
    flat = rows.reshape(-1, *rows.shape[2:])
    subtitle = "Each row: from one latent to another, on the sphere"
    _titled(_tiles(flat, rows.shape[1]), "Interpolations", subtitle).save(path)


def reconstructions(found: Returned, path: Path) -> None:
    """Draw held-out images and what came back of them, in turn; odd rows are real."""
    pairs = paired(found.images, found.reconstructions, GRID_COLUMNS)
    subtitle = "Odd rows: held-out images; below each its reconstruction"
    _titled(_tiles(pairs, GRID_COLUMNS), "Reconstructions", subtitle).save(path)


def walks_between_images(rows: Images, path: Path) -> None:
    """Draw uint8 [rows, steps, H, W, C]: each row leads from one image's latents to another's."""
    flat = rows.reshape(-1, *rows.shape[2:])
    subtitle = "Each row: from a held-out image's latents to another's"
    _titled(_tiles(flat, rows.shape[1]), "Walks between images", subtitle).save(path)


def posterior(found: Returned, path: Path) -> None:
    """Draw where the latents of images lie beside the prior's: along two axes, and how far out.

    The axes are those of the images' latents with the largest variance.
    """
    from matplotlib.figure import Figure

    figure = Figure((9.0, 4.5), dpi=110, layout="constrained")
    plane, radius = figure.subplots(1, 2)
    centred = found.posterior - found.posterior.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2].T
    for latents, colour, name in (
        (found.prior, _GREY, "prior"), (found.posterior, _BLUE, "held-out images")
    ):  # fmt: skip
        along = latents @ axes
        plane.scatter(along[:, 0], along[:, -1], 4, color=colour, label=name)
        lengths = np.linalg.norm(latents, axis=1)
        radius.hist(lengths, bins=40, color=colour, alpha=0.6, label=name, density=True)
    plane.set_title("Latents", loc="left")
    plane.set_xlabel("axis of the largest variance")
    plane.set_ylabel("of the second largest")
    plane.set_aspect("equal", "datalim")
    radius.set_title("Their lengths", loc="left")
    radius.set_xlabel("length of a latent vector (of a Gaussian encoder: the mean)")
    radius.set_yticks([])
    radius.legend(frameon=False)
    for each in (plane, radius):
        each.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def neighbours(found: Neighbours, path: Path) -> None:
    """Draw each generated image beside its nearest training images, with their distances."""
    from PIL import Image, ImageDraw

    rows, k = found.distances.shape
    first, font = _tiles(found.generated[:1], 1), _font(_LABEL_PX)
    # Where images are narrow, the words over and under them need more room than they do.
    step = _GAP_PX + max(first.width, math.ceil(font.getlength("00.00")))
    apart = max(first.width + 4 * _GAP_PX, math.ceil(font.getlength("generated")) + 2 * _GAP_PX)
    line = first.height + _LABEL_PX + 12
    canvas = Image.new("RGB", (apart + k * step - _GAP_PX, _LABEL_PX + 8 + rows * line), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((0, 0), "generated", _INK, font)
    draw.text((apart, 0), "nearest training images", _INK, font)
    for row in range(rows):
        top = _LABEL_PX + 8 + row * line
        made = _tiles(found.generated[row : row + 1], 1)
        canvas.paste(made, (0, top))
        for column in range(k):
            left = apart + column * step
            real = _tiles(found.found[row, column : column + 1], 1)
            canvas.paste(real, (left, top))
            text = f"{found.distances[row, column]:.2f}"
            draw.text((left + 1, top + made.height + 2), text, _FAINT, font)
    subtitle = "Below: distance, pixels 0..1"
    _titled(canvas, "Nearest neighbours", subtitle).save(path)


def class_balance(shares: ClassShares, path: Path) -> None:
    """Draw bars: share of each class among generated images beside its share in the data."""
    figure, axes = _axes(9.0, 4.0)
    places = np.arange(len(shares.names))
    axes.bar(places - 0.2, 100 * shares.real, 0.4, color=_GREY, label="training images (labels)")
    axes.bar(
        places + 0.2, 100 * shares.generated, 0.4, color=_BLUE, label="generated (as classified)"
    )
    if len(shares.names) <= _MAX_CLASSES_NAMED:
        crowded = sum(len(name) for name in shares.names) > 70
        axes.set_xticks(places, shares.names, rotation=40 if crowded else 0, ha="right" if crowded
                        else "center")  # fmt: skip
    axes.set_title("Class balance", loc="left")
    axes.set_xlabel("class")
    axes.set_ylabel("share of images (%)")
    top = 100 * float(max(shares.real.max(), shares.generated.max()))
    axes.set_ylim(0, 1.25 * top)
    axes.legend(frameon=False, loc="upper right", ncols=2)
    figure.savefig(path)


def learning_curve(label: str, steps: Floats, values: Floats, held_out: Floats, path: Path) -> None:
    """Draw a training's headline over the steps, as it is and median-filtered.

    As figure 3 of Arjovsky et al. 2017 ("Wasserstein GAN"), which filters in the same way. Beside
    it the same with held-out images, as in figure 5 of Gulrajani et al. 2017: the gap between the
    two is how much the critic has overfitted.
    """
    figure, axes = _axes(9.0, 4.5)
    axes.plot(steps, values, color=_GREY, linewidth=0.8, label="as logged")
    axes.plot(steps, _median_filtered(values), color=_BLUE, linewidth=2.0, label="median filter")
    if np.isfinite(held_out).all():
        filtered = _median_filtered(held_out)
        axes.plot(steps, filtered, color=_ORANGE, linewidth=1.5, label="held-out images, filtered")
    axes.set_title("Learning curve", loc="left")
    axes.set_xlabel("generator iterations")
    axes.set_ylabel(label)
    axes.margins(x=0.01)
    axes.legend(frameon=False, loc="upper right")
    figure.savefig(path)


def beside(left: Images, right: Images, errors: Mapping[str, float], path: Path) -> None:
    """Draw two versions' images of the same latents, and under them how far their figures differ.

    uint8 [n, H, W, C] of one shape; `errors` are differences in joint standard errors, positive
    where the right one is better. Beyond 2 they are more than noise.
    """
    from PIL import Image

    side = math.isqrt(len(left))
    gap = np.full((side, 1, *left.shape[1:]), 255, np.uint8)
    halves = (images[: side**2].reshape(side, side, *left.shape[1:]) for images in (left, right))
    first, second = halves
    rows = np.concatenate([first, gap, second], axis=1)
    parts = [_tiles(rows.reshape(-1, *left.shape[1:]), 2 * side + 1)]
    if errors:
        parts.append(_differences(errors))
    canvas = Image.new("RGB", (max(p.width for p in parts), sum(p.height for p in parts)), "white")
    top = 0
    for part in parts:
        canvas.paste(part, (0, top))
        top += part.height
    _titled(canvas, "The same latents, and the figures' difference", "").save(path)


def _differences(errors: Mapping[str, float]) -> Image.Image:
    """Bars to the right where the second one is better; pale within the noise."""
    from PIL import Image

    names = list(errors)[::-1]
    values = np.clip([errors[name] for name in names], -_MOST_ERRORS, _MOST_ERRORS)
    figure, axes = _axes(9.0, 1.2 + 0.24 * len(names))
    colours = [_GREY if abs(v) < 2 else _BLUE if v > 0 else _ORANGE for v in values]
    axes.barh(np.arange(len(names)), values, color=colours)
    axes.set_yticks(np.arange(len(names)), names)
    axes.axvspan(-2, 2, color="#f0f2f5", zorder=0)
    axes.set_xlim(-1.05 * _MOST_ERRORS, 1.05 * _MOST_ERRORS)
    axes.set_xlabel("joint standard errors (cut at 20); right: the second one is better")
    axes.grid(visible=False, axis="y")
    with io.BytesIO() as file:
        figure.savefig(file, format="png")
        return Image.open(file).convert("RGB")


def _median_filtered(values: Floats) -> Floats:
    """Median over a window of about a twentieth of the curve; shorter windows at its ends."""
    reach = max(1, round(len(values) * _FILTER_SHARE / 2))
    return np.array(
        [np.median(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))]
    )


def _tiles(images: Images, columns: int) -> Image.Image:
    """Rows of images, each at least 56 pixels a side by whole factors, at most 128."""
    scale = max(1, math.ceil(_TILE_PX / max(images.shape[1:3])))
    return _picture(tile(_fitted(images), columns, scale))


def _fitted(images: Images) -> Images:
    """Images over 128 pixels a side reduced to that: a picture is looked at, not measured."""
    _, height, width, channels = images.shape
    if max(height, width) <= _MAX_TILE_PX:
        return images
    small = [_picture(image) for image in images]
    for image in small:
        image.thumbnail((_MAX_TILE_PX, _MAX_TILE_PX))
    kept = min(channels, 3)
    return np.stack([np.asarray(image)[..., :kept] for image in small])


def _picture(image: Images) -> Image.Image:
    """uint8 [H, W, 1, 3 or 4] as an RGB picture."""
    from PIL import Image

    if image.shape[-1] == alpha.CHANNELS:
        image = alpha.on_checkers(image)
    return Image.fromarray(np.broadcast_to(image, (*image.shape[:2], 3)).copy())


def _titled(picture: Image.Image, title: str, subtitle: str) -> Image.Image:
    """Put the picture on white, with a margin and a title (and a small line under it)."""
    from PIL import Image, ImageDraw

    head = _MARGIN_PX + _TITLE_PX + 12 + (_LABEL_PX + 8 if subtitle else 0)
    big, small = _font(_TITLE_PX), _font(_LABEL_PX)
    text_width = int(max(big.getlength(title), small.getlength(subtitle)))
    width = max(picture.width, text_width) + 2 * _MARGIN_PX
    canvas = Image.new("RGB", (width, head + picture.height + _MARGIN_PX), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN_PX, _MARGIN_PX - 4), title, _INK, big)
    draw.text((_MARGIN_PX, _MARGIN_PX + _TITLE_PX + 6), subtitle, _FAINT, small)
    canvas.paste(picture, (_MARGIN_PX, head))
    return canvas


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own font, so that all pictures of the report look alike."""
    import matplotlib
    from PIL import ImageFont

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(fonts / "DejaVuSans.ttf", size)


def _axes(width_inches: float, height_inches: float) -> tuple[Figure, Axes]:
    """Make a figure that needs no display and no global state of pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width_inches, height_inches), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT)
    axes.title.set_fontsize(15)
    return figure, axes
