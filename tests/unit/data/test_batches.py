"""Protects: kept or streamed, from any position, a training sees the same images in bounded memory.

What the reader meets (a file cut short, a failing disk, an interrupt) reaches the trainer and
leaves no thread behind.
"""

import errno
import itertools
import logging
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch

from monge.data import batches as room
from monge.data.batches import AHEAD, Batches
from monge.data.budget import free_bytes
from monge.data.order import Order
from monge.data.packed import PackedDataset, Split
from monge.data.reader import ReadAhead
from monge.data.writer import PackedWriter
from monge.errors import DatasetError, DeviceError, StorageError
from monge.params import TrainParams

N = 23
SHAPE = (3, 6, 5)
CPU = torch.device("cpu")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def params(**changes):
    return TrainParams.model_validate({"batch_size": 4, "seed": 7} | changes)


@pytest.fixture
def folder(tmp_path):
    """23 random images in files of 5."""
    images = np.random.default_rng(0).integers(0, 256, (N, *SHAPE), dtype=np.uint8)
    path = tmp_path / "prepared"
    with PackedWriter(path, SHAPE, shard_bytes=5 * int(np.prod(SHAPE))) as writer:
        writer.append("train", images)
        writer.append("validation", images[:1])
        writer.finish()
    return path


@pytest.fixture
def split(folder):
    split = PackedDataset.open(folder).train
    assert len(split.shards) == 5
    return split


def first(split, count, k=0, device=CPU, **changes):
    with Batches(split, params(**changes), device) as batches:
        return [batch.images.cpu() for batch in itertools.islice(batches.starting_at(k), count)]


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "reader"]


def at(mirrored, i):
    """Row i of an order's mirrors."""
    assert mirrored is not None
    return mirrored[i]


# The order


def test_every_epoch_shows_every_image_once_in_another_order():
    order = Order(10, 4, seed=3)
    stream = np.concatenate([order.batch(k) for k in range(5)])
    assert sorted(stream[:10]) == list(range(10)) == sorted(stream[10:])
    assert list(stream[:10]) != list(stream[10:])
    assert list(Order(10, 4, seed=4).batch(0)) != list(order.batch(0))


def test_any_batch_can_be_asked_for_out_of_order_alone_or_with_others():
    sequential = Order(7, 5, seed=0, flip=True)
    expected = [sequential.batches(k) for k in range(20)]
    jumping = Order(7, 5, seed=0, flip=True)
    for k, count in ((17, 3), (0, 1), (7, 12), (3, 2), (19, 1)):
        indices, mirrored = jumping.batches(k, count)
        for i in range(count):
            assert np.array_equal(indices[i], expected[k + i][0][0])
            assert np.array_equal(at(mirrored, i), at(expected[k + i][1], 0))


def test_a_batch_larger_than_the_dataset_spans_epochs():
    batch = Order(3, 8, seed=0).batch(0)
    assert sorted(np.bincount(batch, minlength=3)) == [2, 3, 3]


def test_the_order_is_the_one_of_earlier_trainings_and_flips_do_not_change_it():
    expected = np.random.default_rng([5, 0]).permutation(100)[:8]
    for flip in (False, True):
        assert list(Order(100, 8, seed=5, flip=flip).batch(0)) == list(expected)


def test_mirrors_are_half_of_the_images_and_other_ones_in_each_epoch_and_for_each_seed():
    n = 10_000

    def epoch(k, seed):
        return at(Order(n, n, seed, flip=True).batches(k)[1], 0)

    one, next_epoch, other_seed = epoch(0, 1), epoch(1, 1), epoch(0, 2)
    for mirrored in (one, next_epoch, other_seed):
        assert abs(mirrored.mean() - 0.5) < 0.02  # four standard deviations
    assert abs((one != next_epoch).mean() - 0.5) < 0.02
    assert abs((one != other_seed).mean() - 0.5) < 0.02


