"""Protects: what `benchmarks/quality.py` compares, save the trainings themselves."""

import numpy as np
import pytest

from benchmarks import quality
from monge.data.packed import PackedDataset


def test_a_way_is_the_parameters_that_differ():
    train = quality.parameters(quality.PAPER, "net=dcgan dcgan.features=16 seed=3")
    assert (train.net, train.dcgan.features, train.seed) == ("dcgan", 16, 3)
    assert train.wgan_gp.learning_rate == 1e-4
    assert train.wgan_gp.penalty_weight == 10.0


def test_a_name_of_settings_stands_for_its_parameters():
    train = quality.parameters("pictures-in-classes dcgan.features=8")
    assert (train.net, train.objective, train.conditional) == ("dcgan", "rpgan", True)
    assert (train.dcgan.features, train.dcgan.critic_norm) == (8, "none")
    assert train.rpgan.learning_rate == 4e-3


def test_few_images_are_from_all_over_and_keep_their_labels(packed_digits, tmp_path):
    dataset = PackedDataset.open(packed_digits)
    few = quality.fewer(dataset, 50, tmp_path / "few")
    assert (len(few.train), len(few.validation)) == (50, 5)
    places = dataset.train.spread(50)
    assert places[0] == 0
    assert places[-1] == len(dataset.train) - 1
    np.testing.assert_array_equal(few.train.take(np.arange(50)), dataset.train.take(places))
    assert few.train.labels is not None
    assert dataset.train.labels is not None
    np.testing.assert_array_equal(few.train.labels, dataset.train.labels[places])


def test_seeds_are_summed_up_look_by_look_and_drawn(tmp_path):
    runs = [[(1.0, 5.0), (2.0, 3.0)], [(1.2, 9.0), (2.2, 2.0)], [(0.9, 6.0), (1.9, 4.0)]]
    rows = quality.summary(runs)
    assert rows[1] == {"seconds": 2.0, "median": 3.0, "least": 2.0, "most": 4.0}
    assert rows[0]["seconds"] == pytest.approx(1.0)
    quality.draw({"ways": {"one": rows}, "floor": 0.5}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--looks", "0"), "--looks, --seeds, --at-once and --seconds must be above 0."),
        (
            ("--way", "x: photographs"),
            "photographs: no settings have that name. There are: small-pictures, pictures, "
            "pictures-in-classes, few-pictures.",
        ),
        (
            ("--way", "x: net=dcgan dcgan.features=-1"),
            "--way 'x: net=dcgan dcgan.features=-1': 1 problem\n"
            "  train.dcgan.features: must be at least 1, got -1",
        ),
    ],
)
def test_a_wrong_number_or_way_is_said_before_anything_is_trained(
    packed_digits, monkeypatch, asked, told
):
    monkeypatch.setattr("sys.argv", ["quality", str(packed_digits), *asked])
    with pytest.raises(SystemExit) as ended:
        quality.main()
    assert ended.value.code == f"quality: {told}"
