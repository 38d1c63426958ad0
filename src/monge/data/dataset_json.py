"""The labels that StyleGAN's tools write beside images, whose folders are then mere shards.

dataset.json: {"labels": [["00000/img00000000.png", 6], ...]}, a mapping of the same, or null.
"""

from __future__ import annotations

import json

from monge.errors import SourceError

NAME = "dataset.json"
MAX_BYTES = 256 * 2**20


def read(text: bytes) -> dict[str, str] | None:
    """The classes by path, none where it has none; None for a file of another kind.

    Raises SourceError.
    """
    try:
        if len(text) > MAX_BYTES:
            raise ValueError(f"over {MAX_BYTES} bytes")
        document = json.loads(text)
        if not isinstance(document, dict) or "labels" not in document:
            return None
        labels = document["labels"] or []
        pairs = [list(pair) for pair in (labels.items() if isinstance(labels, dict) else labels)]
        if any(not isinstance(pair[0], str) or not _is_path(pair[0]) for pair in pairs):
            return None
        return {path: str(label) for path, label in pairs}
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        raise SourceError(
            f"{NAME}: its labels cannot be read ({error}). Mend it, or move it away."
        ) from None


def _is_path(name: str) -> bool:
    """Tell whether it is a file's, with an ending, and not a class's as in other tools'."""
    return "." in name.rpartition("/")[2]
