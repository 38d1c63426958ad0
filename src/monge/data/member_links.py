"""Links of an archive to its own members: which member each of them leads to."""

from __future__ import annotations

import posixpath
from collections import defaultdict

_MOST_HOPS = 40  # as many as Linux follows


class MemberLinks:
    """The links that are to be read as images, collected while the members go by."""

    def __init__(self) -> None:
        self._led: dict[str, str] = {}
        self._shown: dict[str, str] = {}

    def add(self, name: str, shown: str, target: str) -> None:
        """Note a link by its name in the archive, the image's name, and where it leads."""
        self._led[posixpath.normpath(name)] = posixpath.normpath(target)
        self._shown[posixpath.normpath(name)] = shown

    def by_member(self) -> dict[str, list[str]]:
        """Give the images' names by the member that they lead to, in the end and if it is there."""
        found: dict[str, list[str]] = defaultdict(list)
        for name, shown in self._shown.items():
            reached, hops = self._led[name], 0
            while reached in self._led and hops < _MOST_HOPS:
                reached, hops = self._led[reached], hops + 1
            found[reached].append(shown)
        return dict(found)
