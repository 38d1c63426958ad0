"""Train the network of `monge.metrics.pretrained`, whose weights come with the package.

    python -m benchmarks.pretrained cifar10.tar.xz --output src/monge/metrics/pretrained.safetensors

It learns from the labelled photographs below `train/` of an archive and from letters and symbols of
the fonts that matplotlib brings, drawn in grey and in colours, filled, as outlines and on badges. A
first head names the class. Every second picture is spoilt in one of six ways, and a second head
says which and how much. Each batch is of one size, 8 to 32 pixels a side, as users' pictures are.
No set that `benchmarks/judges.py` judges by is in it: its photographs are those below `test/`, and
it draws its own digits, icons and line drawings. `--without ship deer` leaves classes out, to see
what the network makes of photographs of a kind that it never saw.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from monge.metrics.pretrained import FEATURES, SIDE, build, resized

Bytes = NDArray[np.uint8]

BATCH, PHOTOGRAPHS = 256, 152
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 0.05
GLYPHS = 24_000
SIDES, SIDE_ODDS = (32, 24, 16, 8), (0.55, 0.1, 0.2, 0.15)
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif",
    "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBolIta",
)  # fmt: skip
LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyzΓΔΘΛΞΠΣΦΨΩαβγδεζλμπφψω"
SYMBOLS = (
    "←↑→↓↔↗↘↩↪↺↻∀∃∈∑√∞∩∪≈≠≤≥⊂⊕⊗■□▲△▶▼◀◆◇◉○●◐◢★☆☀☁☂☃☎☐☑☒☕☘☠☢☣☮☯☹☺☼☽♀♂♔♕♖♗♘♙♠♣♥♦♩♪♫♯⚀⚁⚂⚃⚄⚅⚐⚑⚒⚓⚔⚖⚙⚛⚠⚡"
    "⛀⛂✂✆✈✉✌✍✎✏✓✔✖✗✚✝✠✡✢✤✦✪✱✲✶✸✺✿❀❁❂❄❆❖❤❥❦➔➘➙➜➤➲➽"
)
SPOILT = ("blur", "grain", "mixing", "noise", "warping", "stains")


class Glyphs(NamedTuple):
    """Coverage of letters and symbols uint8 [n, 32, 32], of a badge below each, and classes [n]."""

    ink: Bytes
    badge: Bytes
    labels: NDArray[np.int64]


def photographs(archive: str, split: str, side: int = SIDE) -> tuple[Bytes, list[str]]:
    """The pictures of a split uint8 [n, 3, side, side], and the name of each one's class."""
    images, names = [], []
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None and f"{split}/" in member.name:
                picture = Image.open(io.BytesIO(file.read())).convert("RGB")
                small = picture.resize((side, side), Image.Resampling.BOX)
                images.append(np.asarray(small).transpose(2, 0, 1))
                names.append(member.name.split("/")[-2])
    return np.stack(images), names


def glyphs(count: int, seed: int) -> Glyphs:
    """Draw letters in nine fonts and symbols in three, turned, sized and placed by chance."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    rng = np.random.default_rng(seed)
    known = LETTERS + SYMBOLS
    labels = rng.integers(len(known), size=count)
    ink, badge = np.zeros((2, count, SIDE, SIDE), np.uint8)
    fonts = {
        (name, size): ImageFont.truetype(str(folder / f"{name}.ttf"), size)
        for name in FONTS for size in (40, 54, 68, 84)
    }  # fmt: skip
    for i, label in enumerate(labels):
        names = FONTS if label < len(LETTERS) else FONTS[:2]
        font = fonts[names[rng.integers(len(names))], int(rng.choice([40, 54, 68, 84]))]
        ink[i] = _glyph(known[label], font, rng)
        badge[i] = _badge(rng)
    return Glyphs(ink, badge, labels.astype(np.int64))


def _glyph(letter: str, font: ImageFont.FreeTypeFont, rng: np.random.Generator) -> Bytes:
    """One glyph's coverage; a third are outlines."""
    middle = (48 + rng.normal(0, 3), 48 + rng.normal(0, 3))
    outline = int(rng.integers(2, 5)) if rng.random() < 0.35 else 0
    picture = Image.new("L", (96, 96))
    draw = ImageDraw.Draw(picture)
    draw.text(middle, letter, 255, font, "mm", stroke_width=outline)
    if outline:
        draw.text(middle, letter, 0, font, "mm")
    turned = picture.rotate(float(rng.normal(0, 12)), Image.Resampling.BILINEAR)
    return np.asarray(turned.resize((SIDE, SIDE), Image.Resampling.BOX))


