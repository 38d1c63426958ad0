"""Protects: a model hub is told the method that made a generator, and no task that it cannot do."""

import pytest
import yaml

from monge.evaluation.card import card
from monge.objectives import METHODS
from monge.params import TrainParams
from tests.facts import facts_of

CLASSES = {"classes": ("cat", "dog"), "label_shares": (0.5, 0.5)}


def metadata(parameters, **labelled):
    front = yaml.safe_load(card(facts_of(parameters, **labelled)).split("---\n", 2)[1])
    (result,) = front["model-index"][0]["results"]
    return front.get("pipeline_tag"), front["tags"], result["task"]["type"]


@pytest.mark.parametrize("method", METHODS)
def test_the_tags_name_the_method_and_no_other(method):
    parameters = TrainParams(objective=method).model_dump(by_alias=True)
    task = "unconditional-image-generation"
    assert metadata(parameters) == (task, ["onnx", method, "monge"], task)


def test_images_of_a_class_are_not_called_unconditional():
    """Hubs have no pipeline for them, so that the card claims none and says it in a tag."""
    task = "conditional-image-generation"
    expected = (None, ["onnx", "rpgan", "monge", task], task)
    assert metadata({"objective": "rpgan", "conditional": True}, **CLASSES) == expected


def test_a_file_that_tells_no_method_gets_no_tag_of_one():
    assert metadata({})[1] == ["onnx", "monge"]


def test_a_method_from_outside_stays_one_tag():
    assert metadata({"objective": "gan\n  - best"})[1] == ["onnx", "gan\n  - best", "monge"]
