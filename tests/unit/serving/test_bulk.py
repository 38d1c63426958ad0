"""Bulk generation: the same bytes whoever makes a shard and however often it is killed."""

from __future__ import annotations

import hashlib
import io
import json
import random
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from monge.contract import Contract
from monge.errors import Busy, InputError, StorageError
from monge.serving import bulk
from monge.serving.sampler import Sampler
from tests.full_disk import room_for


@pytest.fixture
def sampler(model, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Sampler.load(model, "cpu")


def plan(sampler, n: int = 250, **more) -> bulk.Plan:
    return bulk.Plan(n=n, seed=3, shard_size=100, model_hash=sampler.model_hash, **more)


def shards(folder: Path) -> dict[str, str]:
    """Names and hashes of what a reader of the folder sees."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
    }


def read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def test_a_webdataset_holds_every_image_once_in_order(sampler, tmp_path):
    whole = plan(sampler)
    done: list[int] = []
    assert bulk.write(sampler, tmp_path / "out", whole, done.append) == 3
    assert sum(done) == 250
    names = ["plan.json", *(f"shard-{k:05}-of-00003.tar" for k in range(3))]
    assert list(shards(tmp_path / "out")) == names
    expected, index = sampler.sample(250, seed=3), 0
    for name in names[1:]:
        with tarfile.open(tmp_path / "out" / name) as archive:
            members = archive.getmembers()
            for png, about in zip(members[::2], members[1::2], strict=True):
                assert (png.name, about.name) == (f"{index:012}.png", f"{index:012}.json")
                picture = Image.open(io.BytesIO(read(archive, png)))
                assert np.array_equal(np.asarray(picture), expected[index])
                document = json.loads(read(archive, about))
                assert document == {"index": index, "seed": 3}
                assert (png.mtime, png.uid, png.uname) == (0, 0, "")
                index += 1
    assert index == 250


def test_parquet_holds_the_same_and_the_contract(sampler, tmp_path):
    bulk.write(sampler, tmp_path / "out", plan(sampler, format="parquet"))
    table = pyarrow.parquet.read_table(tmp_path / "out" / "shard-00002-of-00003.parquet")
    assert table["index"].to_pylist() == list(range(200, 250))
    image = table["image"][0].as_py()
    assert image["path"] == "000000000200.png"
    got = np.asarray(Image.open(io.BytesIO(image["bytes"])))
    assert np.array_equal(got, sampler.sample(1, seed=3, first=200)[0])
    assert Contract.from_json(table.schema.metadata[b"monge.contract"].decode())


def test_what_is_there_is_not_made_again_and_what_is_missing_is(sampler, tmp_path):
    folder, whole = tmp_path / "out", plan(sampler)
    bulk.write(sampler, folder, whole)
    before = shards(folder)
    (folder / whole.name(1)).unlink()
    assert bulk.missing(folder, whole) == [1]
    assert bulk.write(sampler, folder, whole) == 1
    assert shards(folder) == before
    assert bulk.write(sampler, folder, whole) == 0


def test_a_folder_is_not_filled_with_two_kinds_of_images(sampler, tmp_path):
    bulk.begin(tmp_path / "out", plan(sampler))
    with pytest.raises(InputError, match=r"other images: n 250, not 251"):
        bulk.begin(tmp_path / "out", plan(sampler, 251))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(InputError, match="has files"):
        bulk.begin(tmp_path / "full", plan(sampler))
    other = bulk.Plan(n=5, model_hash="0" * 64)
    with pytest.raises(InputError, match="another generator file"):
        bulk.write_shard(sampler, tmp_path / "out", other, 0)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"shard_size": 0}, {"format": "zip"}])
def test_a_plan_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InputError):
        bulk.Plan(**{"n": 5} | wrong)


def test_two_do_not_make_one_shard_at_once(sampler, tmp_path):
    whole, folder = plan(sampler), tmp_path / "out"
    bulk.begin(folder, whole)
    inside, leave = threading.Event(), threading.Event()

    def wait(_: int) -> None:
        inside.set()
        leave.wait(10)

    first = threading.Thread(target=bulk.write_shard, args=(sampler, folder, whole, 0, wait))
    first.start()
    inside.wait(10)
    with pytest.raises(Busy, match="another process makes this shard"):
        bulk.write_shard(sampler, folder, whole, 0)
    leave.set()
    first.join()
    assert not bulk.write_shard(sampler, folder, whole, 0)


def test_killed_again_and_again_it_ends_at_the_same_bytes(sampler, model, tmp_path):
    command = [
        sys.executable, "-m", "monge", "sample", str(model), "-n", "10000", "--seed", "3",
        "--shards", "webdataset", "--shard-size", "1000", "-o",
    ]  # fmt: skip
    dice, killed = random.Random(0), 0
    for attempt in range(40):
        process = subprocess.Popen(
            [*command, str(tmp_path / "killed")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        wait_s = 0.1 + dice.random() if killed < 2 else 0.6 + dice.random()
        try:
            told, _ = process.communicate(timeout=None if attempt == 39 else wait_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
            continue
        assert process.returncode == 0, told
        break
    assert killed >= 2
    whole = bulk.Plan(n=10_000, seed=3, shard_size=1000, model_hash=sampler.model_hash)
    bulk.write(sampler, tmp_path / "whole", whole)
    assert shards(tmp_path / "killed") == shards(tmp_path / "whole")


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
from monge.contract import Contract
from monge.serving import bulk

class Fake:
    contract, model_hash = Contract(latent_dim=4, image_shape=(64, 64, 3)), ""

    def labels(self, n, seed, first, wanted):
        return None

    def stream(self, n, seed=0, first=0, label=None):
        for start in range(0, n, 64):
            yield np.full((min(64, n - start), 64, 64, 3), start % 256, np.uint8)

folder, form, n = Path(sys.argv[1]), sys.argv[2], 10_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
bulk.write(Fake(), folder, bulk.Plan(n=n, shard_size=n, format=form))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("form", bulk._SUFFIXES)
def test_a_large_shard_takes_little_memory(tmp_path, form):
    """10,000 images of 64 × 64 are 123 MB of pixels."""
    command = [sys.executable, "-c", PEAK, str(tmp_path / "out"), form]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=True)
    assert int(done.stdout.splitlines()[-1]) < 60 * 1024


def test_a_full_disk_is_said_and_leaves_no_half_shard(sampler, tmp_path):
    whole, folder = plan(sampler), tmp_path / "out"
    bulk.begin(folder, whole)
    with room_for(2000), pytest.raises(StorageError, match="the same command goes on"):
        bulk.write_shard(sampler, folder, whole, 0)
    assert list(shards(folder)) == ["plan.json"]
    assert bulk.write_shard(sampler, folder, whole, 0)
