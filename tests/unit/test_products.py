"""Protects: a product is a folder of its own, and its stages are the checkout's own."""

from pathlib import Path

import pytest
import yaml

from monge import products
from monge.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    place = tmp_path / "products" / "cats"
    place.mkdir(parents=True)
    (place / "params.yaml").touch()
    return tmp_path


def test_a_product_belongs_to_the_checkout_around_it_and_a_checkout_to_itself(checkout: Path):
    assert products.home(checkout / "products" / "cats") == checkout
    assert products.home(checkout) == checkout
    stranger = checkout / "elsewhere" / "cats"
    stranger.mkdir(parents=True)
    assert products.home(stranger) == stranger


def test_a_folder_named_products_of_something_else_is_no_checkout(tmp_path: Path):
    place = tmp_path / "products" / "cats"
    place.mkdir(parents=True)
    assert products.home(place) == place


@pytest.mark.parametrize("name", ["", "..", "a/b", "Cats", "-cats", "cats\n", "c" * 64, "kät"])
def test_what_is_no_name_is_refused(checkout: Path, name: str):
    with pytest.raises(InputError, match="cannot name a product"):
        products.folder(checkout, name)


def test_one_that_is_not_there_is_refused_with_those_that_are(checkout: Path):
    assert products.existing(checkout, "cats") == checkout / "products" / "cats"
    assert products.existing(checkout / "products" / "cats", "cats").is_dir()  # from within one
    with pytest.raises(InputError, match="no product is called dogs. There are: cats;"):
        products.existing(checkout, "dogs")


def test_its_stages_are_those_of_the_checkout_two_folders_further_down():
    text = (ROOT / "dvc.yaml").read_text()
    ours, theirs = (yaml.safe_load(each)["stages"] for each in (text, products.stages_of(text)))
    assert list(theirs) == list(ours)
    for name, stage in ours.items():
        assert theirs[name]["outs"] == stage["outs"]
        for before, after in zip(stage["deps"], theirs[name]["deps"], strict=True):
            shared = before.startswith(("src/", "pipelines/"))
            assert after == (f"../../{before}" if shared else before)
            if shared:
                assert (ROOT / before).exists()
        assert theirs[name]["cmd"] == stage["cmd"].replace("sh pipelines/", "sh ../../pipelines/")


def test_the_stages_are_written_once_and_again_when_those_of_the_checkout_change(checkout: Path):
    place = checkout / "products" / "cats"
    assert products.write_stages(place)
    assert not products.write_stages(place)
    with (checkout / "dvc.yaml").open("a") as file:
        file.write("plots: []\n")
    assert products.write_stages(place)
    assert "plots" in (place / "dvc.yaml").read_text()


@pytest.mark.parametrize(
    ("images", "name"),
    [
        ("/data/My Cats.tar.gz", "my-cats"), ("icons", "icons"), ("v1.2 final.zip", "v1-2-final"),
        ("'quotes' #and ünïcode", "quotes-and-unicode"), ("..", "pictures"),
        ("a" * 80, "a" * 63), ("cats.2024", "cats-2024"), ("cats.2025", "cats-2025"),
        ("Łódź", "lodz"), ("smørrebrød", "smorrebrod"), ("straße", "strasse"), ("ﬁlm", "film"),
        ("кошки и лошадь", "koshki-i-loshad"), ("щука", "shchuka"), ("γάτα", "gata"),
        ("ねこ", "neko"), ("ガード", "gado"), ("고양이", "goyangi"),
        ("\u1100\u1169\u110b\u1163\u11bc", "goyang"),  # as macOS writes it
    ],
)  # fmt: skip
def test_a_name_is_made_of_that_of_the_images(tmp_path: Path, images: str, name: str):
    assert products.name_for(Path(images)) == name
    products.folder(tmp_path, name)


def test_names_without_a_spelling_stay_different():
    names = ["日本", "中国", "🐱", "🐶", "日本 cats", "中国 cats", "日" * 80, "日" * 81]
    made = [products.name_for(Path(name)) for name in names]
    assert len(set(made)) == len(names)
    assert made[0].startswith("pictures-")
    assert made[4].startswith("cats-")
    assert made == [products.name_for(Path(name)) for name in names]
    for name in made:
        products.folder(Path(), name)
