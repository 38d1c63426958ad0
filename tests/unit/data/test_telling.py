"""Protects: `prepare` says what it made of a folder, and what in it is worth a look."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monge.data.packed import PackedDataset
from monge.data.prepare import prepare
from monge.data.telling import Oddities
from monge.errors import SourceError
from monge.params import PrepareParams


def noise(seed: int, size: int = 24) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    return Image.fromarray(pixels)


def put(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "monge")

    def run(**params: object) -> str:
        caplog.clear()
        asked = PrepareParams.model_validate(
            {"source": "folder", "path": "pics", "resolution": 16, "colour": "rgb", "workers": 1}
            | params
        )
        prepare(asked, tmp_path, tmp_path, tmp_path / "prepared")
        return "\n".join(caplog.messages)

    return run


def test_everything_that_was_done_is_in_the_block(tmp_path: Path, said) -> None:
    pics = tmp_path / "pics"
    for n in range(30):
        put(noise(n), pics / "cat" / f"{n}.png")
        put(noise(100 + n), pics / "dog" / f"{n}.jpg")
    put(noise(999), pics / "preview.png")
    for n in range(3):
        put(Image.new("RGB", (24, 24), "red"), pics / "cat" / f"red{n}.png")
        (pics / "dog" / f"{n}.heic").write_bytes(b"x")
    nearly = np.asarray(noise(5)) // 2 * 2  # a copy of 5.png with other lowest bits
    put(Image.fromarray(nearly), pics / "cat" / "zz5.png")

    encoded = io.BytesIO()
    noise(301).save(encoded, "PNG")
    (pics / "dog" / "noending").write_bytes(encoded.getvalue())
    (pics / "dog" / "README").write_text("hello")
    (pics / "dog" / "cut.png").write_bytes(encoded.getvalue()[:300])
    told = said(max_rejected_fraction=0.1)
    assert "packed 52 images to train on and 13 to validate with" in told
    assert "16x16 pixels in rgb each, 2 classes" in told
    assert "  classes    cat 27, dog 25 (to train on)" in told
    assert "0.2 of each class is held out to judge by" in told
    assert "  left out   1 image (preview.png) beside the folders of the classes" in told
    assert "3 .heic (images of a format that is not read: convert them to PNG or JPEG)" in told
    assert "1 without an ending" in told
    assert "  rejected   1 image (dog/cut.png): " in told
    assert "  look at    3 of 65 images (cat/red0.png, ...) are of one colour" in told
    assert "  look at    1 image (cat/zz5.png) like another one" in told
    assert "52 images to train on are learned by heart" in told
    manifest = PackedDataset.open(tmp_path / "prepared").manifest
    assert manifest["skipped"] == {".heic": 3, "without an ending": 1}
    assert manifest["left_out"][0]["path"] == "preview.png"


def test_labels_of_a_dataset_json_are_the_classes(tmp_path: Path, said) -> None:
    names = [f"{n // 4:05d}/img{n:08d}.png" for n in range(12)]
    for n, name in enumerate(names):
        put(noise(n), tmp_path / "pics" / name)
    labels = ", ".join(f'["{name}", {n % 2}]' for n, name in enumerate(names))
    file = tmp_path / "pics" / "dataset.json"
    file.write_text(f'{{"labels": [{labels}]}}')
    assert "  classes    0 5, 1 5 (to train on)" in said()
    (tmp_path / "pics").rename(tmp_path / "ffhq")
    (tmp_path / "pics").mkdir()
    (tmp_path / "ffhq").rename(tmp_path / "pics" / "ffhq")
    assert "  classes    0 5, 1 5 (to train on)" in said()
    file = tmp_path / "pics" / "ffhq" / "dataset.json"
    file.write_text('{"labels": null}')
    assert "  classes    none" in said()
    for of_other_tools in ('{"labels": {"background": 0, "cat": 1}}', '[1]', '{"name": "x"}',
                           '{"labels": [{"id": 1, "name": "cat"}]}'):  # fmt: skip
        file.write_text(of_other_tools)
        assert "  classes    00000 " in said()
    file.unlink()
    assert "  classes    00000 " in said()
    assert "  classes    none" in said(classes="none")


def test_links_into_dvcs_own_cache_are_files_and_others_are_not(
    tmp_path: Path, said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text(
        "[cache]\n    dir = ../elsewhere\n    type = symlink\n"
    )
    for n in range(6):
        stored = tmp_path / ("elsewhere" if n % 2 else ".dvc/cache") / "files" / "md5" / f"{n:02d}"
        put(noise(n), stored / "abc.png")
        link = tmp_path / "pics" / f"{n}.png"
        link.parent.mkdir(exist_ok=True)
        os.symlink(stored / "abc.png", link)
    assert "packed 5 images to train on and 1 to validate with" in said()
    put(noise(9), tmp_path / "private" / "x.png")
    os.symlink(tmp_path / "private" / "x.png", tmp_path / "pics" / "x.png")
    told = said(max_rejected_fraction=0.5)
    assert "rejected   1 image (x.png): a symbolic link that leaves the folder" in told


def dvc_object(folder: Path, number: int) -> Path:
    """An image in a cache as DVC 3 has it."""
    stored = folder / "files" / "md5" / "ab" / f"{number:030x}"
    stored.parent.mkdir(parents=True, exist_ok=True)
    noise(number).save(stored, "PNG")
    return stored


@pytest.mark.parametrize(
    ("variable", "file"),
    [
        ("HOME", ".config/dvc/config"), ("XDG_CONFIG_HOME", "dvc/config"),
        ("DVC_GLOBAL_CONFIG_DIR", "config"), ("XDG_CONFIG_DIRS", "dvc/config"),
        ("DVC_SYSTEM_CONFIG_DIR", "config"),
    ],
)  # fmt: skip
def test_a_cache_that_the_users_or_the_machines_settings_name_is_dvcs(
    tmp_path: Path, said, monkeypatch: pytest.MonkeyPatch, variable: str, file: str
) -> None:
    for other in ("XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "DVC_GLOBAL_CONFIG_DIR",
                  "DVC_SYSTEM_CONFIG_DIR"):  # fmt: skip
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv(variable, str(tmp_path / "settings"))
    settings = tmp_path / "settings" / file
    settings.parent.mkdir(parents=True)
    (tmp_path / "pics").mkdir()
    for n in range(4):
        os.symlink(dvc_object(tmp_path / "shared", n), tmp_path / "pics" / f"{n}.png")
    settings.write_text("[cache]\n    dir = /nowhere\n")
    with pytest.raises(SourceError, match="4 of 4 images cannot be read: 4 images .* leaves the"):
        said()
    settings.write_text(f"[cache]\n    dir = {tmp_path / 'shared'}\n")
    assert "packed 3 images to train on and 1 to validate with" in said()


def test_links_of_another_project_of_dvcs_are_followed_into_its_cache_alone(
    tmp_path: Path, said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    theirs = tmp_path / "theirs"
    (theirs / ".dvc").mkdir(parents=True)
    (theirs / ".dvc" / "config").write_text(f"[cache]\n    dir = {tmp_path / 'shared'}\n")
    (theirs / "pics").mkdir()
    for n in range(4):
        place = tmp_path / "shared" if n % 2 else theirs / ".dvc" / "cache"
        os.symlink(dvc_object(place, n), theirs / "pics" / f"{n}.png")
    put(noise(9), tmp_path / "shared" / "private.png")  # the settings came with the images
    os.symlink(tmp_path / "shared" / "private.png", theirs / "pics" / "x.png")
    told = said(path="theirs/pics", max_rejected_fraction=0.5)
    assert "packed 3 images to train on and 1 to validate with" in told
    assert "rejected   1 image (x.png): a symbolic link that leaves the folder" in told


def test_only_images_that_are_alike_everywhere_are_copies() -> None:
    image = np.random.default_rng(0).integers(40, 200, (1, 3, 32, 32), np.uint8)
    lines = np.full((2, 3, 32, 32), 255, np.uint8)
    lines[0, :, 5], lines[1, :, 6] = 0, 0  # drawings, which are white nearly everywhere
    images = np.concatenate([image, image + np.uint8(40), image + np.uint8(1), lines])
    odd = Oddities(images)
    odd.add(["a", "b"], np.arange(2), images[:2])
    odd.add(["c", "d", "e"], np.arange(2, 5), images[2:])
    assert odd.copies == ["c"]
