"""Sample grids at latents that stay, from the averaged and the raw generator, and their animation.

Frames are kept on disk beside the checkpoints, a bounded number of them; those beyond the step that
a training goes on from are dropped, so that it ends with the same animation.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from monge.files import write_whole
from monge.pictures import tile
from monge.training import labels
from monge.training.context import Training
from monge.training.state import TrainingState
from monge.training.watch.nearness import GRIDS

GRID_IMAGES = 64
GRID_SEED = 0
FRAMES = 48
"""At most so many grids, evenly spread over the training, are in the animation."""

ANIMATION = "samples.gif"
_FRAME_MS, _LAST_FRAME_MS = 150, 2000


class Grids:
    """Draws what is due, keeps frames, and makes the animation at the end."""

    def __init__(self, training: Training, state: TrainingState) -> None:
        self.train, self.run = training.params, training.run
        self.folder, self.animation = training.folder / GRIDS, training.folder / ANIMATION
        self.inputs = labels.in_order(
            training.params, training.dataset, GRID_SEED, GRID_IMAGES, state.noise.device
        )
        for frame in self._frames():
            if _step(frame) > state.step:
                frame.unlink()

    def record(self, state: TrainingState) -> None:
        """After each iteration: a pair of grids if they are due, the animation after the last."""
        last = state.step == self.train.steps
        if state.step % self.train.grid_every and not last:
            return
        averaged = self._grid(state.average.module)
        self.run.image("samples", averaged, state.step)
        self.run.image("samples_raw", self._grid(state.networks["generator"]), state.step)
        if last or self._is_frame(state.step):
            name = f"step-{state.step:08d}.png"
            write_whole(self.folder / name, _encoded([averaged], "PNG"))
        if last:
            self._animate()

    def _is_frame(self, step: int) -> bool:
        """Tell whether a grid is one of `FRAMES` that are evenly spread."""
        grids = -(-self.train.steps // self.train.grid_every)
        stride = -(-grids // FRAMES)
        return step // self.train.grid_every % stride == 0 or step == self.train.steps

    def _animate(self) -> None:
        from PIL import Image

        frames = []
        for path in self._frames():
            if self._is_frame(_step(path)):
                with Image.open(path) as picture:
                    frames.append(np.asarray(picture.convert("RGB")))
            else:  # of a training that has been continued since, with more steps
                path.unlink()
        write_whole(self.animation, _encoded(frames, "GIF"))
        self.run.file(self.animation, "")

    def _frames(self) -> list[Path]:
        found = self.folder.glob("step-*.png") if self.folder.is_dir() else []
        return sorted(path for path in found if path.stem.removeprefix("step-").isdigit())

    @torch.no_grad()
    def _grid(self, generator: nn.Module) -> NDArray[np.uint8]:
        """uint8 [H', W', C], drawn as an exported file would: with the running statistics."""
        was_training = generator.training
        images = self.inputs.draw(generator.eval())
        generator.train(was_training)
        pixels = ((images + 1.0) * 127.5).round_().clamp_(0.0, 255.0).to(torch.uint8)
        return tile(pixels.permute(0, 2, 3, 1).cpu().numpy())


def _step(frame: Path) -> int:
    return int(frame.stem.removeprefix("step-"))


def _encoded(frames: list[NDArray[np.uint8]], kind: str) -> bytes:
    from PIL import Image

    first, *others = [
        Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in frames
    ]
    data = io.BytesIO()
    if kind == "PNG":
        first.save(data, kind)
    else:
        times = [_FRAME_MS] * len(others) + [_LAST_FRAME_MS]
        first.save(data, kind, save_all=True, append_images=others, duration=times, loop=0)
    return data.getvalue()
