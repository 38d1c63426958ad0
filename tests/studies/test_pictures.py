"""Pictures of the user's take the digits' place, and those that cannot do so are refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from monge.errors import InputError
from studies.pictures import Judge, Pictures, digits_or
from studies.study import Conditions


def write_pictures(folder, n):
    dice = np.random.default_rng(0)
    for i in range(n):
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(dice.integers(0, 256, (20, 20, 3), np.uint8)).save(path)


def test_a_folder_is_read_at_the_size_and_in_the_colours_that_a_study_wants(tmp_path):
    write_pictures(tmp_path, 12)
    pictures = digits_or(Conditions(images=tmp_path), side=16, colour="rgb")
    assert pictures.shape == (3, 16, 16)
    assert np.array_equal(np.bincount(np.asarray(pictures.labels)), [6, 6])
    assert -1.0 <= float(pictures.tensor().min()) < 0.0 < float(pictures.tensor().max()) <= 1.0
    assert len(digits_or(Conditions(images=tmp_path), most=10)) == 10


def test_too_few_pictures_are_refused_in_a_line(tmp_path):
    write_pictures(tmp_path, 4)
    with pytest.raises(InputError, match="4 images that can be read"):
        digits_or(Conditions(images=tmp_path))


def test_the_judge_of_pictures_without_classes_tells_noise_from_them():
    dice = np.random.default_rng(1)
    flat = np.repeat(dice.integers(0, 256, (40, 1, 1, 1), np.uint8), 64, 3).reshape(40, 1, 8, 8)
    judge = Judge(Pictures(flat))
    noise = dice.integers(0, 256, flat.shape, np.uint8)
    assert judge.distance(flat) == pytest.approx(0.0, abs=1e-6)
    assert judge.distance(noise) > 1.0
    assert np.isnan(judge.score(flat))
