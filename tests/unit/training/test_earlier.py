"""Protects: a training that was completed once is found and not done again, wherever it lies."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

import pytest

from monge.data.packed import PackedDataset
from monge.params import TrainParams
from monge.tracking import NullRun
from monge.training import loop
from monge.training.checkpoints import checkpoint, earlier
from monge.training.checkpoints.resume import set_aside, set_aside_folder
from monge.training.context import Training


def settings(**changes: object) -> TrainParams:
    return TrainParams.model_validate(
        {
            "net": "mlp", "objective": "wgan", "steps": 6, "batch_size": 8, "latent_dim": 4,
            "threads": 1, "log_every": 5, "grid_every": 6, "checkpoint_every": 3,
            "quality_every": 6, "mlp": {"depth": 2, "width": 8},
        }
        | changes
    )  # fmt: skip


@pytest.fixture(scope="module")
def dataset(packed_digits: Path) -> PackedDataset:
    return PackedDataset.open(packed_digits)


def train(params: TrainParams, dataset: PackedDataset, folder: Path) -> dict[str, bytes]:
    loop.train(Training(params, dataset, folder, NullRun("key")))
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip


def into_cache(folder: Path, cache: Path) -> None:
    """As DVC keeps a folder: each file by its MD5, and a list of them."""
    entries = []
    for name, data in contents(folder).items():
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        entries.append({"md5": md5, "relpath": name})
        place = cache / "files" / "md5" / md5[:2] / md5[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    listed = json.dumps(entries).encode()
    md5 = hashlib.md5(listed, usedforsecurity=False).hexdigest()
    place = cache / "files" / "md5" / md5[:2] / f"{md5[2:]}.dir"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(listed)


def test_one_that_was_set_aside_changes_places_with_the_one_that_is_there(
    dataset: PackedDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = tmp_path / "checkpoints"
    first = train(settings(), dataset, folder)
    set_aside(folder)
    second = train(settings(batch_size=4), dataset, folder)
    assert earlier.take_up(Training(settings(), dataset, folder), [])
    assert contents(folder) == first
    assert contents(set_aside_folder(folder)) == second
    assert "this training was completed before" in caplog.text
    assert train(settings(), dataset, folder).keys() == first.keys()  # nothing is left to do
    assert earlier.take_up(Training(settings(batch_size=4), dataset, folder), [])
    assert contents(folder) == second


def test_one_in_a_cache_is_copied_and_the_cache_keeps_every_byte(
    dataset: PackedDataset, tmp_path: Path
) -> None:
    folder, cache = tmp_path / "checkpoints", tmp_path / "cache"
    first = train(settings(), dataset, folder)
    into_cache(folder, cache)
    kept = contents(cache)
    shutil.rmtree(folder)
    for other in (settings(steps=5), settings(seed=9), settings(steps=7)):
        assert not earlier.take_up(Training(other, dataset, folder), [str(cache)])
        assert not folder.exists()
    assert earlier.take_up(
        Training(settings(), dataset, folder), [str(tmp_path / "none"), str(cache)]
    )
    assert contents(folder) == first
    assert contents(cache) == kept
    assert not list(tmp_path.glob(".*"))


def test_one_that_was_not_completed_or_is_damaged_is_no_such_training(
    dataset: PackedDataset, tmp_path: Path
) -> None:
    folder, cache = tmp_path / "checkpoints", tmp_path / "cache"
    train(settings(), dataset, folder)
    shutil.rmtree(folder / "step-00000006")
    into_cache(folder, cache)
    set_aside(folder)
    assert not earlier.take_up(Training(settings(), dataset, folder), [str(cache)])
    assert checkpoint.exists(set_aside_folder(folder))  # it stays where it was

    train(settings(), dataset, folder)
    into_cache(folder, cache)
    tensors = (folder / "step-00000006" / "tensors.safetensors").read_bytes()
    md5 = hashlib.md5(tensors, usedforsecurity=False).hexdigest()
    place = cache / "files" / "md5" / md5[:2] / md5[2:]
    shutil.rmtree(folder)
    place.write_bytes(tensors[:-1] + b"x")
    assert not earlier.take_up(Training(settings(), dataset, folder), [str(cache)])
    place.unlink()
    assert not earlier.take_up(Training(settings(), dataset, folder), [str(cache)])
    assert not folder.exists()


@pytest.mark.parametrize(
    "entries",
    [
        '[{"md5": "../../../../etc/passwd", "relpath": "step-00000006/state.json"}]',
        '[{"md5": "%s", "relpath": "../step-00000006/state.json"}]' % ("a" * 32),
        '{"relpath": 3}', "[3]", "no json", '[{"md5": "%s", "relpath": "x.png"}]' % ("a" * 32),
        '[{"md5": "%s", "relpath": "step-00000006/state.json"}]' % ("a" * 32),
    ],
)  # fmt: skip
def test_a_cache_of_something_else_is_passed_over(
    dataset: PackedDataset, tmp_path: Path, entries: str
) -> None:
    listed = tmp_path / "cache" / "files" / "md5" / "ab" / "cdef.dir"
    listed.parent.mkdir(parents=True)
    listed.write_text(entries)
    folder = tmp_path / "checkpoints"
    assert not earlier.take_up(Training(settings(), dataset, folder), [str(tmp_path / "cache")])
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_change_of_places_that_was_killed_is_completed(
    dataset: PackedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoints"
    first = train(settings(), dataset, folder)
    set_aside(folder)
    second = train(settings(batch_size=4), dataset, folder)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(earlier, "set_aside", killed)
        with pytest.raises(KeyboardInterrupt):
            earlier.take_up(Training(settings(), dataset, folder), [])
    assert contents(folder) == second
    assert earlier.take_up(Training(settings(), dataset, folder), [])
    assert contents(folder) == first


@pytest.mark.parametrize("where", ["set aside", "in a cache"])
def test_one_that_began_with_other_weights_under_the_same_name_is_another(
    dataset: PackedDataset, tmp_path: Path, where: str
) -> None:
    folder, base, cache = (tmp_path / name for name in ("checkpoints", "base", "cache"))
    train(settings(), dataset, base)
    tuned = settings(init_from="base", seed=3)
    train(tuned, dataset, folder)
    into_cache(folder, cache)
    if where == "set aside":
        set_aside(folder)
        cache = tmp_path / "none"
    else:
        shutil.rmtree(folder)
    asked = Training(tuned, dataset, folder)
    shutil.move(base, tmp_path / "first")
    train(settings(seed=7), dataset, base)
    assert not earlier.take_up(asked, [str(cache)])
    shutil.rmtree(base)
    shutil.move(tmp_path / "first", base)
    assert earlier.take_up(asked, [str(cache)])
