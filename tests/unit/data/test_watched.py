"""Protects: what DVC cannot watch is named at once, not in the middle of a run."""

import os
from pathlib import Path

import pytest

from monge.data import watched
from monge.errors import SourceError


def test_a_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "ünï").mkdir()
    (tmp_path / "ünï" / "日本.png").touch()
    watched.refuse(tmp_path)
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))).touch()
    with pytest.raises(SourceError, match=r"caf\\\\xe9\.png.*is not UTF-8") as caught:
        watched.refuse(tmp_path)
    str(caught.value).encode("utf-8")


def test_a_link_to_nothing_is_named_and_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "real.png").touch()
    os.symlink("real.png", tmp_path / "good.png")
    watched.refuse(tmp_path)
    os.symlink("/gone/x.png", tmp_path / "bad.png")
    with pytest.raises(SourceError, match=r"'bad\.png': a link to nothing \(/gone/x\.png\)"):
        watched.refuse(tmp_path)
