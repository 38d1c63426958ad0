"""Bad images among good ones: named with reasons, tolerated up to the limit, harmless beyond."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monge.data.packed import PackedDataset
from monge.data.prepare import prepare
from monge.errors import SourceError, StorageError
from monge.params import PrepareParams

RNG = np.random.default_rng(9)


def good(path: Path, number: int = 20) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for n in range(number):
        pixels = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"good-{n:03d}.jpg")


def huge_png(path: Path, side: int) -> None:
    """A decompression bomb: a valid header of side x side pixels and nearly no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(10_000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b""))


def run(root: Path, **params: object) -> PackedDataset:
    asked = PrepareParams(source="folder", path="raw", resolution=8, **params)  # type: ignore[arg-type]
    return prepare(asked, root, root / "downloads", root / "data" / "prepared")


def spoil(folder: Path) -> dict[str, str]:
    """Bad files, and what must be said of each."""
    whole = (folder / "good-000.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no image at all")
    (folder / "ghost.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage")
    huge_png(folder / "bomb.png", 60_000)
    return {
        "bomb.png": "more pixels than the limit",
        "cut.jpg": "truncated",
        "empty.png": "the file is empty",
        "ghost.png": "not an image of a format",
        "text.png": "not an image of a format",
    }


def test_every_bad_image_is_listed_with_its_reason_and_the_good_ones_kept(tmp_path: Path) -> None:
    good(tmp_path / "raw")
    wanted = spoil(tmp_path / "raw")
    dataset = run(tmp_path, max_rejected_fraction=0.2)
    assert len(dataset.train) + len(dataset.validation) == 20
    rejected = json.loads((dataset.folder / "manifest.json").read_text("utf-8"))["rejected"]
    assert [entry["path"] for entry in rejected] == sorted(wanted)
    for entry in rejected:
        assert wanted[entry["path"]] in entry["reason"]


def test_past_the_limit_the_first_three_are_named_and_the_old_dataset_stays(tmp_path: Path) -> None:
    good(tmp_path / "raw")
    before = run(tmp_path).content_hash
    spoil(tmp_path / "raw")
    with pytest.raises(SourceError) as caught:
        run(tmp_path, max_rejected_fraction=0.19)
    message = str(caught.value)
    assert message.startswith("5 of 25 images cannot be read (limit 0.19): bomb.png: more pixels")
    assert "cut.jpg: image file is truncated" in message
    assert "ghost.png" not in message
    assert message.endswith("Remove them, or raise prepare.max_rejected_fraction.")
    assert "\n" not in message
    kept = PackedDataset.open(tmp_path / "data" / "prepared")
    kept.verify()
    assert kept.content_hash == before


def test_one_truncated_jpeg_in_a_hundred_is_within_the_default_limit(tmp_path: Path) -> None:
    good(tmp_path / "raw", 99)
    whole = (tmp_path / "raw" / "good-000.jpg").read_bytes()
    (tmp_path / "raw" / "cut.jpg").write_bytes(whole[:-200])
    assert [entry["path"] for entry in run(tmp_path).manifest["rejected"]] == ["cut.jpg"]
    (tmp_path / "raw" / "good-001.jpg").unlink()
    with pytest.raises(SourceError, match="1 of 99 images"):
        run(tmp_path)


def test_nothing_but_bad_images_is_refused_whatever_the_limit(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.png").write_text("x")
    with pytest.raises(SourceError, match="1 of 1 images cannot be read"):
        run(tmp_path, max_rejected_fraction=1.0)


def test_a_bomb_costs_no_memory(tmp_path: Path) -> None:
    good(tmp_path / "raw", 3)
    huge_png(tmp_path / "raw" / "bomb.png", 30_000)  # 2.7 GB of pixels
    code = (
        "import re; from pathlib import Path; from monge.data.prepare import prepare;"
        "from monge.params import PrepareParams;"
        f"root = Path({str(tmp_path)!r});"
        "p = PrepareParams(source='folder', path='raw', max_rejected_fraction=0.5);"
        "prepare(p, root, root, root / 'out');"
        "status = Path('/proc/self/status').read_text();"
        "assert int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) < 400_000"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("number", "limit"), [(20, 1000), (2, 300), (4, 1000)], ids=["decoding", "packing", "manifest"]
)
def test_a_full_disk_is_said_with_a_remedy_and_the_old_dataset_stays(
    tmp_path: Path, number: int, limit: int
) -> None:
    """A file size limit stands for the full disk; decoding needs 192 bytes an image."""
    good(tmp_path / "raw", number)
    before = run(tmp_path, colour="rgb").content_hash
    code = (
        "import resource; from pathlib import Path; from monge.data.prepare import prepare;"
        "from monge.params import PrepareParams; from monge.errors import StorageError;"
        f"root = Path({str(tmp_path)!r});"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));\n"
        "p = PrepareParams(source='folder', path='raw', resolution=8, colour='rgb');\n"
        "try: prepare(p, root, root, root / 'data' / 'prepared')\n"
        "except StorageError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], check=False, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert "cannot write" in done.stdout
    assert "ulimit" in done.stdout
    kept = PackedDataset.open(tmp_path / "data" / "prepared")
    kept.verify()
    assert kept.content_hash == before
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["prepared"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    good(tmp_path / "raw", 3)
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="cannot write"):
        run(tmp_path)
