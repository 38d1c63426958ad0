"""Protects: what is typed behind `--set` and in `SET` is taken as typed, here, by DVC, in the file.

Each of these has been somebody's folder, model name or colour, and was read as something else.
"""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monge.errors import ParamsError
from monge.params import Params, load, typed
from pipelines import settings

FILE = Path(__file__).parents[3] / "params.yaml"
NAMES = [
    "my pics #2", "2024", "12:30", "1:2:3.5", "1e5", "0123", "0x1F", "1_000", "2024-01-01",
    "2024-13-45", "null", "true", "on", "=", "<<", "*a", "&a", "!x", "[1", "{a", "a: b", "- a",
    "? a", "|", "'", '"a" #2"', "it's", "$HOME ${x}", "é 😀", " a ", "#ffffff", "%a", "-", ".5",
    "C:\\pics", "a\\nb",
]  # fmt: skip


def kept(changes, folder):
    """Lay changes over a copy of the shipped file, as `make run SET=...` does."""
    (folder / "params.yaml").write_bytes(FILE.read_bytes())
    said: list[str] = []
    settings.keep(changes, folder, said.append)
    return folder / "params.yaml", said


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_the_same_on_the_line_in_the_file_and_for_dvc(name, tmp_path):
    from dvc.utils.serialize import load_yaml

    (tmp_path / name).mkdir()
    assert typed("prepare.path", name) == name
    assert load(FILE, [f"prepare.path={name}"]).prepare.path == name
    file, said = kept([f"prepare.path={name}"], tmp_path)
    assert said == [f"params.yaml: prepare.path: data/raw -> {name}"]
    assert load(file).prepare.path == name
    assert load_yaml(str(file))["prepare"]["path"] == name


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=20))
def test_any_text_without_quotes_around_it_is_itself(text):
    bare = "x" + text  # neither in quotes nor from the home folder
    assert load(FILE, [f"prepare.path={bare}"]).prepare.path == bare


def test_a_number_is_a_fine_name_for_a_model():
    assert load(FILE, ["promote.name=2024"]).promote.name == "2024"


def test_a_colour_needs_no_quotes_and_may_have_them():
    for text in ("#ffffff", '"#ffffff"', "'#ffffff'"):
        assert load(FILE, [f"prepare.background={text}"]).prepare.background == "#ffffff"


def test_quotes_of_yaml_around_the_whole_are_taken_off_and_nothing_is_lost_behind_them():
    assert typed("prepare.path", '"my pics #2"') == "my pics #2"
    assert typed("prepare.path", "'it''s'") == "it's"
    assert typed("prepare.path", '"caf\\u00e9"') == "café"
    assert typed("prepare.path", '"a" "b"') == '"a" "b"'


def test_numbers_switches_and_lists_are_yaml_and_a_comment_is_not_dropped():
    assert typed("train.steps", "5") == 5
    assert typed("train.wgan.clip", "1e-2") == 0.01
    assert typed("train.flip", "True") is True
    wanted = [{"metric": "frechet", "at_most": 5}]
    assert typed("promote.conditions", "[{metric: frechet, at_most: 5}]") == wanted
    assert load(FILE, ["promote.conditions=[{metric: x, at_most: 5}]"]).promote.conditions
    for text, wrong in (("5 #2", "'5 #2'"), ("", "''"), ("~", "'~'")):
        with pytest.raises(ParamsError, match=f"train.steps: must be a valid integer, got {wrong}"):
            load(FILE, [f"train.steps={text}"])


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1e3", 1000), ("1E3", 1000), ("1000.0", 1000), ("'100'", 100), ('"100"', 100),
        ("１００", 100), (" 100 ", 100), ("1_000", 1000),
    ],
)  # fmt: skip
def test_a_whole_number_may_be_written_in_many_ways(text, meant):
    found = load(FILE, [f"train.steps={text}"]).train.steps
    assert found == meant
    assert type(found) is int


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1e−4", "1e–4", "0.0001", "'1e-4'", ".0001"])
def test_a_rate_may_be_copied_from_a_book(text):
    key = "train.wgan-gp.learning_rate"
    assert typed(key, text) == 1e-4


