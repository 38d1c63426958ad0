r"""Backslashes in names: the separators of Windows, or letters like others.

A zip that a program on Windows wrote may have them in place of `/`, in all of its names or in some;
unpacked on another system it becomes files that are called `cat\0.png`.
"""

from __future__ import annotations

from collections.abc import Sequence


def slashed(names: Sequence[str]) -> list[str]:
    r"""Give each name with `/` where its backslashes are separators.

    They are where what stands before the last one returns, as a folder does: in fewer than half as
    many different forms as there are names with backslashes. A few names like `a\nb.png` stay,
    and so do all where two names would become one.
    """
    marked = [name for name in names if "\\" in name]
    folders = {name.rpartition("\\")[0] for name in marked}
    if not marked or (2 * len(folders) > len(marked) and len(marked) < len(names)):
        return list(names)
    replaced = [name.replace("\\", "/") for name in names]
    return replaced if len(set(replaced)) == len(set(names)) else list(names)
