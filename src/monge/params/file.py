"""Reading `params.yaml`: the file, overrides, and every problem in a line of its own."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from monge.errors import ParamsError
from monge.params import auto
from monge.params.keys import annotation, canonical, hint, is_union, takes_text
from monge.params.pairs import impossible_pairs
from monge.params.typed import Loader, typed
from monge.params.whole import Params

PARAMS_FILE = "MONGE_PARAMS_FILE"
"""The environment variable with a run's parameters, which were fixed when it began: a file that
stands for the project's params.yaml wherever no other one is named."""


def load(
    path: Path | str = "params.yaml",
    overrides: list[str] | None = None,
    exactly: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    chosen: Sequence[str] = ("prepare", "train"),
) -> Params:
    """Read a parameter file and lay `section.key=value` overrides over it.

    `exactly` has whole sections that stand in the place of the file's. A value that is still to be
    chosen (`auto`) is a problem if it is chosen before a stage in `chosen`; else its default stands
    in.
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
        for stage in chosen
        for key in auto.unchosen(document, stage)
    ]
    return _validate(auto.without(document), problems, str(path))


def changes_of_make() -> list[str]:
    """The changes of `make run SET="a.b=1 c.d='two words'"`, split as a shell would.

    Raises ParamsError.
    """
    try:
        return shlex.split(os.environ.get("MONGE_SET", ""))
    except ValueError as error:
        raise ParamsError(f"SET: {error}. Quote a value with spaces: SET=\"a.b='x y'\"") from None


def read(path: Path) -> dict[str, Any]:
    """Read a parameter file as it is. Raises ParamsError."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        raise ParamsError(
            f"{path}: no such file. Run monge in the project's folder, or name one with --params."
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ParamsError(f"{path}: is not YAML that can be read: {reason}") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ParamsError(f"{path}: must be a mapping of stages, got {type(document).__name__}")
    return document


def _apply(document: dict[str, Any], override: str) -> str | None:
    """Lay one `section.key=value` over the document; the problem with it, if any."""
    name, equals, text = override.partition("=")
    name = name.strip()
    *sections, key = name.split(".")
    if not (equals and key and sections and all(sections)):
        meant = hint(name, document) if equals and key and not sections else ""
        return (
            f"--set {override}: must read section.key=value, as in train.steps=100; a value with "
            f"spaces stands in quotes.{meant}"
        )
    target = document
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            return f"--set {override}: {section} is not a section"
    target[key] = typed(name, text)
    return None


def _validate(document: dict[str, Any], problems: list[str], where: str) -> Params:
    try:
        params = Params.model_validate(canonical(document, Params))
    except ValidationError as error:
        problems = problems + _sentences(error.errors(), document)
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


_MUST_BE = {"bool_type": "true or false", "bool_parsing": "true or false"}
_PATTERNS = {
    "prepare.background": "a colour, as #ff8800",
    "promote.name": "1 to 64 letters of a to z, digits, points, hyphens and underscores, the first "
    "a letter or digit",
    "train.device": "auto, cpu, cuda, or cuda: and a number",
}


def _sentences(items: Sequence[Any], document: Mapping[str, Any]) -> list[str]:
    """Pydantic's problems in a line a key; of a value that may be of several types, it has more."""
    by_key: dict[str, list[Any]] = {}
    for item in items:
        by_key.setdefault(_key(item["loc"]), []).append(item)
    return [_sentence(key, found, document) for key, found in by_key.items()]


def _key(location: Sequence[str | int]) -> str:
    """The dotted key, without the numbers of a list's items and the names of a union's types."""
    parts = [part for part in location if isinstance(part, str)]
    known = (".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
    within = next((key for key in known if is_union(annotation(key))), None)
    return within or ".".join(parts)


def _sentence(dotted: str, items: Sequence[Any], document: Mapping[str, Any]) -> str:
    """The problems of one key as `path: what is wanted, what was got`."""
    if dotted in _RENAMED:
        return f"{dotted}: unknown key. {_RENAMED[dotted]}"
    if items[0]["type"] == "extra_forbidden":
        return f"{dotted}: unknown key.{hint(dotted, document)}"
    got = items[0]["input"]
    if items[0]["type"] == "string_type" and takes_text(annotation(dotted)):
        return f'{dotted}: must be text, got {got!r}. Write it in quotes: "..."'
    if items[0]["type"] == "string_pattern_mismatch" and dotted in _PATTERNS:
        return f"{dotted}: must be {_PATTERNS[dotted]}, got {got!r}"
    wanted = [_wanted(item) for item in items]
    rest = [each.removeprefix("must be ") for each in wanted[1:]]
    return f"{dotted}: {' or '.join([wanted[0], *rest])}, got {got!r}"


def _wanted(item: Any) -> str:
    message: str = item["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if item["type"] in _MUST_BE:
        message = f"must be {_MUST_BE[item['type']]}"
    if item["type"] in ("too_short", "string_too_short"):
        message = "must not be empty"
    for long, short in (
        ("should be", "must be"),
        ("greater than or equal to", "at least"),
        ("less than or equal to", "at most"),
    ):
        message = message.replace(long, short)
    return message[0].lower() + message[1:]
