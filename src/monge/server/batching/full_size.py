"""The size of a full batch, tried out while clients wait for more images than are drawn.

It begins with what a lone caller draws fastest (serving.batch_size). A service also gathers each
batch, hands it to a thread and cuts it into answers, on the same cores, and what that weighs beside
the drawing is another on every processor. So it is measured where it happens: while full batches
follow each other without a gap, now and then some are of the next size up or down, in turns with
the usual one, and a size that gives more images a second becomes the usual one.
"""

from __future__ import annotations

from monge.server.batching.inputs import Draws
from monge.serving.batch_size import SIZES

TURNS, EACH = 8, 10
"""Turns of a trial, and the full batches of each."""

BETTER = 1.05
"""Times faster, in each turn than in the usual size's turn after it: a slow moment proves nothing.

Batches may come back in pairs, so that it is turns that are compared and not batches.
"""

LONGEST_S = 0.1
"""A batch that would take longer is not tried: those who ask for few would wait for it."""

SOON, RARELY = 50, 6400
"""Full batches before the first trial, and before another one at the most: each that finds nothing
doubles the wait."""


class FullSize:
    """Images of a full batch of one model."""

    def __init__(self, model: Draws) -> None:
        self.model, self._usual = model, model.batch_size
        self._up, self._pause = True, SOON
        self._turn: int | None = None  # of a trial
        self._wait, self._last_s = SOON, float("nan")
        self._other, self._batches, self._others = self._usual, 0, 0
        self._seconds = list[float]()  # of an image, turn by turn

    def learn(self, images: int, at_s: float, *, busy: bool) -> None:
        """Note that a batch is back; `busy` tells that more images are under way or waited for."""
        each_s = (at_s - self._last_s) / images  # not a number after a gap
        self._last_s = at_s if busy else float("nan")
        full = busy and images == self.model.batch_size and each_s == each_s
        if self._turn is not None:
            self._tried(each_s) if full else self._missed()
        elif full and not self.model.elsewhere:
            self._wait -= 1
            if self._wait < 0:
                self._try(each_s)

    def failed(self) -> None:
        """Note that a batch could not be drawn: what is tried is not tried again for long."""
        if self._turn is not None:
            self._pause = RARELY
            self._end()

    def _try(self, each_s: float) -> None:
        """Begin a trial of the next size in this direction, where it is one that may be tried."""
        larger = (size for size in SIZES if self._usual < size <= self.model.largest)
        smaller = (size for size in reversed(SIZES) if size < self._usual)
        self._other = next(larger if self._up else smaller, 0)
        if not 0 < self._other * each_s <= LONGEST_S:
            self._up, self._wait = not self._up, self._pause
            return
        self._turn, self._batches, self._others, self._seconds = 0, 0, 0, [0.0]
        self.model.draw_at_once(self._other)

    def _tried(self, each_s: float) -> None:
        """Count a batch of a trial; after the last one compare."""
        assert self._turn is not None
        self._batches += 1
        self._seconds[-1] += each_s
        if self._batches < EACH:
            return
        self._turn, self._batches, self._others = self._turn + 1, 0, 0
        if self._turn < TURNS:
            self._seconds.append(0.0)
            self.model.draw_at_once(self._usual if self._turn % 2 else self._other)
            return
        pairs = zip(self._seconds[::2], self._seconds[1::2], strict=True)
        self._end(better=all(other_s * BETTER <= usual_s for other_s, usual_s in pairs))

    def _missed(self) -> None:
        """Pass over a batch that began before the turn or was not full; give up after many."""
        self._others += 1
        if self._others > EACH:
            self._end()

    def _end(self, *, better: bool = False) -> None:
        """Keep a better size and go on from it soon, or go back to the usual one for longer."""
        if better:
            self._usual, self._pause = self._other, SOON
        else:
            self._up, self._pause = not self._up, min(2 * self._pause, RARELY)
        self.model.draw_at_once(self._usual)
        self._turn, self._wait = None, self._pause
