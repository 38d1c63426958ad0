"""Protects: what cannot be a version is refused with the way to make it one."""

from __future__ import annotations

from pathlib import Path

import pytest

from monge import stages
from monge.errors import InputError, SourceError
from monge.params import Params, PrepareParams
from monge.paths import Paths


def add(root: Path, images: Path, **prepare: object) -> list[str]:
    params = Params(prepare=PrepareParams.model_validate(prepare))
    return list(stages.data_add(params, Paths(root), images=images))


def test_what_cannot_be_a_version_is_refused_with_the_way(tmp_path):
    root, images = tmp_path / "project", tmp_path / "images"
    root.mkdir()
    images.mkdir()
    with pytest.raises(InputError, match=r"prepare\.source is digits.*prepare\.source: folder"):
        add(root, images)
    with pytest.raises(InputError, match=f"outside of this project.*monge data add {images}"):
        add(root, images, source="folder", path=str(images))
    with pytest.raises(SourceError, match="no such folder or archive"):
        add(root, tmp_path / "none", source="folder")
    (images / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(SourceError, match=r"1 of 1 images cannot be read: bad\.png"):
        add(root, images, source="folder")
    assert not (root / "data" / "versions.jsonl").exists()