# Kept and streamed


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("data", ["resident", "streamed"])
def test_batches_are_the_images_in_minus_one_to_one(split, data, device):
    (images,) = first(split, 1, k=2, data=data, device=torch.device(device))
    expected = split.take(Order(N, 4, 7).batch(2)) / 127.5 - 1.0
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("batch_size", [4, N, 2 * N + 3])
def test_both_ways_give_the_same_bits_from_any_position(split, batch_size, flip, device):
    same = {"batch_size": batch_size, "flip": flip, "device": torch.device(device)}
    kept = first(split, 15, data="resident", **same)
    for k, data in itertools.product((0, 1, 6, 14), ("resident", "streamed")):
        again = first(split, 15 - k, k=k, data=data, **same)
        assert all(torch.equal(a, b) for a, b in zip(kept[k:], again, strict=True)), (k, data)


@pytest.mark.parametrize("data", ["resident", "streamed"])
def test_long_runs_pass_the_end_of_what_is_ordered_at_a_time(split, data, monkeypatch):
    whole = first(split, 30, data="resident", flip=True)
    monkeypatch.setattr(room, "_ORDER_IMAGES", 12)
    assert all(map(torch.equal, whole, first(split, 30, data=data, flip=True)))


@pytest.mark.parametrize("data", ["resident", "streamed"])
def test_a_flip_mirrors_left_and_right_exactly_the_images_that_the_order_names(split, data):
    plain, flipped = first(split, 6, data=data), first(split, 6, data=data, flip=True)
    order = Order(N, 4, 7, flip=True)
    for k in range(6):
        _, mirrored = order.batches(k)
        for i in range(4):
            expected = plain[k][i].numpy()
            expected = expected[:, :, ::-1] if at(mirrored, 0)[i] else expected
            np.testing.assert_array_equal(flipped[k][i].numpy(), expected)


def test_the_split_is_loaded_whole_through_a_smaller_buffer(split, monkeypatch):
    monkeypatch.setattr(room, "_LOAD_BYTES", 7 * int(np.prod(SHAPE)))
    with Batches(split, params(data="resident"), CPU) as batches:
        next(batches.starting_at(0))
        assert batches._images is not None
        np.testing.assert_array_equal(batches._images.numpy(), split.take(np.arange(N)))


@pytest.mark.parametrize("data", ["resident", "streamed"])
def test_going_back_starts_there_and_ends_what_ran_before(split, data):
    with Batches(split, params(data=data), CPU) as batches:
        before = batches.starting_at(0)
        seen = [next(before).images for _ in range(5)]
        again = batches.starting_at(3)
        assert torch.equal(next(again).images, seen[3])
        assert next(before, None) is None
        assert len(readers()) == (data == "streamed")


def test_a_batch_stays_as_it_was_when_others_follow(split):
    for data in ("resident", "streamed"):
        with Batches(split, params(data=data), CPU) as batches:
            stream = batches.starting_at(0)
            kept = next(stream).images
            copy = kept.clone()
            for _ in range(3 * AHEAD):
                next(stream).images.fill_(9.0)
            assert torch.equal(kept, copy)
            assert torch.equal(next(batches.starting_at(0)).images, copy)


@pytest.mark.parametrize("data", ["resident", "streamed"])
def test_each_image_comes_with_its_own_label(packed_digits, data):
    """The digits are told apart by their bytes; flips and shares change nothing about labels."""
    digits = PackedDataset.open(packed_digits).train
    images = digits.take(np.arange(len(digits)))
    assert digits.labels is not None
    known = {image.tobytes(): label for image, label in zip(images, digits.labels, strict=True)}
    known |= {image[..., ::-1].tobytes(): known[image.tobytes()] for image in images}
    wanted = params(data=data, conditional=True, flip=True)
    for share in ((0, 1), (0, 2), (1, 2)):
        with Batches(digits, wanted, CPU, share=share) as batches:
            for batch in itertools.islice(batches.starting_at(7), 30):
                assert batch.labels is not None
                assert batch.labels.dtype == torch.int64
                shown = ((batch.images + 1) * 127.5).round().to(torch.uint8).numpy()
                assert [known[image.tobytes()] for image in shown] == batch.labels.tolist()
    with Batches(digits, params(data=data), CPU) as batches:
        assert next(batches.starting_at(0)).labels is None


