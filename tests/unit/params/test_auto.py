"""Protects: `auto` is for the keys that can be chosen, and no stage runs on what is not chosen."""

from pathlib import Path

import pytest

from monge.errors import ParamsError
from monge.params import Params, auto, load
from monge.params.edit import laid_over

ROOT = Path(__file__).parents[3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The project's own parameters, with everything that can be chosen still open."""
    text = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(laid_over(text, dict.fromkeys(auto.KEYS, auto.AUTO), lambda _: None))
    return path


@pytest.mark.parametrize("key", auto.KEYS)
def test_every_key_that_can_be_chosen_is_a_parameter(key: str):
    assert auto.value(Params().model_dump(by_alias=True), key) is not None


def test_a_stage_refuses_each_key_that_is_not_chosen_and_says_what_chooses(file: Path):
    with pytest.raises(ParamsError) as caught:
        load(file)
    for key in auto.KEYS:
        assert f"{key}: auto is filled in by `monge choose`" in str(caught.value)


def test_a_key_whose_auto_means_something_is_chosen_only_along_with_others(file: Path):
    assert auto.unchosen({"train": {"precision": "auto", "steps": 7}}) == []
    along = {"train": {"precision": "auto", "steps": "auto"}}
    assert auto.unchosen(along) == auto.unchosen(along, "train") == ["train.steps", *auto.ALONG]
    assert auto.without(along) == {"train": {}}
    assert auto.unchosen({"train": {"precision": "fp32", "steps": "auto"}}) == ["train.steps"]
    assert load(file, chosen=()).train.precision == "auto"


def test_what_another_stage_needs_may_still_be_open(file: Path):
    with pytest.raises(ParamsError) as caught:
        load(file, chosen=("prepare",))
    assert "train." not in str(caught.value)
    assert load(file, chosen=()).prepare.resolution == Params().prepare.resolution


def test_an_override_chooses(file: Path):
    plain = Params().model_dump(by_alias=True, exclude_none=True)
    values = {key: auto.value(plain, key) for key in auto.KEYS}
    quoted = [f"{k}='{v}'" if isinstance(v, str) else f"{k}={v}" for k, v in values.items()]
    assert load(file, quoted).model_dump() == load(ROOT / "params.yaml", quoted).model_dump()


def test_auto_of_other_keys_is_a_value_of_theirs(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("train: {device: auto, seed: auto}\n")
    with pytest.raises(ParamsError) as caught:
        load(path)
    assert "train.seed" in str(caught.value)
    assert "device" not in str(caught.value)
    assert "monge choose" not in str(caught.value)


def test_values_are_laid_over_with_comments_and_the_rest_as_they_were():
    text = (ROOT / "params.yaml").read_text()
    said: list[str] = []
    changed = laid_over(text, {"train.steps": 7, "train.wgan-gp.critic_steps": 1}, said.append)
    assert said == ["train.steps: 8000 -> 7", "train.wgan-gp.critic_steps: 5 -> 1"]
    before, after = text.splitlines(), changed.splitlines()
    differing = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert len(differing) == 2
    assert laid_over(text, {}, said.append) == text
