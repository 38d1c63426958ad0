"""Protects: a training is chosen that suits the images, the time and this machine's speed."""

from pathlib import Path
from typing import Any

import pytest

from monge.choosing.settings import SETTINGS
from monge.choosing.training import FEW_IMAGES, Images, choices
from monge.params import Params, auto

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "methods.md"

PHOTOS = Images(5000, (3, 32, 32), (500,) * 10)


def fast(values) -> float:
    """Of a machine where an iteration takes 4 ms a feature."""
    return 0.004 * values.get("train.dcgan.features", 1)


def chosen(images=PHOTOS, seconds=600.0, timed=fast, **fixed):
    fixed = {f"train.{key}": value for key, value in fixed.items()}
    return {choice.key: choice.value for choice in choices(images, seconds, timed, fixed)}


def test_every_key_of_a_training_that_can_be_chosen_is():
    keys = {key for key in auto.KEYS if not key.startswith("prepare.")}
    assert set(chosen()) == keys | set(auto.ALONG)


def test_the_steps_fill_the_time_and_no_more():
    for seconds in (40, 600, 36_000):
        values = chosen(seconds=seconds)
        used = values["train.steps"] * fast(values)
        assert 0.9 * seconds <= used <= seconds, seconds


def test_the_network_is_as_wide_as_the_time_suffices_for():
    widths = [chosen(seconds=s)["train.dcgan.features"] for s in (30, 140, 300, 600, 6000)]
    assert widths == [8, 8, 16, 32, 64]


def test_classes_are_learned_where_each_has_enough_images():
    assert chosen()["train.conditional"] is True
    assert chosen(Images(5000, (3, 32, 32)))["train.conditional"] is False
    assert chosen(Images(5000, (3, 32, 32), (4990, 10)))["train.conditional"] is False
    assert chosen(Images(50_000, (3, 32, 32), (250,) * 200))["train.conditional"] is False


def test_the_figure_that_decides_is_one_that_ranks_right_without_classes_too():
    assert chosen()["promote.conditions"] == [{"metric": "frechet", "improvement": 2.0}]
    for images in (Images(5000, (3, 32, 32)), Images(5000, (3, 32, 32), (4990, 10))):
        (condition,) = chosen(images)["promote.conditions"]
        assert condition["metric"] == "frechet"


def test_few_images_are_augmented():
    assert chosen()["train.augment"] == "none"
    assert chosen(Images(FEW_IMAGES - 1, (3, 32, 32)))["train.augment"] == "ada"


def test_what_dcgan_does_not_draw_is_for_mlp():
    assert chosen(Images(5000, (1, 8, 8)))["train.net"] == "mlp"
    assert chosen(Images(5000, (3, 12, 18)))["train.net"] == "mlp"
    assert chosen(Images(5000, (3, 36, 36)))["train.net"] == "mlp"
    assert chosen(Images(5000, (3, 32, 48)))["train.net"] == "dcgan"
    (net,) = [
        choice for choice in choices(Images(5000, (3, 36, 50)), 100.0, lambda _: 0.1, {})
        if choice.key == "train.net"
    ]  # fmt: skip
    assert "50x36 pixels, colour, which dcgan does not draw: prepare.resolution 48x32" in str(net)
    assert chosen(Images(5000, (3, 36, 24)))["train.net"] == "dcgan"


UNLABELLED = Images(5000, (3, 32, 32))


def test_what_is_chosen_for_another_method_is_said_not_to_be_used():
    for images, method in ((Images(5000, (1, 8, 8)), "rpgan"), (UNLABELLED, "wgan-gp")):
        found = {choice.key: choice for choice in choices(images, 100.0, fast, {})}
        assert found["train.objective"].value == method
        for of in ("rpgan", "wgan-gp"):
            reason = "the soonest good" if of == method else f"not used by {method}"
            assert reason in str(found[f"train.{of}.learning_rate"])