# Which of the two


def test_auto_keeps_what_is_within_the_budget_and_says_what_it_did(split, caplog):
    size = N * int(np.prod(SHAPE))
    for budget, kept in ((size, True), (size - 1, False), (None, True)):
        with (
            caplog.at_level(logging.INFO, logger="monge"),
            Batches(split, params(), CPU, budget_bytes=budget) as batches,
        ):
            assert batches.resident == kept
        assert ("resident" if kept else "streamed") + " (auto): 23 images" in caplog.text
        caplog.clear()


def test_either_can_be_forced_and_one_that_cannot_be_is_refused(split, monkeypatch):
    with Batches(split, params(data="resident"), CPU, budget_bytes=0) as batches:
        assert batches.resident
    with Batches(split, params(data="streamed"), CPU, budget_bytes=2**40) as batches:
        assert not batches.resident
    monkeypatch.setattr(room, "free_bytes", lambda device: 100)
    with pytest.raises(DeviceError, match="Use train.data: streamed"):
        Batches(split, params(data="resident"), CPU)


def test_auto_takes_half_of_the_free_memory(split, monkeypatch):
    size = N * int(np.prod(SHAPE))
    for free, kept in ((2 * size, True), (2 * size - 2, False)):
        monkeypatch.setattr(room, "free_bytes", lambda device, free=free: free)
        with Batches(split, params(), CPU) as batches:
            assert batches.resident == kept


