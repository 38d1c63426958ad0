"""Protects: a size is written width first, and one rule says which ones a family draws."""

import re
from pathlib import Path

import pytest

from monge import nets, sizes
from monge.errors import ParamsError
from monge.params import TrainParams, load

FILE = Path(__file__).parents[2] / "params.yaml"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("48x32", "48x32"), ("48 X 32", "48x32"), ("48×32", "48x32"), ("[48, 32]", "48x32"),
        ("32x32", 32), ("[32, 32]", 32), ("64", 64), ("6.4e1", 64),
    ],
)  # fmt: skip
def test_a_size_is_read_as_people_write_it_and_a_square_is_a_number(typed, meant):
    found = load(FILE, [f"prepare.resolution={typed}"]).prepare.resolution
    assert (found, type(found)) == (meant, type(meant))


def test_a_parameter_file_has_it_as_text_and_no_list_which_dvc_would_give_in_two_words(tmp_path):
    file = tmp_path / "params.yaml"
    for text in ("48x32", '"48x32"', "48 X 32"):
        file.write_text(f"prepare:\n  resolution: {text}\n")
        assert load(file).prepare.resolution == "48x32"
    file.write_text("prepare:\n  resolution: [48, 32]\n")
    with pytest.raises(ParamsError, match=r"as 48x32, got \[48, 32\]"):
        load(file)


def test_what_dvc_writes_on_a_stages_command_line_is_read_back():
    from monge.parameter_line import parse

    for word, meant in (("48x32", "48x32"), ("8", 8)):
        assert parse("prepare", ["--resolution", word]) == {"resolution": meant}


def test_the_first_number_is_the_width():
    assert sizes.sides("48x32") == (48, 32)
    assert sizes.sides(8) == (8, 8)
    assert sizes.written(48, 32) == "48x32"
    assert sizes.told(48, 32) == "48x32 pixels (width x height)"
    assert sizes.told(8, 8) == "8x8 pixels"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("2", "must be at least 4, got 2"),
        ("48x2", "must be at least 4 on each side, got '48x2'"),
        ("48x2000", "must be at most 1024 on each side, got '48x2000'"),
        ("true", "must be pixels a side, as 64, or width x height, as 48x32, got True"),
        ("wide", "must be pixels a side, as 64, or width x height, as 48x32, got 'wide'"),
        ("8.5", "must be pixels a side, as 64, or width x height, as 48x32, got 8.5"),
        ("[8]", "must be pixels a side, as 64, or width x height, as 48x32, got [8]"),
        ("48x32x3", "must be pixels a side, as 64, or width x height, as 48x32, got '48x32x3'"),
    ],
)
def test_what_is_no_size_gets_one_line_with_both_forms(typed, told):
    with pytest.raises(ParamsError, match=f"prepare.resolution: {re.escape(told)}$"):
        load(FILE, [f"prepare.resolution={typed}"])


@pytest.mark.parametrize(
    ("net", "size", "near"),
    [
        ("dcgan", "36", "dcgan draws no 36, but 28, 32 or 40:"),
        (
            "dcgan-plain",
            "50x36",
            "dcgan draws no 50x36, but 48x32, 48x40 or 56x40 (width x height)",
        ),
        ("dcgan", "256x128", "dcgan draws no 256x128, but 112x56, 128x64 or 128x80 (width"),
        ("resnet", "300", "resnet draws no 300, but 192, 224 or 256:"),
        ("resnet", "32x36", "resnet draws no 32x36, but 28x32, 32x32 or 32x40"),
        ("resnet", "6", "resnet draws no 6, but 8, 10 or 12"),
    ],
)
def test_a_size_that_a_net_does_not_draw_is_refused_with_the_nearest_that_it_does(net, size, near):
    with pytest.raises(ParamsError) as caught:
        load(FILE, [f"train.net={net}", f"prepare.resolution={size}"])
    assert near in str(caught.value)
    assert str(caught.value).endswith("Choose one of these, or train.net: mlp.")
    load(FILE, ["train.net=mlp", f"prepare.resolution={size}"])


@pytest.mark.parametrize("family", sorted(sizes.LARGEST))
def test_the_rule_is_what_the_networks_can_be_built_for(family):
    """Every size up to 34x34 and some larger ones, by building a network or by its refusal."""
    small = {"dcgan": {"features": 1}, "resnet": {"features": 1}}
    train = TrainParams.model_validate({"net": family, "latent_dim": 1, **small})
    largest = sizes.LARGEST[family]
    possible = set(sizes.possible(largest))
    tried = {(w, h) for w in range(6, 35) for h in range(6, 35, 3)}
    tried |= {(largest, largest), (largest, 8), (8, largest), (largest + 8, 8), (8, 2 * largest)}
    for width, height in tried:
        if (width, height) in possible:
            assert sizes.draws(family, width, height)
            network = nets.build("critic", train, (1, height, width))
            assert sum(p.numel() for p in network.parameters()) > 0
        else:
            with pytest.raises(ValueError, match=f"{family} draws no {width}"):
                nets.build("critic", train, (1, height, width))


def test_every_power_of_two_that_was_drawn_before_is_still():
    for family, powers in (("dcgan", (8, 16, 32, 64, 128)), ("resnet", (8, 64, 256))):
        for side in powers:
            assert sizes.doublings(side, side, family) == side.bit_length() - 3