@pytest.mark.parametrize("text", ["1.5", "1e-1", "1,000", "4k", "yes", "[1]", "1e400", "−5"])
def test_what_is_no_whole_number_of_steps_is_refused(text):
    with pytest.raises(ParamsError, match="train.steps: must be"):
        load(FILE, [f"train.steps={text}"])


def test_a_switch_may_stand_in_quotes_and_yes_is_none():
    assert typed("train.conditional", "'true'") is True
    for text in ("yes", "on", "1", "'1'"):
        with pytest.raises(ParamsError, match="train.conditional: must be true or false"):
            load(FILE, [f"train.conditional={text}"])


def test_nothing_is_no_folder():
    """It would be all of the project."""
    with pytest.raises(ParamsError, match="prepare.path: must not be empty, got ''"):
        load(FILE, ["prepare.path="])
    with pytest.raises(ParamsError, match=r"promote.conditions: must not be empty, got \[\]"):
        load(FILE, ["promote.conditions=[]"])


@pytest.mark.parametrize("key", ["serve.port", "train.betas", "promote.alias", "export.opset"])
def test_a_key_that_is_like_none_is_given_no_far_fetched_hint(key):
    with pytest.raises(ParamsError) as caught:
        load(FILE, [f"{key}=1"])
    assert "unknown key." in str(caught.value)
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "text", "meant"),
    [
        ("prepare.colour", "RGB", "rgb"), ("prepare.source", "MNIST", "mnist"),
        ("train.objective", "WGAN-GP", "wgan-gp"), ("train.net", "DCGAN", "dcgan"),
        ("train.guards.on_collapse", "Warn", "warn"), ("promote.mode", "Off", "off"),
        ("train.augment", "None", "none"), ("train.objective", "wgan_gp", "wgan-gp"),
        ("train.objective", "WGANGP", "wgan-gp"), ("prepare.source", "cifar-10", "cifar10"),
        ("prepare.source", "FashionMNIST", "fashion-mnist"), ("promote.mode", "dry_run", "dry-run"),
        ("prepare.colour", "gray", "grey"),
    ],
)  # fmt: skip
def test_a_choice_is_the_same_in_any_case_on_the_line_and_in_the_file(key, text, meant, tmp_path):
    assert typed(key, text) == meant
    section, *nested, last = key.split(".")
    file = tmp_path / "params.yaml"
    inner = f"{nested[0]}: {{{last}: {text}}}" if nested else f"{last}: {text}"
    file.write_text(f"prepare: {{resolution: 8}}\n{section}: {{{inner}}}\n")
    found = load(file).model_dump(by_alias=True)
    for part in key.split("."):
        found = found[part]
    assert found == meant


def test_the_file_gets_the_choices_own_spelling(tmp_path):
    (tmp_path / "data" / "raw").mkdir(parents=True)
    file, _ = kept(["prepare.colour=RGB"], tmp_path)
    assert "  colour: rgb\n" in file.read_text("utf-8")


