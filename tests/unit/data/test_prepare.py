"""prepare gives the same bytes on every way to the same images, and never half a dataset."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from monge.data import pool
from monge.data.packed import PackedDataset
from monge.data.prepare import prepare
from monge.errors import EnvironmentFault, SourceError
from monge.params import PrepareParams

RNG = np.random.default_rng(5)


def run(root: Path, out: str = "prepared", **params: object) -> PackedDataset:
    asked = PrepareParams(**params)  # type: ignore[arg-type]
    return prepare(asked, root, root / "downloads", root / "data" / out)


def draw(folder: Path, *classes: str, each: int = 8) -> None:
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            pixels = RNG.integers(0, 256, (9 + number, 12, 3), dtype=np.uint8)
            kind = "jpg" if number % 2 else "png"
            Image.fromarray(pixels).save(folder / name / f"{number}.{kind}")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_digits_are_the_scans_at_full_range_in_class_order(tmp_path: Path) -> None:
    dataset = run(tmp_path)
    scans = load_digits()
    assert dataset.image_shape == (1, 8, 8)
    assert dataset.class_names == tuple("0123456789")
    assert (len(dataset.train), len(dataset.validation)) == (1438, 359)
    for split in (dataset.train, dataset.validation):
        for number in (0, 5, -1):
            assert split.labels is not None
            image, label = split.shards[0][number, 0], split.labels[number]
            same = (np.rint(scans.images * 255 / 16) == image).all((1, 2))
            assert set(scans.target[same]) == {label}
    assert sum(dataset.manifest["splits"]["train"]["per_class"]) == 1438
    assert dataset.train.take(np.arange(50)).max() == 255


def test_digits_can_be_resized_like_any_other_source(tmp_path: Path) -> None:
    dataset = run(tmp_path, resolution=16, colour="rgb")
    assert dataset.image_shape == (3, 16, 16)


def test_a_second_run_gives_the_same_bytes(tmp_path: Path) -> None:
    draw(tmp_path / "raw", "cat", "dog")
    run(tmp_path, "a", source="folder", path="raw", resolution=8)
    first = content(tmp_path / "data" / "a")
    run(tmp_path, "a", source="folder", path="raw", resolution=8)
    assert content(tmp_path / "data" / "a") == first
    run(tmp_path, "b", source="folder", path="raw", resolution=8, seed=1)
    assert content(tmp_path / "data" / "b") != first


def test_one_and_three_workers_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "raw", "cat", "dog", each=150)
    (tmp_path / "raw" / "cat" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    # A start with processes at once, so that the order of arrival really varies.
    monkeypatch.setattr(pool, "PATIENCE_S", -1.0)
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def record(*args: Any, **how: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **how))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", record)
    for workers in (1, 3):
        run(tmp_path, str(workers), source="folder", path="raw", resolution=8, workers=workers)
    assert len(started) == 3
    assert all(process.poll() is not None for process in started)
    one, three = content(tmp_path / "data" / "1"), content(tmp_path / "data" / "3")
    told = [json.loads(packed.pop("manifest.json")) for packed in (one, three)]
    assert one == three
    assert [manifest["params"].pop("workers") for manifest in told] == [1, 3]
    assert told[0] == told[1]


def test_folder_and_every_archive_give_the_same_images_and_labels(tmp_path: Path) -> None:
    draw(tmp_path / "raw", "cat", "dog")
    files = sorted((tmp_path / "raw").glob("*/*"))
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        for file in files[::-1]:
            archive.write(file, f"set/{file.relative_to(tmp_path / 'raw')}")
    with tarfile.open(tmp_path / "raw.tar.xz", "w:xz") as tar:
        for number in RNG.permutation(len(files)):
            tar.add(files[number], files[number].relative_to(tmp_path / "raw"))
    folder = run(tmp_path, "folder", source="folder", path="raw", resolution=8, colour="rgb")
    for name in ("raw.zip", "raw.tar.xz"):
        run(tmp_path, name, source="archive", path=name, resolution=8, colour="rgb")
        packed = content(tmp_path / "data" / name)
        for part, expected in content(tmp_path / "data" / "folder").items():
            assert part == "manifest.json" or packed[part] == expected
        assert PackedDataset.open(tmp_path / "data" / name).content_hash == folder.content_hash


def test_a_users_folder_of_72x72_rgba_pngs_at_64(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for number in range(10):
        pixels = RNG.integers(0, 256, (72, 72, 4), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "raw" / f"{number}.png")
    dataset = run(tmp_path, source="folder", path="raw", resolution=64, colour="rgb")
    assert dataset.train.shape == (8, 3, 64, 64)
    assert dataset.train.labels is None
    # Over black in float64, then Pillow's Lanczos: rounding may differ by one before resizing.
    with Image.open(tmp_path / "raw" / "0.png") as image:
        pixels = np.asarray(image).astype(float)
    flat = np.rint(pixels[..., :3] * pixels[..., 3:] / 255).astype(np.uint8)
    resized = Image.fromarray(flat).resize((64, 64), Image.Resampling.LANCZOS)
    rows = np.concatenate([dataset.train.shards[0], dataset.validation.shards[0]]).astype(int)
    off = np.abs(rows - np.asarray(resized).transpose(2, 0, 1)).max((1, 2, 3))
    assert np.count_nonzero(off <= 3) == 1


def test_images_are_ordered_by_path_and_labels_fit_them(tmp_path: Path) -> None:
    for label, shade in (("dark", 10), ("light", 200)):
        (tmp_path / "raw" / "train" / label).mkdir(parents=True)
        (tmp_path / "raw" / "test" / label).mkdir(parents=True)
        for number in range(5):
            for split, lift in (("train", 0), ("test", 30)):
                image = Image.new("L", (8, 8), shade + lift + number)
                image.save(tmp_path / "raw" / split / label / f"{number}.png")
    dataset = run(tmp_path, source="folder", path="raw")
    assert dataset.class_names == ("dark", "light")
    for packed, lift in ((dataset.train, 0), (dataset.validation, 30)):
        shades = [base + lift + n for base in (10, 200) for n in range(5)]
        assert packed.shards[0][:, 0, 0, 0].tolist() == shades
        assert packed.labels is not None
        assert packed.labels.tolist() == [0] * 5 + [1] * 5


def test_the_manifest_tells_how_it_was_made_and_names_no_machine(tmp_path: Path) -> None:
    draw(tmp_path / "raw", "cat", "dog")
    (tmp_path / "raw" / "readme.txt").write_text("x")
    dataset = run(tmp_path, source="folder", path="raw", workers=2)
    assert dataset.manifest["source"] == {"kind": "folder", "name": "raw"}
    assert dataset.manifest["params"]["path"] == "raw"
    assert dataset.manifest["skipped_files"] == 1
    assert dataset.manifest["params"]["resolution"] == 8
    assert dataset.manifest["params"]["workers"] == 2
    assert dataset.manifest["conversion"]["grey"].startswith("ITU-R 601")
    assert str(tmp_path) not in (dataset.folder / "manifest.json").read_text("utf-8")


def test_the_folder_holds_nothing_but_the_dataset_afterwards(tmp_path: Path) -> None:
    run(tmp_path)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["prepared"]


LONG_RUN = """
import signal
import sys
from pathlib import Path
from monge.data import pool
from monge.data.prepare import prepare
from monge.params import PrepareParams
pool.PATIENCE_S = -1.0
# As on a terminal: a shell lets what it starts in the background, tests too, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
if len(sys.argv) > 2:  # dies with the new folder complete but not in place
    import os, signal
    from monge.data.replacement import FolderReplacement
    FolderReplacement.commit = lambda self: os.kill(os.getpid(), signal.SIGKILL)
