"""Reading `params.yaml`: YAML as DVC reads it, overrides, every problem in a line of its own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from monge.errors import ParamsError
from monge.params import auto
from monge.params.pairs import impossible_pairs
from monge.params.whole import Params

PARAMS_FILE = "MONGE_PARAMS_FILE"
"""The environment variable with a run's parameters, which were fixed when it began: a file that
stands for the project's params.yaml wherever no other one is named."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads as YAML 1.2 and DVC do: 5e-5 is a number, and `on` is a word."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load(
    path: Path | str = "params.yaml",
    overrides: list[str] | None = None,
    exactly: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    chosen: Sequence[str] = ("prepare", "train"),
) -> Params:
    """Read a parameter file and lay `section.key=value` overrides over it.

    `exactly` has whole sections that stand in the place of the file's. A value that is still to be
    chosen (`auto`) is a problem in the sections `chosen`; in others its default stands in.
    Raises ParamsError with every problem of file and overrides, each with its dotted path.
    """
    path = Path(path)
    document = read(path) | dict(exactly or {})
    problems = []
    for override in overrides or []:
        problem = _apply(document, override)
        if problem:
            problems.append(problem)
    problems += [
        f"{key}: auto is filled in by `monge choose`, which `make run` calls. Run that, or name a "
        "value."
        for section in chosen
        for key in auto.unchosen(document, section)
    ]
    return _validate(auto.without(document), problems, str(path))


def read(path: Path) -> dict[str, Any]:
    """Read a parameter file as it is. Raises ParamsError."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ParamsError(
            f"{path}: no such file. Run monge in the project's folder, or name one with --params."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ParamsError(f"{path}: is not YAML that can be read: {reason}") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ParamsError(f"{path}: must be a mapping of stages, got {type(document).__name__}")
    return document


def scalar(text: str) -> Any:
    """What a value in a parameter file, or behind `--set section.key=`, means."""
    return yaml.load(text, _Loader)


def _apply(document: dict[str, Any], override: str) -> str | None:
    """Lay one `section.key=value` over the document; the problem with it, if any."""
    name, equals, text = override.partition("=")
    *sections, key = name.strip().split(".")
    if not (equals and key and sections and all(sections)):
        return f"--set {override}: must read section.key=value, as in train.steps=100"
    try:
        value = scalar(text)
    except yaml.YAMLError:
        return f"--set {override}: the value is not YAML"
    target = document
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            return f"--set {override}: {section} is not a section"
    target[key] = value
    return None


def _validate(document: dict[str, Any], problems: list[str], where: str) -> Params:
    try:
        params = Params.model_validate(document)
    except ValidationError as error:
        problems = problems + [_sentence(item) for item in error.errors()]
    else:
        problems = problems + impossible_pairs(params)
        if not problems:
            return params
    plural = "problem" if len(problems) == 1 else "problems"
    lines = "\n".join(f"  {problem}" for problem in problems)
    raise ParamsError(f"{where}: {len(problems)} {plural}\n{lines}")


_RENAMED = {
    "prepare.size": (
        "It is prepare.resolution now: DVC 3 overlooks changes of a parameter that is called size."
    ),
}


def _sentence(item: Any) -> str:
    """One pydantic problem as `path: what is wanted, what was got`."""
    path = [part for part in item["loc"] if isinstance(part, str)]
    dotted = ".".join(path)
    if dotted in _RENAMED:
        return f"{dotted}: unknown key. {_RENAMED[dotted]}"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(path[:-1]), n=1, cutoff=0.5)
        hint = f" Did you mean {'.'.join([*path[:-1], near[0]])}?" if near else ""
        return f"{dotted}: unknown key.{hint}"
    message = item["msg"].removeprefix("Input ").removeprefix("Value error, ")
    for long, short in (
        ("should be", "must be"),
        ("greater than or equal to", "at least"),
        ("less than or equal to", "at most"),
    ):
        message = message.replace(long, short)
    return f"{dotted}: {message[0].lower()}{message[1:]}, got {item['input']!r}"


def _known_keys(path: list[str]) -> list[str]:
    model: Any = Params
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            return []
        model = next(iter(get_args(field.annotation)), field.annotation)  # a list's items
    return [field.alias or name for name, field in model.model_fields.items()]