def _badge(rng: np.random.Generator) -> Bytes:
    """A disc, a box or a rounded box, or nothing, for half of the glyphs."""
    picture = Image.new("L", (96, 96))
    draw, edge = ImageDraw.Draw(picture), rng.uniform(1, 14)
    box, kind = (edge, edge, 95 - edge, 95 - edge), rng.integers(6)
    if kind == 0:
        draw.ellipse(box, 255)
    elif kind <= 2:
        draw.rounded_rectangle(box, rng.uniform(0, 24), 255)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


class Pictures:
    """Batches of both kinds, [n, 3, s, s] in −1..1 with classes [n], on the way to being spoilt."""

    def __init__(self, images: Bytes, labels: NDArray[np.int64], drawn: Glyphs) -> None:
        self._images, self._labels = torch.from_numpy(images), torch.from_numpy(labels)
        self._ink, self._badge = torch.from_numpy(drawn.ink), torch.from_numpy(drawn.badge)
        kinds = int(labels.max()) + 1
        self._drawn_labels = torch.from_numpy(drawn.labels) + kinds
        self.classes = kinds + len(LETTERS + SYMBOLS)

    def batch(self) -> tuple[Tensor, Tensor]:
        some = torch.randint(len(self._images), (PHOTOGRAPHS,))
        photographs = self._images[some].float() / 127.5 - 1.0
        grey = photographs.mean(1, keepdim=True).expand_as(photographs)
        photographs = torch.where(_chance(PHOTOGRAPHS, 0.25), grey, photographs)
        photographs = torch.where(_chance(PHOTOGRAPHS, 0.5), photographs.flip(3), photographs)
        others = torch.randint(len(self._ink), (BATCH - PHOTOGRAPHS,))
        x = torch.cat([photographs, self._coloured(others)])
        return _moved(x), torch.cat([self._labels[some], self._drawn_labels[others]])

    def _coloured(self, which: Tensor) -> Tensor:
        """Ink on ground, on badges; two in five dark on white or white on dark."""
        n = len(which)
        ink, badge = (x[which, None].float() / 255 for x in (self._ink, self._badge))
        ground, plate, pen = (2 * torch.rand(3, n, 3, 1, 1) - 1).unbind()
        dark = (torch.rand(n, 1, 1, 1) < 0.7).float() * 2 - 1
        plain = _chance(n, 0.4)
        ground, pen = torch.where(plain, dark, ground), torch.where(plain, -dark, pen)
        badge = torch.where(plain, 0.0, badge)
        x = ground + badge * (plate - ground)
        return x + ink * (pen - x)


def _chance(n: int, share: float) -> Tensor:
    return torch.rand(n, 1, 1, 1) < share


def _moved(x: Tensor) -> Tensor:
    """Each image moved by up to three pixels, its edge repeated."""
    n, _, height, width = x.shape
    padded = F.pad(x, [3] * 4, mode="replicate")
    down = torch.randint(0, 7, (n, 1)) + torch.arange(height)
    right = torch.randint(0, 7, (n, 1)) + torch.arange(width)
    which = torch.arange(n)[:, None, None]
    return padded[which, :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)


def spoil(x: Tensor) -> tuple[Tensor, Tensor]:
    """Spoil every second image in one way; amounts [n, 6], 0 or 0.2 to 1, say which and how."""
    n = len(x)
    amounts = torch.zeros(n, len(SPOILT))
    x = x.clone()
    shuffled = torch.randperm(n)
    each = n // (2 * len(SPOILT))
    for k, ways in enumerate((blurred, grainy, mixed, noisy, warped, stained)):
        some = shuffled[k * each : (k + 1) * each]
        much = torch.rand(each, 1, 1, 1) ** 1.5
        x[some] = ways(x[some], much)
        amounts[some, k] = 0.2 + 0.8 * much.flatten()
    return x.clamp(-1, 1), amounts


def blurred(x: Tensor, much: Tensor) -> Tensor:
    """A Gaussian blur of a 64th to a fifth of the side."""
    side = x.shape[-1]
    sigma = side * 2 ** (3.7 * much[:, :, 0] - 6)
    apart = torch.arange(side)[:, None] - torch.arange(side)
    kernel = torch.exp(-0.5 * (apart / sigma) ** 2)
    kernel = (kernel / kernel.sum(2, keepdim=True))[:, None]
    soft: Tensor = kernel @ x @ kernel.transpose(2, 3)
    return soft


