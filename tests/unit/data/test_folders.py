"""Protects: folders are read as the people meant them who laid them out, and what is done is said.

Each layout stands for its kind; the cases are from public reports of people with such folders.
"""

from __future__ import annotations

import pytest

from monge.data.layout import Layout, organise


def images(*folders: str, each: int = 10) -> list[str]:
    return [f"{folder}{n:02d}.png" for folder in folders for n in range(each)]


def read(paths: list[str], **how: object) -> Layout:
    return organise(sorted(paths), 0.2, 0, **how)  # type: ignore[arg-type]


def split(layout: Layout, paths: list[str]) -> tuple[set[str], set[str]]:
    """The folders that are trained on and judged by."""
    named = sorted(paths)
    return tuple(
        {named[row].rpartition("/")[0] for row in layout.rows(which)}
        for which in ("train", "validation")
    )  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        ("training", "testing"), ("train", "val"), ("Train", "Valid"), ("trn", "tst"),
        ("train_set", "test_set"), ("training images", "validation images"), ("train", "dev"),
        ("train-data", "eval"), ("TRAIN", "holdout"), ("trainset", "testset"),
        ("01_train", "02_test"), ("train2017", "val2017"), ("trainval", "test"),
        ("images_train", "images_test"), ("entrai\u0302nement", "validation"),
        ("entrenamiento", "prueba"), ("Trainingsdaten", "Testdaten"), ("treino", "validação"),
        ("训练集", "测试集"), ("学習", "テスト"), ("обучение", "тест"), ("훈련", "검증"),
    ],
)  # fmt: skip
def test_splits_go_by_their_usual_names(train: str, held_out: str) -> None:
    paths = images(f"{train}/cat/", f"{train}/dog/", f"{held_out}/cat/", f"{held_out}/dog/")
    layout = read(paths)
    assert layout.class_names == ["cat", "dog"]
    assert split(layout, paths) == (
        {f"{train}/cat", f"{train}/dog"}, {f"{held_out}/cat", f"{held_out}/dog"},
    )  # fmt: skip
    assert f"images to train on are those in {train}" in layout.notes
    assert f"images to judge by are those in {held_out}" in layout.notes


def test_paired_splits_have_two_classes() -> None:
    paths = images("trainA/", "trainB/", "testA/", "testB/")
    layout = read(paths)
    assert layout.class_names == ["A", "B"]
    assert split(layout, paths) == ({"trainA", "trainB"}, {"testA", "testB"})


@pytest.mark.parametrize("name", ["unlabeled", "Unlabelled", "unsup"])
def test_unlabelled_images_are_trained_on_only_where_no_others_have_labels(name: str) -> None:
    paths = images("train/cat/", "train/dog/", "test/cat/", f"{name}/")
    layout = read(paths)
    assert layout.class_names == ["cat", "dog"]
    assert set(layout.left_out.values()) == {f"in {name}, which is no split"}
    assert len(layout.left_out) == 10
    paths = images("train/", "test/", f"{name}/")
    assert split(read(paths), paths) == ({"train", name}, {"test"})


def test_splits_below_the_classes_are_splits() -> None:
    paths = images("cat/train/", "cat/test/", "dog/train/", "dog/test/")
    layout = read(paths)
    assert layout.class_names == ["cat", "dog"]
    assert split(layout, paths) == ({"cat/train", "dog/train"}, {"cat/test", "dog/test"})


def test_a_folder_between_the_split_and_the_classes_is_looked_through() -> None:
    paths = images("data/images/train/x/cat/", "data/images/train/x/dog/", "data/images/val/x/cat/")
    assert read(paths).class_names == ["cat", "dog"]


def test_a_split_without_the_other_is_a_class_and_that_is_said() -> None:
    layout = read(images("cat/", "dog/", "test/"))
    assert layout.class_names == ["cat", "dog", "test"]
    assert "test is taken for a class: its other split is missing" in layout.notes


