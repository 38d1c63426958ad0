"""Memory that there is none of, in whatever words a library says so, told in a line."""

from __future__ import annotations

import re
import sys

from monge.errors import EnvironmentFault

_WORDS = re.compile(
    r"can't allocate memory|[Cc]annot allocate memory|out of memory|bad_alloc|"
    r"[Ff]ailed to allocate memory|failed to map segment|[Uu]nable to allocate"
)
"""The words of torch, the C library, C++, ONNX Runtime, the loader of libraries, and NumPy."""

_LESS = {
    "prepare": "prepare.workers: 1",
    "train": "a smaller train.batch_size, or train.accumulate, which takes a batch in parts; "
    "`monge train --dry-run` says what it takes",
    "evaluate": "a smaller evaluate.batch_size, or fewer evaluate.images",
}


def for_want_of_memory(error: BaseException) -> EnvironmentFault | None:
    """Return what to do where there was no memory for something; None for another error."""
    said = " ".join(str(error).split())
    if not (isinstance(error, MemoryError) or _WORDS.search(said)):
        return None
    less = next((_LESS[word] for word in sys.argv[1:] if word in _LESS), "less at a time")
    asked = re.search(r"(?i)tried to allocate [\d.]+ ?\w+|allocate [\d.]+ [KMGTPE]iB", said)
    which = f" ({asked[0]})" if asked else ""
    return EnvironmentFault(
        f"out of memory{which}. Close what else takes it, or ask for less: {less}. What was kept "
        "stays."
    )
