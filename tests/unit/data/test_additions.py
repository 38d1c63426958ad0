"""Protects: what is added later leaves the split of what was there as it was."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from monge.data import additions
from monge.data.layout import organise
from monge.data.packed import PackedDataset
from monge.data.prepare import prepare
from monge.errors import SourceError
from monge.params import PrepareParams

BASE = [f"{each}/{number}.png" for each in ("cat", "dog") for number in range(40)]


def added(number: int, count: int, folder: str = "cat") -> list[str]:
    tag = f"{number:04d}-{number:012x}"
    return [additions.name(tag, f"{folder}/{name}.png") for name in range(count)]


def held_out(paths: list[str], seed: int = 0) -> dict[str, bool]:
    layout = organise(paths, 0.2, seed)
    return dict(zip(paths, layout.held_out.tolist(), strict=True))


def test_whoever_is_held_out_stays_so_when_more_is_added():
    paths = list(BASE)
    before = held_out(paths)
    for number, (count, folder) in enumerate([(7, "cat"), (1, "dog"), (30, "fish"), (50, "fish")]):
        paths += added(number + 1, count, folder)
        after = held_out(paths)
        assert {path: after[path] for path in before} == before
        before = after
    assert sum(before.values()) == pytest.approx(0.2 * len(before), abs=12)


def test_many_small_additions_are_held_out_at_the_same_rate():
    paths = BASE + [path for number in range(1, 1001) for path in added(number, 2)]
    share = np.mean([out for path, out in held_out(paths).items() if path not in BASE])
    assert share == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 2000))


def test_the_first_images_of_a_class_are_not_all_held_out():
    for seed in range(20):
        of = held_out(BASE + added(1, 3) + added(2, 2, "fish"), seed)
        assert sum(out for path, out in of.items() if "fish" in path) == 1


def test_without_additions_the_split_is_the_one_it_was():
    assert sorted(path for path, out in held_out(BASE[:10]).items() if out) == WAS


WAS = ["cat/0.png", "cat/8.png"]


def test_a_folder_is_packed_with_its_additions(tmp_path):
    def picture(seed: int) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG")
        return data.getvalue()

    for number, name in enumerate(["a/0.png", "a/1.png", "b/0.png", "b/1.png"]):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_bytes(picture(number))
    params = PrepareParams(source="folder", path="raw", workers=1)
    before = packed(params, tmp_path)
    assert "additions" not in before.manifest["source"]
    tag = "0001-00000000000a"
    (tmp_path / "raw" / "additions").mkdir()
    with tarfile.open(tmp_path / "raw" / "additions" / f"{tag}.tar", "w") as archive:
        for number, name in enumerate(["a/0.png", "b/7.png"]):  # a name that is there, too
            member = tarfile.TarInfo(name)
            member.size = len(picture(10 + number))
            archive.addfile(member, io.BytesIO(picture(10 + number)))
    after = packed(params, tmp_path)
    assert after.manifest["source"]["additions"] == [tag]
    assert len(after.train) + len(after.validation) == 6
    assert after.class_names == ("a", "b")
    assert after.content_hash != before.content_hash
    assert packed(params, tmp_path).content_hash == after.content_hash
    (tmp_path / "raw" / "additions" / f"{tag}.tar").write_bytes(b"not one" * 100)
    with pytest.raises(SourceError, match=tag):
        packed(params, tmp_path)


def packed(params: PrepareParams, root) -> PackedDataset:
    return prepare(params, root, root / "downloads", root / "prepared")
