"""Protects: what people type is checked whole, and what is documented is what is enforced."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from monge.errors import ParamsError
from monge.params import Params, load

ROOT = Path(__file__).parents[3]
FILE = ROOT / "params.yaml"


def keys_of(model, prefix=""):
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(field.annotation, key + ".")
        else:
            yield key


def keys_in(document, prefix=""):
    for key, value in document.items():
        if isinstance(value, dict):
            yield from keys_in(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_params_yaml_names_every_key_that_is_enforced_and_no_other():
    document = yaml.safe_load(FILE.read_text("utf-8"))
    assert sorted(keys_in(document)) == sorted(keys_of(Params))


def test_every_key_in_params_yaml_has_a_comment_above_it():
    documented_above = False
    for line in FILE.read_text("utf-8").splitlines():
        if re.match(r"\s*#", line):
            documented_above = True
        elif not line.strip():
            documented_above = False
        elif re.match(r"  \s*[\w-]+: \S", line):
            assert documented_above, f"undocumented: {line}"


def test_the_shipped_file_loads():
    params = load(FILE)
    assert params.prepare.source == "digits"
    assert params.train.wgan_gp.penalty_weight == 10.0


def test_the_papers_values_are_the_defaults_of_each_objective():
    train = Params().train
    assert (train.wgan.clip, train.wgan.learning_rate, train.wgan.critic_steps) == (0.01, 5e-5, 5)
    gp = train.wgan_gp
    assert (gp.penalty_weight, gp.learning_rate, gp.critic_steps) == (10.0, 1e-4, 5)
    assert (train.batch_size, train.mlp.depth, train.mlp.width) == (64, 4, 512)


def test_all_problems_are_reported_at_once_each_with_its_path(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(
        "train:\n  batch_sise: 3\n  steps: 0\n  net: unet\n  wgan: {clip: high}\nprepar: {}\n"
    )
    with pytest.raises(ParamsError) as caught:
        load(file, ["export.tolerance=-1", "nonsense"])
    message = str(caught.value)
    assert message.startswith(f"{file}: 7 problems\n")
    for part in (
        "train.batch_sise: unknown key. Did you mean train.batch_size?",
        "train.steps: must be at least 1, got 0",
        "train.net: must be 'dcgan', 'dcgan-plain'",
        ", got 'unet'",
        "train.wgan.clip: must be a valid number, got 'high'",
        "prepar: unknown key. Did you mean prepare?",
        "export.tolerance: must be greater than 0, got -1",
        "--set nonsense: must read section.key=value",
    ):
        assert part in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("train: [1, 2", "is not YAML that can be read"),
        ("- a\n- b\n", "must be a mapping of stages, got list"),
        ("train: 3\n", "train: must be"),
        ("train: {steps: true}\n", "train.steps: must be a valid integer, got True"),
        ("train: {steps: 10.0}\n", "train.steps: must be a valid integer, got 10.0"),
        ("!!python/object/apply:os.system ['true']\n", "is not YAML that can be read"),
    ],
)
def test_a_file_that_is_not_parameters_gets_one_clear_sentence(tmp_path, text, part):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(ParamsError, match=re.escape(part)):
        load(file)


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match="no such file. Run monge in the project's folder"):
        load(tmp_path / "params.yaml")


def test_overrides_lie_over_the_file_and_read_exponents_as_numbers():
    params = load(FILE, ["train.wgan.learning_rate=5e-5", "train.steps=7", "train.net=dcgan"])
    assert params.train.wgan.learning_rate == 5e-5
    assert (params.train.steps, params.train.net) == (7, "dcgan")


def test_batch_norm_in_a_penalised_critic_is_refused_with_the_reason():
    with pytest.raises(ParamsError, match="ties the images of a batch together"):
        load(FILE, ["train.net=dcgan", "train.dcgan.critic_norm=batch"])
    load(FILE, ["train.net=dcgan", "train.dcgan.critic_norm=batch", "train.objective=wgan"])


def test_a_size_that_a_network_cannot_draw_is_refused_before_anything_runs():
    with pytest.raises(ParamsError, match="dcgan draws no 36, but 28, 32 or 40"):
        load(FILE, ["train.net=dcgan", "prepare.resolution=36"])
    load(FILE, ["train.net=mlp", "prepare.resolution=36"])


def test_parameters_cannot_be_changed_after_they_were_checked():
    with pytest.raises(ValueError, match="frozen"):
        load(FILE).train.steps = 3  # type: ignore[misc]
