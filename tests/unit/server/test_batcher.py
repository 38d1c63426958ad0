"""The batcher: everybody gets their own images, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from monge.errors import Late, QueueFull
from monge.server.batching import latency
from monge.server.batching.batcher import Batcher


class Model:
    """Draws "images" that tell their latents and their model apart; slowly, when asked to."""

    def __init__(self, number: int = 0, batch_size: int = 8, seconds: float = 0.0) -> None:
        self.number, self.batch_size, self.seconds = number, batch_size, seconds
        self.elsewhere, self.largest = False, batch_size
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self.under_way = 0
        self.together = 0  # at most

    def draw_at_once(self, images: int) -> None:
        self.batch_size = images

    def draw(self, parts: Any) -> Any:
        batch = np.concatenate(parts)
        assert 1 <= len(batch) <= self.batch_size
        self.batches.append(len(batch))
        self.threads.add(threading.get_ident())
        self.under_way += 1
        self.together = max(self.together, self.under_way)
        time.sleep(self.seconds)
        self.under_way -= 1
        if (batch == 255).any():
            raise RuntimeError("the network failed")
        return np.stack([batch[:, 0], np.full(len(batch), self.number)], 1).astype(np.uint8)


def wanted(n: int, value: int) -> Any:
    return np.full((n, 1), value, np.float32)


def with_batcher(
    test: Callable[[Batcher], Awaitable[None]], queue_images: int = 10_000
) -> list[int]:
    observed: list[int] = []

    async def main() -> None:
        batcher = Batcher(queue_images, lambda images, seconds: observed.append(images))
        try:
            await test(batcher)
        finally:
            await batcher.close()

    asyncio.run(asyncio.wait_for(main(), 60))
    return observed


@pytest.mark.parametrize("seed", range(6))
def test_whatever_comes_in_whatever_order_everybody_gets_their_own(seed):
    dice = random.Random(seed)
    models = [Model(number, dice.choice([1, 3, 8, 64]), 0.0005) for number in range(3)]
    drawn = 0

    async def client(batcher: Batcher, i: int) -> None:
        nonlocal drawn
        await asyncio.sleep(dice.random() * 0.05)
        model, n, value = dice.choice(models), dice.randint(1, 40), i % 250
        fate = dice.random()
        if fate < 0.1:
            with pytest.raises(RuntimeError, match="the network failed"):
                await batcher.draw(model, wanted(n, 255), 30)
            return
        work = batcher.draw(model, wanted(n, value), 30)
        if fate < 0.2:
            await asyncio.sleep(dice.random() * 0.01)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            return
        try:
            images = await work
        except RuntimeError:  # shared a batch with one that failed
            return
        assert images.shape == (n, 2)
        assert (images[:, 0] == value).all()
        assert (images[:, 1] == model.number).all()
        drawn += 1

    async def test(batcher: Batcher) -> None:
        await asyncio.gather(*(client(batcher, i) for i in range(200)))
        while batcher.waiting:  # those that were cancelled last
            await asyncio.sleep(0.01)

    observed = with_batcher(test)
    assert drawn > 100
    assert sum(observed) <= sum(sum(model.batches) for model in models)
    assert max(model.together for model in models) <= 2


def test_only_a_full_batch_begins_beside_another():
    few, many = Model(batch_size=8, seconds=0.02), Model(batch_size=8, seconds=0.02)

    async def test(batcher: Batcher) -> None:
        await asyncio.gather(*(batcher.draw(many, wanted(16, i), 30) for i in range(8)))
        first = batcher.draw(few, wanted(1, 1), 30)
        for _ in range(10):
            await asyncio.sleep(0.005)
            await batcher.draw(few, wanted(1, 1), 30)
        await first

    with_batcher(test)
    assert many.together == 2
    assert few.together == 1
    assert set(many.batches) == {8}


def test_quick_batches_are_drawn_in_the_event_loop_and_slow_ones_never():
    quick, slow = Model(batch_size=64), Model(batch_size=64, seconds=0.02)
    here = threading.get_ident()

    async def test(batcher: Batcher) -> None:
        for _ in range(200):
            await batcher.draw(quick, wanted(1, 1), 30)
        assert here in quick.threads
        for _ in range(10):
            await batcher.draw(slow, wanted(1, 1), 30)
        assert here not in slow.threads

    with_batcher(test)


def test_one_slow_batch_sends_the_next_to_a_thread_and_a_quick_one_there_comes_back(monkeypatch):
    monkeypatch.setattr(latency, "AT_ONCE_S", 0.25)
    monkeypatch.setattr(latency, "GUESS_S", 1.0)
    model, here = Model(batch_size=64), threading.get_ident()

    async def where(batcher: Batcher) -> bool:
        model.threads.clear()
        await batcher.draw(model, wanted(1, 1), 30)
        return here in model.threads

    async def test(batcher: Batcher) -> None:
        assert not await where(batcher)  # nobody knows it yet
        assert await where(batcher)
        model.seconds = 0.6
        assert await where(batcher)
        model.seconds = 0.0
        assert not await where(batcher)
        assert await where(batcher)

    with_batcher(test)


def test_a_large_batch_does_not_make_a_lone_image_look_quick():
    """Twenty milliseconds a call: of 64 images that is little for each."""
    model, here = Model(batch_size=64, seconds=0.02), threading.get_ident()

    async def test(batcher: Batcher) -> None:
        for _ in range(5):
            await batcher.draw(model, wanted(64, 1), 30)
            await batcher.draw(model, wanted(1, 1), 30)

    with_batcher(test)
    assert here not in model.threads


def test_a_new_model_is_not_taken_to_be_as_quick_as_the_old_one():
    quick, slow = Model(0, batch_size=8), Model(1, batch_size=8, seconds=0.1)
    here = threading.get_ident()

    async def test(batcher: Batcher) -> None:
        for _ in range(20):
            await batcher.draw(quick, wanted(8, 1), 30)
        last = [batcher.draw(quick, wanted(8, 1), 30) for _ in range(4)]
        first = [batcher.draw(slow, wanted(8, 1), 30) for _ in range(4)]
        await asyncio.gather(*last, *first)
        await batcher.draw(slow, wanted(1, 1), 30)

    with_batcher(test)
    assert here not in slow.threads


def test_where_no_thread_can_be_started_a_request_is_told_and_the_next_one_is_drawn(monkeypatch):
    model = Model(batch_size=8, seconds=0.02)

    async def test(batcher: Batcher) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(batcher._loop, "run_in_executor", _no_thread)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await batcher.draw(model, wanted(20, 1), 5)
        assert (await batcher.draw(model, wanted(20, 2), 5)).shape == (20, 2)

    with_batcher(test)


def _no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def _fails(size: int, seconds: float) -> None:
    raise ZeroDivisionError


def test_figures_that_fail_do_not_leave_anybody_waiting():
    async def main() -> None:
        batcher = Batcher(100, _fails)
        with pytest.raises(ZeroDivisionError):
            await batcher.draw(Model(), wanted(3, 1), 30)
        await batcher.close()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_clients_that_come_together_share_batches_and_a_lone_one_does_not_wait():
    model = Model(batch_size=64, seconds=0.05)

    async def test(batcher: Batcher) -> None:
        alone_s = []
        for _ in range(10):  # the quickest: a busy machine may hold up the others
            began_s = time.perf_counter()
            await batcher.draw(model, wanted(1, 1), 30)
            alone_s.append(time.perf_counter() - began_s)
        assert min(alone_s) < 0.1
        model.batches.clear()
        await batcher.draw(model, wanted(1, 1), 30)
        await asyncio.gather(*(batcher.draw(model, wanted(2, i), 30) for i in range(32)))

    with_batcher(test)
    assert model.batches[0] == 1
    assert len(model.batches) <= 3
    assert max(model.batches) >= 62


def test_a_large_request_lets_the_small_ones_in_between():
    model = Model(batch_size=8, seconds=0.02)
    order: list[str] = []

    async def test(batcher: Batcher) -> None:
        async def ask(name: str, n: int) -> None:
            await batcher.draw(model, wanted(n, 1), 30)
            order.append(name)

        large = asyncio.create_task(ask("large", 200))
        await asyncio.sleep(0.03)
        await asyncio.gather(*(ask("small", 1) for _ in range(5)))
        await large

    with_batcher(test)
    assert order == ["small"] * 5 + ["large"]


def test_beyond_its_bound_the_queue_refuses_and_says_when_to_come_back():
    model = Model(batch_size=4, seconds=0.3)

    async def test(batcher: Batcher) -> None:
        first = batcher.draw(model, wanted(12, 1), 30)
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFull) as caught:
            await batcher.draw(model, wanted(9, 2), 30)
        assert caught.value.retry_after_s >= 1.0
        assert (await first).shape == (12, 2)
        # Alone it may be larger than the queue: what one request may ask is limited elsewhere.
        assert (await batcher.draw(model, wanted(33, 3), 30)).shape == (33, 2)

    with_batcher(test, queue_images=20)


def test_a_late_request_is_told_so_and_is_not_drawn_any_further():
    model = Model(batch_size=2, seconds=0.05)

    async def test(batcher: Batcher) -> None:
        with pytest.raises(Late, match=r"0\.12 s"):
            await batcher.draw(model, wanted(100, 1), 0.12)
        while batcher.waiting:  # what was under way
            await asyncio.sleep(0.01)

    with_batcher(test)
    assert sum(model.batches) <= 14  # three times two in the time, and two more at its end


def test_a_client_that_goes_away_is_not_drawn_any_further():
    model = Model(batch_size=2, seconds=0.02)

    async def test(batcher: Batcher) -> None:
        work = batcher.draw(model, wanted(1000, 1), 30)
        await asyncio.sleep(0.05)
        work.cancel()
        assert (await batcher.draw(model, wanted(2, 7), 30))[0, 0] == 7

    with_batcher(test)
    assert sum(model.batches) < 20


def test_closing_draws_what_was_accepted():
    model = Model(batch_size=4, seconds=0.02)
    done: list[Any] = []

    async def test(batcher: Batcher) -> None:
        work = [batcher.draw(model, wanted(10, i), 30) for i in range(4)]
        await asyncio.sleep(0.01)
        await batcher.close()
        done.extend(await asyncio.gather(*work))

    with_batcher(test)
    assert [images[0, 0] for images in done] == [0, 1, 2, 3]


def test_what_waits_for_a_device_never_holds_up_the_event_loop():
    """A lone row may cost a whole fixed batch, and another model may have the device."""

    async def ask() -> int:
        model, turns = Model(batch_size=64), 0
        model.elsewhere = True
        batcher = Batcher(1000, lambda size, seconds: None)
        for _ in range(30):
            await batcher.draw(model, wanted(64, 1), 30)
        model.seconds = 0.5
        work = batcher.draw(model, wanted(1, 1), 30)
        while not work.done():
            await asyncio.sleep(0.005)
            turns += 1
        await batcher.close()
        return turns

    assert asyncio.run(ask()) > 5  # one or two where the loop waits for the device
