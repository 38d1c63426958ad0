"""Protects: a picture that is encoded is fitted in every respect as the training's were."""

import pytest

from monge.data.decode import Recipe
from monge.data.fitted import recipe
from monge.encoder_contract import EncoderContract
from monge.params import PrepareParams


@pytest.mark.parametrize(
    ("colour", "fit", "background", "levels"),
    [
        ("grey", "crop", "#000000", "full"),
        ("grey", "pad", "#ffffff", 4095.0),
        ("rgb", "pad", "#102030", "stretch"),
    ],
)
def test_what_export_notes_of_prepare_gives_prepares_recipe(colour, fit, background, levels):
    prepare = PrepareParams(colour=colour, fit=fit, background=background, levels=levels)
    noted = prepare.model_dump(include={"fit", "background", "colour", "levels"})
    contract = EncoderContract(
        latent_dim=2,
        image_shape=(32, 32, 1 if colour == "grey" else 3),
        generator="ab" * 32,
        preparation=noted,
    )
    read = EncoderContract.from_json(contract.to_json())
    expected = Recipe(32, colour, fit, background, 1000, levels)
    assert recipe(read.image_shape, read.preparation, max_pixels=1000) == expected


def test_a_contract_that_notes_nothing_means_the_defaults():
    assert recipe((8, 8, 3), {}, 1000) == Recipe(8, "rgb", "crop", "#000000", 1000, "full")