@pytest.mark.parametrize("folders", [("cat/", "dog/"), ("archive/data/cat/", "archive/data/dog/")])
@pytest.mark.parametrize("stray", ["preview.png", "archive/readme.png"])
def test_a_stray_image_beside_the_classes_is_left_out_and_named(
    folders: tuple[str, ...], stray: str
) -> None:
    if stray.startswith("archive/") and not folders[0].startswith("archive/"):
        stray = "Thumbs.png"
    paths = [*images(*folders), stray]
    layout = read(paths)
    assert layout.class_names == ["cat", "dog"]
    assert [sorted(paths)[place] for place in layout.left_out] == [stray]
    assert len(layout.rows("train")) + len(layout.rows("validation")) == 20


def test_a_stray_image_beside_the_splits_mixes_nothing() -> None:
    paths = [*images("train/", "test/"), "logo.png"]
    layout = read(paths)
    assert split(layout, paths) == ({"train"}, {"test"})
    assert list(layout.left_out.values()) == ["beside the splits"]


def test_many_images_beside_folders_mean_that_those_are_no_classes() -> None:
    layout = read(images("", "old/", "new/"))
    assert layout.class_names == []
    assert not layout.left_out
    assert "10 images lie beside the folders new, old: those are no classes then" in layout.notes


def test_several_folders_around_everything_are_looked_through() -> None:
    assert read(images("archive/data/cat/", "archive/data/dog/")).class_names == ["cat", "dog"]


def test_a_class_that_is_only_judged_by_is_left_out_and_named() -> None:
    paths = images("train/cat/", "train/dog/", "test/cat/", "test/bird/")
    layout = read(paths)
    assert layout.class_names == ["cat", "dog"]
    assert set(layout.left_out.values()) == {"of the class bird, which has no image to train on"}
    assert split(layout, paths)[1] == {"test/cat"}


def test_where_the_same_names_return_below_they_are_the_classes() -> None:
    paths = images(*(f"book/page {n}/{kind}/" for n in range(5) for kind in ("face", "house")))
    layout = read(paths)
    assert layout.class_names == ["face", "house"]
    assert "the classes are the folders below: their names return in most others" in layout.notes
    assert read(images("n01/images/", "n02/images/")).class_names == ["n01", "n02"]
    assert read(images("cat/a/", "cat/b/", "dog/c/", "dog/d/")).class_names == ["cat", "dog"]


def test_labels_in_a_file_are_the_classes_and_their_folders_are_not() -> None:
    paths = images("00000/", "00001/")
    given = {path: str(int(path[-5]) % 3) for path in paths[:-1]}
    layout = read(paths, given=given)
    assert layout.class_names == ["0", "1", "2"]
    assert list(layout.left_out.values()) == ["not in dataset.json"]
    assert layout.labels is not None
    for row, path in enumerate(sorted(paths)[:-1]):
        assert layout.class_names[layout.labels[row]] == given[path]


def test_no_classes_may_be_asked_for() -> None:
    paths = images("train/cat/", "train/dog/", "test/cat/")
    layout = read(paths, classes="none")
    assert (layout.class_names, layout.labels) == ([], None)
    assert split(layout, paths) == ({"train/cat", "train/dog"}, {"test/cat"})
    assert read(paths, classes="none", given=dict.fromkeys(paths, "x")).class_names == []


def test_a_class_for_each_image_is_none_because_one_would_never_be_trained_on() -> None:
    layout = organise(["cat/0.png", "cow/0.png", "dog/0.png"], 0.2, 0)
    assert layout.class_names == []
    assert layout.labels is None
    assert any("single image" in note for note in layout.notes)


def test_a_folder_that_is_looked_through_is_named() -> None:
    paths = [f"archive/data/{name}/{i}.png" for name in ("cat", "dog") for i in range(6)]
    layout = organise(paths, 0.2, 0)
    assert layout.class_names == ["cat", "dog"]
    for name in ("archive", "data"):
        assert any(f"the folder {name} holds everything" in note for note in layout.notes)