def test_photographs_with_classes_are_for_pairs_of_a_class_and_others_for_a_slope():
    def method(images=PHOTOS, **fixed):
        values = chosen(images, **fixed)
        keys = ("objective", "dcgan.critic_norm", "dcgan.critic_initialisation")
        return tuple(values[f"train.{key}"] for key in keys)

    assert method() == ("rpgan", "none", "he")
    assert method(UNLABELLED) == ("wgan-gp", "instance", "small")
    assert method(conditional=False) == ("wgan-gp", "instance", "small")
    # A critic with a norm, which somebody has asked for, is bad with pairs.
    assert method(**{"dcgan.critic_norm": "instance"})[0] == "wgan-gp"
    assert method(objective="wgan-gp")[1:] == ("instance", "small")
    assert method(UNLABELLED, objective="rpgan")[1:] == ("none", "he")


def test_wide_and_deep_networks_learn_pairs_at_a_lower_rate():
    def rate(images, **fixed):
        return chosen(images, **fixed)["train.rpgan.learning_rate"]

    assert [rate(PHOTOS, **{"dcgan.features": n}) for n in (8, 32, 64)] == [4e-3, 4e-3, 2e-3]
    assert rate(Images(5000, (3, 64, 48), (500,) * 10), **{"dcgan.features": 16}) == 2e-3
    assert rate(Images(5000, (1, 8, 8))) == 2e-3


def test_few_images_and_sizes_at_which_pairs_were_not_tried_are_for_a_slope():
    few = chosen(Images(FEW_IMAGES - 1, (3, 32, 32), (150,) * 10))
    assert (few["train.conditional"], few["train.objective"]) == (True, "wgan-gp")
    for side, method in ((64, "rpgan"), (128, "wgan-gp")):
        values = chosen(Images(5000, (3, side, side), (500,) * 10))
        assert (values["train.conditional"], values["train.objective"]) == (True, method)


@pytest.mark.parametrize("name", SETTINGS)
def test_named_settings_are_parameters_and_stand_in_the_page_of_methods(name: str):
    document: dict[str, Any] = {"train": {}}
    for key, value in SETTINGS[name].items():
        section, _, inner = key.rpartition(".")
        target = document["train"].setdefault(section, {}) if section else document["train"]
        target[inner] = value
    Params.model_validate(document)
    assert f"`{name}`" in PAGE.read_text()


def test_what_somebody_chose_is_what_the_others_suit():
    seen = []

    def timed(values):
        seen.append(values)
        return 0.01

    values = chosen(timed=timed, net="mlp", steps=1000, conditional=False)
    assert values["train.wgan-gp.critic_steps"] == 5  # those of mlp
    assert values["train.objective"] == "rpgan"
    assert values["train.grid_every"] == 100
    assert len(seen) == 1
    assert seen[0]["train.net"] == "mlp"
    assert seen[0]["train.conditional"] is False
    seen.clear()
    chosen(timed=timed, **{"dcgan.features": 24})
    assert {each["train.dcgan.features"] for each in seen} == {24}
    assert [each["train.precision"] for each in seen] == ["fp32", "bf16", "fp32"]


@pytest.mark.parametrize(("share", "taken"), [(0.7, "bf16"), (0.95, "fp32"), (40.0, "fp32")])
def test_rounded_products_are_taken_where_they_are_clearly_quicker(share: float, taken: str):
    def timed(values):
        return fast(values) * (share if values["train.precision"] == "bf16" else 1.0)

    values = chosen(timed=timed)
    assert values["train.precision"] == taken
    used = values["train.steps"] * timed(values)
    assert 0.9 * 600 <= used <= 600
    assert chosen(timed=timed, precision="fp32")["train.precision"] == "auto"  # and is not written


def test_a_gpu_and_small_networks_keep_the_precision_that_suits_the_device():
    (on_gpu,) = [
        choice for choice in choices(PHOTOS, 100.0, fast, {}, gpu=True)
        if choice.key == "train.precision"
    ]  # fmt: skip
    assert on_gpu.value == "auto"
    assert chosen(Images(5000, (1, 8, 8)))["train.precision"] == "auto"


@pytest.mark.parametrize("each_s", [1e-9, 1e9])
def test_a_very_fast_or_slow_machine_gets_a_training_all_the_same(each_s):
    values = chosen(timed=lambda _: each_s)
    assert 200 <= values["train.steps"] <= 200_000
    assert values["train.log_every"] >= 1
