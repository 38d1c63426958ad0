"""A stage's parameters on a command line, all of them, as DVC writes `${train}` in dvc.yaml.

    monge train -- --net mlp --no-flip --init_from '' --wgan-gp.learning_rate 0.001 ...

So a run's parameters are fixed when DVC reads params.yaml at its start, and the command in
`dvc.lock` says with which ones a stage was run, whatever became of the file meanwhile.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel

from monge.errors import ParamsError
from monge.params import Params, scalar

SEPARATOR = "--"


def parse(section: str, words: Sequence[str]) -> dict[str, Any]:
    """Read the words behind the separator as a section of `params.yaml`, nested as there.

    Raises ParamsError at the first word that is no parameter of the section.
    """
    found: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        kind = _kind(section, word.removeprefix("--").removeprefix("no-"))
        if not word.startswith("--") or kind is None:
            raise ParamsError(
                f"{word}: no parameter of {section}. Behind {SEPARATOR} stand the parameters of "
                f"the section, as in {SEPARATOR} --seed 1; one alone is changed by --set."
            )
        if kind is bool:
            value: Any = not word.startswith("--no-")
        elif not rest:
            raise ParamsError(f"{word}: its value is missing at the end of the line.")
        else:
            value = _value(rest.pop(0), kind)
        *nested, key = word.removeprefix("--").removeprefix("no-" * (kind is bool)).split(".")
        target = found
        for name in nested:
            target = target.setdefault(name, {})
        target[key] = value
    return found


def words_of(command: str) -> list[str] | None:
    """Split off a command's parameters as a shell would; None where it has no separator."""
    try:
        words = shlex.split(command)
        return words[words.index(SEPARATOR) + 1 :]
    except ValueError:
        return None


def _value(text: str, kind: Any) -> Any:
    """Text stays text, whatever it looks like; the rest is read as in a parameter file."""
    if kind is str:
        return text
    try:
        return scalar(text)
    except yaml.YAMLError:
        return text


def _kind(section: str, dotted: str) -> Any:
    """The type of a parameter; None where the section has no such key."""
    model: Any = Params
    for part in (section, *dotted.split(".")):
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return None
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        if part not in fields:
            return None
        model = fields[part].annotation
    return None if isinstance(model, type) and issubclass(model, BaseModel) else model
