"""DVC's cache, read anew: what is write-protected there DVC takes for whole, whatever is in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from monge.data import dvc_cache
from monge.errors import EnvironmentFault
from monge.versions.dvc import has_remote

_DIR = ".dir"


def require_whole(root: Path, path: str, md5: str) -> list[str]:
    """Read all that the cache has under a hash; the names of damaged files, which are taken out.

    They are there to be fetched again. Raises EnvironmentFault where no remote has them: then they
    stay where they are, for a person to look at.
    """
    found = damaged(root, md5)
    if found and not has_remote(root):
        name, place = next(iter(found.items()))
        raise EnvironmentFault(
            f"{Path(path, name)}: damaged in DVC's cache, {place} (one of {len(found)}), and there "
            "is no remote to fetch it from. Bring it back from a copy, then try again."
        )
    for place in found.values():
        place.unlink()
    return [str(Path(path, name)) for name in found]


def damaged(root: Path, md5: str) -> dict[str, Path]:
    """Find the files under a hash whose bytes are not those that it stands for, by their names."""
    found = {}
    for cache in dvc_cache.places(root):
        for name, digest in _listed(Path(cache), md5):
            place = _object(Path(cache), digest)
            if place.is_file() and not _is_whole(place):
                found[name] = place
    return found


def _listed(cache: Path, md5: str) -> Iterator[tuple[str, str]]:
    """The object of a hash and, of a folder, those of its files: name and hash."""
    yield "", md5
    if md5.endswith(_DIR) and _is_whole(_object(cache, md5)):
        for entry in json.loads(_object(cache, md5).read_bytes()):
            yield str(entry["relpath"]), str(entry["md5"])


def _object(cache: Path, md5: str) -> Path:
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def _is_whole(place: Path) -> bool:
    if not place.is_file():
        return False
    with place.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest() == (place.parent.name + place.name).removesuffix(_DIR)
