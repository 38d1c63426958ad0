"""Protects: options of a method that exclude each other are refused together, and alone they go."""

from pathlib import Path

import pytest

from monge.errors import ParamsError
from monge.params import load

FILE = Path(__file__).parents[3] / "params.yaml"
GAN = "train.objective=gan"
SHARED = ("train.accumulate=2", "train.devices=2")


@pytest.mark.parametrize("shared", SHARED)
@pytest.mark.parametrize("option", ["feature_matching=true", "unroll_steps=2"])
def test_what_needs_the_whole_batch_is_refused_where_it_is_cut(option, shared):
    key, whole = option.split("=")[0], f"train.gan.{option}"
    with pytest.raises(ParamsError, match=f"train.gan.{key}: .* the batch as a whole") as caught:
        load(FILE, [GAN, whole, shared])
    assert "Set train.accumulate: 1 and train.devices: 1." in str(caught.value)
    for alone in ([GAN, whole], [GAN, shared], [whole, shared]):  # the last one is of rpgan
        load(FILE, alone)


def test_a_hinge_has_no_labels_to_smooth():
    hinge, smoothed = "train.gan.loss=hinge", "train.gan.label_smoothing=0.1"
    with pytest.raises(ParamsError, match="train.gan.label_smoothing: the hinge loss") as caught:
        load(FILE, [GAN, hinge, smoothed])
    assert "Set it to 0, or train.gan.loss: non-saturating." in str(caught.value)
    for alone in ([GAN, hinge], [GAN, smoothed], [hinge, smoothed]):
        load(FILE, alone)


@pytest.mark.parametrize(
    ("net", "section"),
    [("mlp", "mlp"), ("dcgan", "dcgan"), ("dcgan-plain", "dcgan"), ("resnet", "resnet")],
)
def test_a_critic_that_nothing_holds_is_refused_by_its_own_nets_section(net, section):
    chosen = [f"train.net={net}", "prepare.resolution=32", "train.wgan.clip=0"]
    wgan, spectral = "train.objective=wgan", f"train.{section}.critic_norm=spectral"
    with pytest.raises(ParamsError, match="train.wgan.clip: 0 leaves the critic") as caught:
        load(FILE, [*chosen, wgan])
    assert f"Set a clip, or train.{section}.critic_norm: spectral." in str(caught.value)
    load(FILE, [*chosen, wgan, spectral])
    load(FILE, chosen)
