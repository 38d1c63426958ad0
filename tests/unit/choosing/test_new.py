"""Protects: a product is made of what can be read, under a name of its own, or not at all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from monge import products, stages
from monge.errors import InputError, MongeError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, folder)
    return folder


def put(path: Path, count: int = 3) -> Path:
    path.mkdir(parents=True)
    for number in range(count):
        Image.new("L", (8, 8), number).save(path / f"{number}.png")
    return path


def new(checkout: Path, images: Path, name: str = "", *overrides: str) -> str:
    """The name that a product got."""
    name = name or stages.product_name(checkout, images)
    list(stages.new(checkout, name, images, overrides))
    assert (checkout / "products" / name / "params.yaml").is_file()
    assert (checkout / "products" / name / "dvc.yaml").is_file()
    return name


def unfit(top: Path) -> dict[str, Path]:
    """Folders and archives that nothing can be made of, by what must be said of them."""
    (top / "empty").mkdir()
    (top / "text").mkdir()
    (top / "text" / "a.txt").touch()
    (top / "broken").mkdir()
    (top / "broken" / "a.png").write_text("x")
    (top / "pages").mkdir()
    (top / "pages" / "a.jpg").write_text("<!doctype html>")
    os.symlink("nothing", put(top / "dangling") / "x.png")
    (put(top / "bytes") / os.fsdecode(b"caf\xe9.png")).touch()
    with zipfile.ZipFile(top / "empty.zip", "w"):
        pass
    with zipfile.ZipFile(top / "unsafe.zip", "w") as file:
        file.writestr("../a.png", b"")
    (top / "page.zip").write_text("<html>")
    return {
        "no image found in": top / "empty",
        "only 1 .txt": top / "text",
        "1 of 1 images cannot be read: a.png: not an image": top / "broken",
        "a.jpg: not an image of a format that is read, but a web page": top / "pages",
        "a link to nothing": top / "dangling",
        "its name is not UTF-8": top / "bytes",
        "no image found": top / "empty.zip",
        "unsafe archive": top / "unsafe.zip",
        "a web page": top / "page.zip",
    }


def test_what_nothing_can_be_made_of_is_refused_at_once_and_leaves_nothing(
    checkout: Path, tmp_path: Path
) -> None:
    for told, images in unfit(tmp_path).items():
        with pytest.raises(InputError) as caught:
            new(checkout, images)
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not (checkout / "products").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [("train.lr=3", "unknown key"), ("a='b", "SET: No closing quotation"), ("train.steps=x", "")],
)
def test_a_wrong_value_of_make_is_refused_before_anything_is_made(
    checkout: Path, tmp_path: Path, changes: str, told: str
) -> None:
    monge, images = Path(sys.executable).with_name("monge"), put(tmp_path / "cats")
    done = subprocess.run(
        [monge, "new", "", images], cwd=checkout, env=os.environ | {"MONGE_SET": changes},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert told in done.stderr
    assert not (checkout / "products").exists()


def test_paths_that_can_be_no_images_are_refused_with_what_to_do(
    checkout: Path, tmp_path: Path
) -> None:
    odd = put(tmp_path / os.fsdecode(b"caf\xe9"))
    for images, told in (
        (checkout, "this checkout itself lies there"), (tmp_path, "this checkout itself"),
        (Path("/"), "this checkout itself"),
        (Path("https://x.org/a.zip"), "https://x.org/a.zip: nothing is downloaded"),
        (Path("s3://mine/a"), "nothing is downloaded"), (odd, "its name is not UTF-8"),
        (tmp_path / "*.png", "no such folder or archive"),
        (odd / "0.png", "its name is not UTF-8"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=re.escape(told)) as caught:
            new(checkout, images)
        str(caught.value).encode("utf-8")
        assert not (checkout / "products").exists()


def test_a_folder_that_was_there_stays_when_a_product_is_refused(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "products" / "mine").mkdir(parents=True)
    (checkout / "products" / "mine" / "notes.txt").touch()
    with pytest.raises(MongeError):
        new(checkout, put(tmp_path / "cats", 0), "mine")
    assert [each.name for each in (checkout / "products" / "mine").iterdir()] == ["notes.txt"]


def test_images_of_one_name_in_two_places_are_two_products_which_are_found_again(
    checkout: Path, tmp_path: Path
) -> None:
    first, second = put(tmp_path / "a" / "My Cats"), put(tmp_path / "b" / "my_cats")
    assert new(checkout, first) == "my-cats"
    other = new(checkout, second)
    assert other.startswith("my-cats-")
    assert stages.product_name(checkout, first) == "my-cats"
    assert stages.product_name(checkout, second) == other
    assert new(checkout, second) == other
    assert len(list((checkout / "products").iterdir())) == 2


def test_a_product_that_had_a_name_before_keeps_it(checkout: Path, tmp_path: Path) -> None:
    images = put(tmp_path / "日本")
    assert products.former_name_for(images) == "pictures"
    new(checkout, images, "pictures")
    assert stages.product_name(checkout, images) == "pictures"
    assert stages.product_name(checkout, put(tmp_path / "中国")).startswith("pictures-")
    dated = put(tmp_path / "cats.2024")
    new(checkout, dated, "cats")
    assert stages.product_name(checkout, dated) == "cats"
    assert stages.product_name(checkout, put(tmp_path / "cats.2025")) == "cats-2025"
