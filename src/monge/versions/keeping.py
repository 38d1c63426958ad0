"""Arrays that one command keeps for the next: what it saw of images, so as not to look again."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.files import write_whole

Arrays = dict[str, NDArray[Any]]


def keep(file: Path, key: str, **arrays: NDArray[Any]) -> None:
    """Keep arrays in a file, with a key that says of what they are. Raises StorageError."""
    data = io.BytesIO()
    np.savez(data, allow_pickle=False, key=np.array(key), **arrays)
    write_whole(file, data.getvalue())


def kept(file: Path, key: str) -> Arrays | None:
    """Give what was kept with this key; None where nothing is, another's is, or a damaged file."""
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as found:
            if str(found["key"]) != key:
                return None
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
