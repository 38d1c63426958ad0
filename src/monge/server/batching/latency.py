"""The latency of a batch, learned while a model draws: a quick one is drawn in the event loop."""

from __future__ import annotations

from monge.server.batching.inputs import Draws

AT_ONCE_S = 0.001
"""A batch that takes no longer is quick: handing it to a thread and back takes as long."""

GUESS_S = 0.01
"""For an image of a model that has not drawn yet."""


class LatencyEstimate:
    """Estimates the seconds that an image of one model takes; it begins anew with each model."""

    def __init__(self) -> None:
        self.image_s = GUESS_S
        self._model: Draws | None = None

    def quick(self, model: Draws, images: int) -> bool:
        """Tell whether so many images may be drawn at once."""
        if model is not self._model:
            self._model, self.image_s = model, GUESS_S
        return images * self.image_s <= AT_ONCE_S

    def learn(self, model: Draws, images: int, seconds: float, *, here: bool) -> None:
        """Note what a batch took, in the event loop (`here`) or in a thread."""
        if model is not self._model:
            return
        image_s = seconds / max(1, images)
        slowly = 0.9 * self.image_s + 0.1 * image_s
        if here:  # up at once: the loop must not be held up twice
            self.image_s = max(image_s, slowly)
        elif seconds <= AT_ONCE_S:  # down at once: waiting for Python's lock only adds to it
            self.image_s = min(image_s, slowly)
        else:
            self.image_s = slowly