def test_free_memory_is_the_machines_or_a_containers_whichever_is_less(tmp_path):
    for name, text in {
        "proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    4000 kB\n",
        "proc/self/cgroup": "0::/outer/inner\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_bytes(CPU, tmp_path) == 4_096_000
    groups = {"outer": ("1000000", 900_000, 300_000), "outer/inner": ("max", 5, 0)}
    for name, (limit, used, cached) in groups.items():
        group = tmp_path / "sys/fs/cgroup" / name
        group.mkdir(parents=True)
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")
    assert free_bytes(CPU, tmp_path) == 1_000_000 - 900_000 + 300_000
    assert 2**20 < free_bytes(CPU) < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# Memory


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(split, data, count):
    """The most by which this process's memory grew while it took `count` batches."""
    before, most = resident_bytes(), 0
    with Batches(split, params(data=data, batch_size=16), CPU, budget_bytes=2**26) as batches:
        stream = batches.starting_at(0)
        for _ in range(count):
            next(stream)
            most = max(most, resident_bytes() - before)
        return most, batches.resident


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_a_set_beyond_the_budget_is_streamed_whole_in_bounded_memory(tmp_path):
    shards = []
    for i in range(4):  # sparse files of 84 MB
        path = tmp_path / f"train-{i:05d}.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(1708, 3, 128, 128))
        shards.append(np.asarray(np.load(path, mmap_mode="r")))
    split = Split(shards, None)
    size = int(np.prod(split.shape))
    assert size > 320e6
    epoch = -(-len(split) // 16)
    first(split, 3, data="streamed", batch_size=16)  # what torch and the thread take for themselves
    most, resident = growth(split, "auto", epoch)
    assert not resident
    assert most < 64e6  # AHEAD + 2 batches of 0.8 MB as bytes, two of 3.1 MB as floats, and slack
    most, _ = growth(split, "resident", 1)
    assert most > 0.9 * size  # so the measure would have seen it


# The reader's thread


def test_the_reader_is_as_far_ahead_as_it_may_and_then_sleeps():
    made = []

    def produce(k):
        made.append(k)
        return k

    with ReadAhead(produce, first=5, depth=3) as reader:
        wait_for(lambda: len(made) == 3)
        before = time.process_time()
        time.sleep(0.2)
        assert time.process_time() - before < 0.1
        assert made == [5, 6, 7]
        assert [next(reader) for _ in range(10)] == list(range(5, 15))
        wait_for(lambda: len(made) == 13)
    assert not readers()


def wait_for(condition):
    limit = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


def test_waiting_for_a_slow_reader_takes_no_processor_time():
    def produce(k):
        time.sleep(0.3)
        return k

    with ReadAhead(produce, first=0, depth=2) as reader:
        before = time.process_time()
        assert next(reader) == 0
        assert time.process_time() - before < 0.1


def test_an_error_comes_in_its_turn_and_ends_the_thread():
    def produce(k):
        if k == 3:
            raise StorageError("gone")
        return k

    reader = ReadAhead(produce, first=0, depth=8)
    assert [next(reader) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StorageError, match="gone"):
        next(reader)
    assert not readers()
    assert next(reader, None) is None


@pytest.mark.parametrize("taken", [0, 1, 20])
def test_closing_leaves_no_thread_and_no_open_file(split, taken):
    open_before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    first(split, taken, data="streamed")
    assert not readers()
    if open_before:
        assert len(os.listdir("/proc/self/fd")) == open_before


def test_an_interrupt_while_waiting_is_raised_and_leaves_no_thread():
    stuck = threading.Event()

    def interrupt(*_):
        stuck.set()  # so that closing, which waits for the result in hand, can end
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with ReadAhead(lambda k: stuck.wait(120), 0, 2) as reader:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                next(reader)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not readers()


@pytest.mark.parametrize("data", ["resident", "streamed"])
def test_a_file_cut_short_while_it_is_in_use_is_named(split, folder, data):
    with Batches(split, params(data=data), CPU) as batches:
        stream = batches.starting_at(0)
        if data == "streamed":
            next(stream)
        os.truncate(folder / "train-00003.npy", 200)
        with pytest.raises(DatasetError, match=r"train-00003.npy: was cut short.*monge prepare"):
            list(itertools.islice(stream, 20))
    assert not readers()


@pytest.mark.parametrize("data", ["resident", "streamed"])
def test_a_failing_disk_is_named_and_reading_goes_on_after_a_partial_read(split, data, monkeypatch):
    expected = first(split, 3, data=data)
    real = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda file, views, at: real(file, [views[0][:11]], at)
    )  # fewer bytes than asked for, as the system may
    assert all(map(torch.equal, expected, first(split, 3, data=data)))

    def fails(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", fails)
    with pytest.raises(StorageError, match=r"train-0000\d.npy: cannot be read \(Input/output err"):
        first(split, 1, data=data)
    assert not readers()


def test_going_back_reads_the_dataset_it_began_with_though_another_took_its_place(split, folder):
    expected = first(split, 1, data="streamed")[0]
    with Batches(split, params(data="streamed"), CPU) as batches:
        next(batches.starting_at(0))
        folder.rename(folder.with_name("before"))
        with PackedWriter(folder, SHAPE) as writer:
            writer.append("train", np.zeros((N, *SHAPE), np.uint8))
            writer.append("validation", np.zeros((1, *SHAPE), np.uint8))
            writer.finish()
        assert torch.equal(next(batches.starting_at(0)).images, expected)


def test_a_file_that_is_gone_is_named(split, folder):
    (folder / "train-00002.npy").unlink()
    with pytest.raises(StorageError, match=r"train-00002.npy: cannot be opened"):
        first(split, 1)


def test_while_a_trainer_works_its_next_batch_is_read(split, monkeypatch):
    class Watched(ReadAhead):
        def __next__(self):
            wait_for(lambda: not self._results.empty())  # it comes without being asked for
            return super().__next__()

    monkeypatch.setattr(room, "ReadAhead", Watched)
    with Batches(split, params(data="streamed"), CPU) as batches:
        stream = batches.starting_at(0)
        for _ in range(30):
            next(stream)


def test_a_gpus_copies_wait_for_nothing(split, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    with Batches(split, params(flip=True, data="resident"), torch.device("cuda")) as batches:
        stream = batches.starting_at(0)
        next(stream)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(20):
                next(stream)
        finally:
            torch.cuda.set_sync_debug_mode("default")