root = Path(sys.argv[1])
params = PrepareParams(source="folder", path="raw", resolution=64, colour="rgb", workers=2)
prepare(params, root, root / "downloads", root / "data" / "prepared")
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """A process in a session of its own, as on a terminal of its own; none outlives its test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(root: Path, *extra: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", LONG_RUN, str(root), *extra]
        started.append(subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE))
        return started[-1]

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def children(pid: int) -> set[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], check=False, capture_output=True, text=True
    )
    return {int(word) for word in found.stdout.split()}


def wait_for_workers(process: subprocess.Popen[bytes]) -> set[int]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if len(workers := children(process.pid)) == 2:
            return workers
        assert process.poll() is None, "it ended before it could be stopped: give it more work"
        time.sleep(0.02)
    raise AssertionError("no workers within 120 s")


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def project_with_much_work(tmp_path: Path) -> Path:
    """An old dataset of digits, and images that take some seconds to decode."""
    run(tmp_path)
    (tmp_path / "raw").mkdir()
    noise = RNG.integers(0, 256, (900, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "raw" / "0.png", compress_level=1)
    for number in range(1, 600):
        os.link(tmp_path / "raw" / "0.png", tmp_path / "raw" / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_in_the_middle_it_keeps_the_old_dataset_and_leaves_no_process(
    project_with_much_work: Path, how: signal.Signals, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    root = project_with_much_work
    before = content(root / "data" / "prepared")
    process = start(root)
    workers = wait_for_workers(process)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # Ctrl-C reaches the whole group
    else:
        process.send_signal(how)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0, errors
    assert errors.count(b"Traceback") == (how != signal.SIGKILL), "only the parent's own"
    assert (b"Interrupted: stopped by SIGTERM" in errors) == (how == signal.SIGTERM)
    deadline = time.monotonic() + 120
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.02)
    assert content(root / "data" / "prepared") == before
    assert [path.name for path in (root / "data").iterdir()] == ["prepared"]


def test_the_command_ends_with_130_and_one_line_when_it_is_told_to_stop(
    project_with_much_work: Path,
) -> None:
    root = project_with_much_work
    (root / "params.yaml").write_text("prepare: {source: folder, path: raw, workers: 2}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "monge", "prepare"], cwd=root, stderr=subprocess.PIPE
    )
    try:
        wait_for_workers(process)
        process.terminate()
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.decode().splitlines() == [
        "monge: stopped by SIGTERM before all images were packed; what was packed before is as it "
        "was. The same command begins again."
    ]


def test_killed_just_before_the_end_the_next_run_clears_up(
    tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    run(tmp_path)
    before = content(tmp_path / "data" / "prepared")
    draw(tmp_path / "raw", "cat", "dog")
    process = start(tmp_path, "die")
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert content(tmp_path / "data" / "prepared") == before
    assert (tmp_path / "data" / ".prepared.partial" / "manifest.json").exists()
    run(tmp_path, source="folder", path="raw").verify()
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["prepared"]


def test_a_dying_worker_is_reported_with_the_images_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "raw", "cat", each=200)
    monkeypatch.setattr(pool, "PATIENCE_S", -1.0)
    popen = subprocess.Popen

    def crash(command: list[str], **how: object) -> subprocess.Popen[bytes]:
        return popen([command[0], "-c", "import os; os.abort()"], **how)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", crash)
    with pytest.raises(EnvironmentFault, match=r"A decoding process died.*prepare\.workers"):
        run(tmp_path, source="folder", path="raw", workers=2)
    assert not (tmp_path / "data" / "prepared").exists()


def test_preparing_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from monge.params import PrepareParams;"
        "from monge.data.prepare import prepare; import monge.data.pool;"
        f"root = Path({str(tmp_path)!r});"
        "prepare(PrepareParams(), root, root, root / 'out');"
        "sys.exit(any(name.split('.')[0] in ('torch', 'mlflow') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_usable_image_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "raw", "cat", each=1)
    with pytest.raises(SourceError, match="two are needed"):
        run(tmp_path, source="folder", path="raw")


@pytest.mark.skipif(
    not os.environ.get("MONGE_CIFAR_ARCHIVE"),
    reason="MONGE_CIFAR_ARCHIVE names no archive; the same ground is covered on made archives",
)
def test_the_cifar_archive_has_its_known_shape(tmp_path: Path) -> None:
    archive = os.environ["MONGE_CIFAR_ARCHIVE"]
    dataset = run(tmp_path, source="archive", path=archive, resolution=32, colour="rgb")
    assert dataset.train.shape == (50_000, 3, 32, 32)
    assert dataset.validation.shape == (10_000, 3, 32, 32)
    assert dataset.manifest["splits"]["validation"]["per_class"] == [1000] * 10
    assert dataset.manifest["rejected"] == []
