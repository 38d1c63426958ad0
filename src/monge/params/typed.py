"""Reads values: in a parameter file as YAML, and typed behind `section.key=` as typed."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Any

import yaml

from monge.params import auto
from monge.params.keys import annotation, canonical, takes_text, wants_whole

_SIZE = "prepare.resolution"


class Loader(yaml.SafeLoader):
    """SafeLoader that reads as YAML 1.2 and DVC do.

    5e-5 is a number, `on` is a word, and so is 12:30, which YAML 1.1 takes for 750.
    """


_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?([0-9][0-9_]*|0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+)", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)"
        r"|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
}
_DASHES = dict.fromkeys(map(ord, "−–‒﹣"), "-")
_OWN = {f"tag:yaml.org,2002:{kind}" for kind in _SCALARS}
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OWN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, (_pattern, _first) in _SCALARS.items():
    Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


def _integer(loader: Loader, node: yaml.ScalarNode) -> int:
    """Read 0x1F and its like by their prefix, and 012 as twelve."""
    text = node.value.replace("_", "")
    return int(text, 10 if text.lstrip("+-").isdecimal() else 0)


Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def scalar(text: str) -> Any:
    """Read a value in a parameter file. Raises yaml.YAMLError."""
    return yaml.load(text, Loader)


def typed(key: str, text: str) -> Any:
    """Read `text`, typed by a person, as the value of a dotted key.

    Where the key takes any text it is the text as it was typed: `my pics #2`, `2024` and `12:30`
    are names. Only text that is in YAML's quotes as a whole loses them, and a leading ~ becomes the
    home folder, which DVC does not know. Numbers, booleans and lists are read as YAML where all of
    the text is YAML, in quotes or not, and with a minus as books print it; a whole number may be
    written 1e3, and a size [48, 32]. What is none stays text, and is refused when the parameters
    are checked.
    """
    if key in auto.KEYS and text.casefold() == auto.AUTO:
        return auto.AUTO
    wanted = annotation(key)
    if takes_text(wanted):
        quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        value = _whole(text) if quoted else text
        return os.path.expanduser(text) if value == text else value
    value = _number(canonical(_unquoted(_whole(text)), wanted), wanted)
    if key == _SIZE and isinstance(value, list) and len(value) == 2:
        return f"{value[0]}x{value[1]}"  # DVC gives a list in several words
    return value


def _unquoted(value: Any) -> Any:
    """Read again what stands in quotes: a key that takes no text was not meant to get one."""
    if not isinstance(value, str):
        return value
    plain = unicodedata.normalize("NFKC", value).translate(_DASHES)
    read = _whole(plain)
    return read if type(read) in (int, float, bool) else value


def _number(value: Any, wanted: Any) -> Any:
    """A whole number where the key takes nothing else, whatever form it has: 1e3 and 1000.0."""
    if isinstance(value, float) and value.is_integer() and wants_whole(wanted):
        return int(value)
    return value


def _whole(text: str) -> Any:
    """The value of text that is YAML from its first character to its last; else the text."""
    try:
        node = yaml.compose(text, Loader)
        # A comment would be left out on the quiet, as in `my pics #2`.
        if node is None or node.end_mark.index < len(text.rstrip()):
            return text
        value = scalar(text)
    except (yaml.YAMLError, ValueError):  # ValueError: a date of a thirteenth month
        return text
    return text if value is None else value