def grainy(x: Tensor, much: Tensor) -> Tensor:
    """White noise, grey or coloured, of a standard deviation of 0.02 to 0.7."""
    noise = torch.randn_like(x)
    noise[::2] = noise[::2, :1]
    return x + 2 ** (5 * much - 5.5) * noise


def mixed(x: Tensor, much: Tensor) -> Tensor:
    """Up to half of another image, over the whole or from a line on."""
    across = torch.rand(len(x), 1, 1, 1) < 0.5
    line = torch.sigmoid((torch.linspace(-1, 1, x.shape[-1]) - 1 + much) * 20)
    share = torch.where(across, line, much / 2)
    return x + share * (x.roll(1, 0) - x)


def noisy(x: Tensor, much: Tensor) -> Tensor:
    """The waves' phases moved towards random ones: at 1 noise of the image's own spectrum."""
    waves = torch.fft.fft2(x)
    turn = torch.fft.fft2(torch.randn(len(x), 1, *x.shape[2:])).angle()
    mean = x.mean((2, 3), keepdim=True)
    turned: Tensor = torch.fft.ifft2(waves * torch.exp(1j * much * turn)).real
    return turned - turned.mean((2, 3), keepdim=True) + mean


def warped(x: Tensor, much: Tensor) -> Tensor:
    """Each place moved by a smooth field of up to an eighth of the side."""
    side = x.shape[-1]
    field = F.interpolate(torch.randn(len(x), 2, 5, 5), (side, side), mode="bicubic")
    axis = (2 * torch.arange(side) + 1) / side - 1
    here = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    places = here + (0.03 + 0.2 * much) * field.permute(0, 2, 3, 1)
    moved: Tensor = F.grid_sample(x, places, padding_mode="border", align_corners=False)
    return moved


def stained(x: Tensor, much: Tensor) -> Tensor:
    """Coloured or grey spots of a quarter of the side."""
    spots = torch.randn(len(x), 3, 4, 4)
    spots[::2] = spots[::2, :1]
    return x + (0.05 + 0.7 * much) * F.interpolate(spots, x.shape[2:], mode="bicubic")


def train(pictures: Pictures, steps: int) -> nn.Sequential:
    """Train the network a fixed number of steps, seeded."""
    torch.manual_seed(0)
    trunk = build().to(memory_format=torch.channels_last)
    heads = nn.Linear(FEATURES, pictures.classes + len(SPOILT))
    known = [*trunk.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(known, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.2
    )
    odds, seen, began = torch.tensor(SIDE_ODDS), np.zeros(3), time.monotonic()
    for step in range(1, steps + 1):
        x, labels = pictures.batch()
        x, amounts = spoil(resized(x, SIDES[int(torch.multinomial(odds, 1))]))
        with torch.autocast("cpu", torch.bfloat16):
            found = heads(trunk(x)).float()
        named, told = found[:, : pictures.classes], found[:, pictures.classes :]
        weight = 1 - amounts.amax(1)
        wrong = F.cross_entropy(named, labels, reduction="none")
        classes, damage = (weight * wrong).sum() / weight.sum(), F.mse_loss(told, amounts)
        optimizer.zero_grad()
        torch.autograd.backward(classes + 40 * damage)
        optimizer.step()
        schedule.step()
        right = (named.argmax(1) == labels).float()
        seen = 0.98 * seen + 0.02 * np.array(
            [right[:PHOTOGRAPHS].mean(), right[PHOTOGRAPHS:].mean(), damage.item()]
        )
        if step % 100 == 0:
            told = f"right {seen[0]:.2f} {seen[1]:.2f}, damage {seen[2]:.4f}"
            print(f"{step} {time.monotonic() - began:.0f} s, {told}", flush=True)
    return trunk.eval()


def half(trunk: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the network's values by name, in half precision where they are no counts."""
    for name, value in trunk.state_dict().items():
        yield name, (value.half() if value.is_floating_point() else value).contiguous()


def main() -> None:
    """Train it and write its weights."""
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("archive", help="of photographs, train/<class>/ inside")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3300)
    parser.add_argument("--without", nargs="+", default=[], help="classes of photographs")
    args = parser.parse_args()
    images, names = photographs(args.archive, "train")
    kept = ~np.isin(names, args.without)
    labels = np.unique(np.array(names)[kept], return_inverse=True)[1].astype(np.int64)
    trunk = train(Pictures(images[kept], labels, glyphs(GLYPHS, 0)), args.steps)
    save_file(dict(half(trunk)), args.output)


if __name__ == "__main__":
    main()
