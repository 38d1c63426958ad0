"""Asks, before the first step, for what a training and the stages after it need of a dataset."""

from __future__ import annotations

from monge import sizes
from monge.data.packed import PackedDataset
from monge.errors import DatasetError, InputError
from monge.params import Params
from monge.training import labels
from monge.training.forecast.footprint import networks

FEWEST_IMAGES = 2
"""Images to train on: the figures compare spreads, and one image has none."""


def require(params: Params, dataset: PackedDataset) -> None:
    """Raise InputError when these parameters cannot be trained and judged on this dataset."""
    train, count = params.train, len(dataset.train)
    if count < FEWEST_IMAGES:
        raise DatasetError(
            f"{dataset.folder}: {count} image to train on, and at least {FEWEST_IMAGES} are needed "
            "(hundreds for pictures worth showing), beside one to judge by. Add images, then run "
            "`monge prepare`."
        )
    if params.evaluate.features == "classifier" and not dataset.class_names:
        raise InputError(
            f"evaluate.features: classifier needs images with classes, and those in "
            f"{dataset.folder} have none. Use auto or random."
        )
    classes = labels.count(train, dataset)
    try:
        networks(train, dataset.image_shape, classes)
    except ValueError as error:  # of a family that does not have this shape
        _, height, width = dataset.image_shape
        told = sizes.told(width, height)
        raise InputError(
            f"train.net: {train.net} has no network for the images of {told} in "
            f"{dataset.folder} ({error}). Choose another prepare.resolution and run `monge "
            "prepare`, or another train.net."
        ) from None