def test_a_few_images_beside_the_folder_with_the_splits_mix_nothing() -> None:
    paths = [*images("data/train/cat/", "data/train/dog/", "data/test/cat/"), "docs/fig.png"]
    layout = read(paths)
    assert layout.class_names == ["cat", "dog"]
    assert split(layout, paths) == ({"data/train/cat", "data/train/dog"}, {"data/test/cat"})
    assert list(layout.left_out.values()) == ["beside the folder data, which has the splits"]


def test_a_stray_image_beside_the_only_split_costs_no_class() -> None:
    layout = read([*images("train/cat/", "train/dog/"), "logo.png"])
    assert layout.class_names == ["cat", "dog"]
    assert list(layout.left_out.values()) == ["beside the only split"]
    assert not any("taken for a class" in note for note in layout.notes)


def test_labels_of_other_images_leave_none_out() -> None:
    layout = read(images("cat/", "dog/"), given={"elsewhere/1.png": "7"})
    assert layout.class_names == ["cat", "dog"]
    assert not layout.left_out


def test_test_images_without_classes_are_left_out_and_a_share_is_held_out() -> None:
    paths = images("train/cat/", "train/dog/", "test/")
    layout = read(paths)
    assert layout.class_names == ["cat", "dog"]
    assert split(layout, paths) == ({"train/cat", "train/dog"}, {"train/cat", "train/dog"})
    assert set(layout.left_out.values()) == {
        "in test, which has no classes as those to train on have"
    }
    assert len(layout.left_out) == 10
    assert "0.2 of each class is held out to judge by" in layout.notes


def test_test_images_without_classes_leave_the_validation_images_to_judge_by() -> None:
    paths = images("train/cat/", "train/dog/", "val/cat/", "val/dog/", "test/")
    layout = read(paths)
    assert split(layout, paths)[1] == {"val/cat", "val/dog"}
    assert len(layout.left_out) == 10


def test_a_folder_beside_the_splits_is_left_out_and_named() -> None:
    paths = images("train/cat/", "train/dog/", "test/cat/", "test/dog/", "extra/cat/", "extra/dog/")
    layout = read(paths)
    assert set(layout.left_out.values()) == {"in extra, which is no split"}
    assert len(layout.left_out) == 20
    assert split(layout, paths)[0] == {"train/cat", "train/dog"}


@pytest.mark.parametrize("other", ["cafe\u0301", "café "])
def test_names_that_look_alike_are_one_class(other: str) -> None:
    for paths in (
        images("train/café/", "train/tea/", f"test/{other}/", "test/tea/"),
        images("café/", f"{other}/", "tea/"),
    ):
        layout = read(paths)
        assert layout.class_names == ["café", "tea"]
        assert not layout.left_out
        assert "café is written in several ways, which are taken for one class" in layout.notes


def test_a_class_may_be_written_in_another_case_where_it_is_judged_by() -> None:
    layout = read(images("train/Cat/", "train/Dog/", "test/cat/", "test/DOG/"))
    assert layout.class_names == ["Cat", "Dog"]
    assert not layout.left_out
    assert read(images("Cat/", "cat/", "dog/")).class_names == ["Cat", "cat", "dog"]


def test_where_no_image_to_judge_by_is_of_a_trained_class_a_share_is_held_out() -> None:
    paths = images("train/cat/", "train/dog/", "test/bird/", "test/fish/")
    layout = read(paths)
    assert layout.class_names == ["cat", "dog"]
    assert len(layout.rows("validation")) == 4
    assert len(layout.left_out) == 20
    assert "no image to judge by has a class that is trained on" in layout.notes


def test_masks_and_thumbnails_are_called_doubtful_classes() -> None:
    noted = "images, masks are taken for classes: if they are not, name one in prepare.path"
    assert noted in read(images("images/", "masks/")).notes
    assert not any("taken for classes" in each for each in read(images("cat/", "dog/")).notes)
