"""Protects: what DVC writes for a section on a command line is that section again, to the value."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from monge import parameter_line
from monge.errors import ParamsError
from monge.params import Params, load

FILE = Path(__file__).parents[3] / "params.yaml"
SECTIONS = ("prepare", "train", "export", "evaluate")


def _as_dvc_writes(section):
    from dvc.parsing.interpolate import to_str

    return to_str(section, config={"bool": "boolean_optional"})


def _there_and_back(name, section):
    words = parameter_line.words_of(f"monge {name} --if-changed fresh -- {_as_dvc_writes(section)}")
    assert words is not None
    return parameter_line.parse(name, words)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_of_the_shipped_file_comes_back_whole(name):
    section = load(FILE).model_dump(by_alias=True)[name]
    assert _there_and_back(name, section) == section


@given(
    path=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=30),
    flip=st.booleans(), seed=st.integers(0, 2**63 - 1),
    rate=st.floats(1e-300, 1.0, allow_subnormal=False),
)  # fmt: skip
def test_any_text_number_and_switch_comes_back(path, flip, seed, rate):
    section = {"init_from": path, "flip": flip, "seed": seed, "wgan-gp": {"learning_rate": rate}}
    assert _there_and_back("train", section) == section
    Params.model_validate({"train": section})


@pytest.mark.parametrize("text", ["123", "true", "null", "--seed", "no", "1e-3", "", "a b", "${x}"])
def test_text_that_looks_like_something_else_stays_text(text):
    assert parameter_line.parse("train", ["--init_from", text]) == {"init_from": text}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--sead", "1"], "--sead: no parameter of train"),
        (["seed", "1"], "seed: no parameter of train"),
        (["--mlp", "1"], "--mlp: no parameter of train"),
        (["--seed.x", "1"], "--seed.x: no parameter of train"),
        (["--seed"], "--seed: its value is missing"),
    ],
)
def test_what_is_no_parameter_is_named(words, part):
    with pytest.raises(ParamsError, match=part):
        parameter_line.parse("train", words)


def test_the_command_takes_them_in_the_place_of_the_files_section(tmp_path):
    (tmp_path / "params.yaml").write_text("prepare: {resolution: 12, seed: 5}\n")
    done = subprocess.run(
        [sys.executable, "-m", "monge", "prepare", "--", "--resolution", "10"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifest = yaml.safe_load((tmp_path / "data/prepared/manifest.json").read_text())
    assert manifest["image_shape"] == [1, 10, 10]
    assert manifest["params"]["seed"] == 0  # not the file's: the whole section is on the line


def test_a_key_that_was_renamed_is_refused_with_its_new_name(tmp_path):
    (tmp_path / "params.yaml").write_text("prepare: {size: 12}\n")
    with pytest.raises(ParamsError, match=r"prepare.size: unknown key. It is prepare.resolution"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize("key", ["prepare.path", "train.init_from"])
def test_a_line_break_in_a_path_is_refused(key):
    with pytest.raises(ParamsError, match=f"{key}: must be one line"):
        load(FILE, [f'{key}="a\\nb"'])
