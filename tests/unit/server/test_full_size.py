"""The size of a full batch: it follows what a machine serves most with, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from monge.server.batching.batcher import Batcher
from monge.server.batching.full_size import EACH, LONGEST_S, RARELY, SOON, FullSize

FULL_BATCHES = 2000


class Model:
    """Draws in batches of the size that it is told."""

    elsewhere = False

    def __init__(self, batch_size: int, largest: int = 1024) -> None:
        self.batch_size, self.largest = batch_size, largest
        self.sizes = [batch_size]

    def draw_at_once(self, images: int) -> None:
        assert images <= self.largest
        self.batch_size = images
        self.sizes.append(images)

    def draw(self, parts: Any) -> Any:
        time.sleep(0.002)  # whatever the size, as where handing over costs more than drawing
        return np.zeros((len(np.concatenate(parts)), 1), np.uint8)


def served(model: Model, seconds: Callable[[int], float], batches: int = FULL_BATCHES) -> int:
    """The size after so many full batches on end, each of which takes as long as it is said."""
    size, clock = FullSize(model), 0.0
    for _ in range(batches):
        images = model.batch_size
        clock += seconds(images)
        size.learn(images, clock, busy=True)
    return model.sizes[-1]


def costly(images: int) -> float:
    """As long for the batch itself as for 200 images."""
    return 1e-5 * (200 + images)


def test_where_a_batch_costs_much_it_grows_and_where_large_ones_are_slow_it_shrinks():
    assert served(Model(64), costly) >= 512
    assert served(Model(1024), lambda n: 1e-5 * n * (1 + n / 200)) <= 32


def test_a_size_that_gains_nothing_is_not_kept_and_is_tried_ever_more_rarely():
    model = Model(256)
    assert served(model, lambda n: 1e-5 * n, batches=20 * RARELY) == 256
    turns = sum(size != 256 for size in model.sizes)
    assert 4 * 20 < turns < 4 * 30


def test_a_slow_moment_of_the_machine_moves_nothing():
    dice = np.random.default_rng(0)
    model = Model(256)
    assert served(model, lambda n: 1e-5 * n * dice.choice([1.0, 1.0, 1.0, 9.0])) == 256


def test_nobody_waits_for_a_batch_of_more_than_a_tenth_of_a_second():
    model = Model(64)
    served(model, lambda n: (50 + n) * LONGEST_S / 160)
    assert max(model.sizes) == 64


def test_nothing_is_tried_beyond_what_the_model_may_draw_nor_where_it_draws_elsewhere():
    model = Model(64, largest=100)
    assert served(model, costly) == 64
    model = Model(64)
    model.elsewhere = True
    served(model, costly)
    assert model.sizes == [64]


def test_a_trial_ends_when_there_is_too_little_to_fill_its_batches():
    model, clock = Model(64), 0.0
    size = FullSize(model)
    for _ in range(SOON + 2):
        clock += 0.01
        size.learn(64, clock, busy=True)
    assert model.batch_size == 128
    for _ in range(EACH + 1):
        clock += 0.01
        size.learn(64, clock, busy=True)  # all that waited
    assert model.batch_size == 64


def test_a_size_that_cannot_be_drawn_is_left_at_once_and_for_long():
    model, clock = Model(64), 0.0
    size = FullSize(model)
    for _ in range(RARELY):
        clock += costly(model.batch_size)
        if model.batch_size == 128:
            size.failed()
        else:
            size.learn(model.batch_size, clock, busy=True)
    assert model.sizes == [64, 128, 64]


def test_a_gap_without_work_is_no_slow_batch():
    model, clock = Model(64), 0.0
    size = FullSize(model)
    for _ in range(40 * SOON):
        clock += costly(model.batch_size)
        size.learn(model.batch_size, clock, busy=False)
        clock += 1.0
    assert model.sizes == [64]


def test_a_service_whose_calibration_was_wrong_finds_a_larger_batch_by_itself():
    model = Model(8)
    rows: Any = np.zeros((1024, 1), np.float32)

    async def main() -> None:
        batcher = Batcher(100_000, lambda images, seconds: None)

        async def client() -> None:
            while model.batch_size < 128:
                await batcher.draw(model, rows, 60)

        await asyncio.gather(*(client() for _ in range(4)))
        await batcher.close()

    asyncio.run(asyncio.wait_for(main(), 60))
    assert model.batch_size >= 128