def test_the_home_folder_is_known_where_it_is_typed_and_named_where_a_file_has_it(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pics").mkdir()
    assert load(FILE, ["prepare.path=~/pics"]).prepare.path == f"{tmp_path}/pics"
    file, _ = kept(["prepare.path=~/pics"], tmp_path)
    assert load(file).prepare.path == f"{tmp_path}/pics"
    by_hand = tmp_path / "by-hand.yaml"
    for key in ("path", "init_from"):
        section = "prepare" if key == "path" else "train"
        by_hand.write_text(f"{section}: {{{key}: ~/pics}}\n")
        with pytest.raises(ParamsError, match=f"{section}.{key}: ~/pics: .* Write {tmp_path}/pics"):
            load(by_hand)
    (tmp_path / "~x").mkdir()
    assert load(FILE, ["prepare.path=~x"]).prepare.path == "~x", "no user of that name: a name"
    assert os.path.expanduser("~x") == "~x"


def test_text_that_a_file_has_as_a_number_is_asked_for_in_quotes(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("prepare: {path: 2024}\npromote: {name: 1e5}\n")
    with pytest.raises(ParamsError) as caught:
        load(file)
    assert 'prepare.path: must be text, got 2024. Write it in quotes: "..."' in str(caught.value)
    assert "promote.name: must be text, got 100000.0." in str(caught.value)
    file.write_text("prepare: {path: 12:30}\n")  # no number in YAML 1.2, nor for DVC
    assert load(file).prepare.path == "12:30"


@pytest.mark.parametrize(
    ("text", "number"), [("0123", 123), ("08", 8), ("0x1F", 31), ("0o17", 15), ("1_000", 1000)]
)
def test_the_files_numbers_are_those_that_dvc_reads(text, number, tmp_path):
    from dvc.utils.serialize import load_yaml

    file = tmp_path / "params.yaml"
    file.write_text(f"prepare: {{seed: {text}}}\n")
    assert load(file).prepare.seed == load_yaml(str(file))["prepare"]["seed"] == number


@pytest.mark.parametrize(
    ("changes", "meant"),
    [
        (["train.lr=1"], "train.rpgan.learning_rate"),
        (["train.learning_rate=1"], "train.rpgan.learning_rate"),
        (["train.learningrate=1"], "train.rpgan.learning_rate"),
        (["train.objective=wgan-gp", "train.lr=1"], "train.wgan-gp.learning_rate"),
        (["train.objective=gan", "train.critic_steps=1"], "train.gan.discriminator_steps"),
        (["train.wgan_gp.learning_rate=1"], "train.wgan-gp"),
        (["train.net=dcgan", "train.features=4"], "train.dcgan.features"),
        (["train.features=4"], "train.dcgan.features or train.resnet.features"),
        (["train.clip=1"], "train.wgan.clip"),
        (["train.resolution=8"], "prepare.resolution"),
        (["prepare.image_size=8"], "prepare.resolution"),
        (["prepare.color=rgb"], "prepare.colour"),
        (["prepare.net=mlp"], "train.net"),
        (["train.epochs=3"], "train.steps"),
        (["steps=3"], "train.steps"),
        (["seed=3"], "prepare.seed, train.seed or evaluate.seed"),
        (["train.patience=3"], "train.guards.patience"),
        (["promote.conditions=[{metrc: a, at_most: 1}]"], "promote.conditions.metric"),
    ],
)
def test_an_unknown_key_names_the_one_that_is_meant(changes, meant):
    with pytest.raises(ParamsError) as caught:
        load(FILE, changes)
    assert f"Did you mean {meant}?" in str(caught.value)


def test_a_key_like_none_gets_no_hint():
    with pytest.raises(ParamsError, match=r"train.zebra: unknown key.$"):
        load(FILE, ["train.zebra=1"])


def test_a_value_cut_at_a_space_is_told_to_stand_in_quotes():
    with pytest.raises(ParamsError, match="a value with spaces stands in quotes"):
        load(FILE, ["prepare.path=my", "pics"])


def test_a_value_of_several_types_is_any_of_them_and_what_is_none_gets_one_line():
    for text, meant in (("4095", 4095.0), ("Stretch", "stretch"), ("full", "full")):
        assert load(FILE, [f"prepare.levels={text}"]).prepare.levels == meant
    with pytest.raises(ParamsError) as caught:
        load(FILE, ["prepare.levels=bright"])
    assert str(caught.value).endswith(
        "1 problem\n  prepare.levels: must be 'full' or 'stretch' or a valid number, got 'bright'"
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("prepare.background=white", "must be a colour, as #ff8800, got 'white'"),
        ("promote.name=my pics", "must be 1 to 64 letters of a to z, digits, points,"),
        ("train.device=gpu", "must be auto, cpu, cuda, or cuda: and a number, got"),
        ("train.flip=yes", "must be true or false, got 'yes'"),
    ],
)  # fmt: skip
def test_what_a_text_must_be_is_said_in_words(change, told):
    with pytest.raises(ParamsError) as caught:
        load(FILE, [change])
    assert f"{change.partition('=')[0]}: {told}" in str(caught.value)
    assert "pattern" not in str(caught.value)


def test_a_value_to_be_chosen_is_that_in_any_case():
    assert typed("prepare.resolution", "AUTO") == "auto"
    assert typed("prepare.path", "AUTO") == "AUTO", "a folder of that name"


def test_every_hint_is_a_key_that_exists():
    from monge.params.keys import _MEANT, annotation, nearest

    for word in _MEANT:
        for key in nearest(f"train.{word}", Params().model_dump(by_alias=True)):
            assert annotation(key) is not None
        assert nearest(f"train.{word}", {}), word
