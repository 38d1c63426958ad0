"""The labels that StyleGAN's tools write beside images, whose folders are then mere shards.

dataset.json: {"labels": [["00000/img00000000.png", 6], ...]}, a mapping of the same, or null.
"""

from __future__ import annotations

import json

from monge.errors import SourceError

NAME = "dataset.json"
MAX_BYTES = 256 * 2**20


def read(text: bytes) -> dict[str, str]:
    """The classes by path, and none where the file has none. Raises SourceError."""
    try:
        if len(text) > MAX_BYTES:
            raise ValueError(f"over {MAX_BYTES} bytes")
        document = json.loads(text)
        labels = document.get("labels") if isinstance(document, dict) else None
        pairs = labels.items() if isinstance(labels, dict) else labels or []
        return {str(path): str(label) for path, label in pairs}
    except (ValueError, TypeError, RecursionError) as error:
        raise SourceError(
            f"{NAME}: its labels cannot be read ({error}). Mend it, or move it away."
        ) from None
