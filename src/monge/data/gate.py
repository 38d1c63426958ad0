"""Lets images of an archive in, by member, and finds what condemns the archive, by its name."""

from __future__ import annotations

import lzma
import posixpath
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from monge.data import dataset_json
from monge.data.encoded import MAX_FILE_BYTES, Unreadable
from monge.data.listing import (
    Item,
    Source,
    clean_name,
    ending,
    has_image_bytes,
    is_hidden,
    is_image_name,
    may_be_image,
    none_found,
    note_hidden,
    note_labels,
    note_skipped,
    too_many,
)
from monge.data.member_links import MemberLinks
from monge.errors import SourceError

READ = ".zip, .tar, .tar.gz, .tar.bz2 and .tar.xz"
# Real images hardly compress; a bomb expands a thousandfold and more.
MAX_EXPANSION = 200
DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError,
    ValueError, NotImplementedError, IndexError,
)  # fmt: skip

_FREE_BYTES = 64 * 2**20
_MAX_OTHER_MEMBERS = 1_000_000
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class Gate:
    """Decides member by member what is an image, what is skipped, and what is unsafe."""

    def __init__(self, shown: str, size_bytes: int, max_images: int, source: Source) -> None:
        self.shown = shown
        self.max_images = max_images
        self.max_bytes = _FREE_BYTES + MAX_EXPANSION * size_bytes
        self.source = source
        self.links = MemberLinks()
        self._linked_bytes = 0
        self._seen: set[str] = set()
        self._members = 0
        self._images = 0

    def guarded(self, items: Iterator[Item]) -> Iterator[Item]:
        """Turn what the archive modules raise on damage into SourceError; refuse an empty one."""
        try:
            yield from items
        except DAMAGE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SourceError(
                f"{self.shown}: damaged archive or none ({reason}). Fetch it again; read are "
                f"{READ}."
            ) from None
        if not self._images:
            raise none_found(self.shown, self.source.skipped)

    def link(self, name: str, target: str, *, hard: bool = False) -> None:
        """Note a link to another member; raise SourceError for one that leads out.

        A hard link names its target from the top of the archive, another one from its own folder.
        """
        around = "" if hard else posixpath.dirname(name)
        reached = posixpath.normpath(posixpath.join(around, target))
        if posixpath.isabs(target) or reached.startswith(".."):
            raise self.unsafe(name, "is a link that leaves the archive")
        shown = self.admit(name, 0, True)
        if shown is not None:
            self.links.add(name, shown, reached)

    def linked(self, member: str, content: bytes | Unreadable, names: list[str]) -> Iterator[Item]:
        """Yield what a member holds under the name of each link to it; raises SourceError.

        A few links to one large member would be as much work as a bomb.
        """
        for name in names:
            self._linked_bytes += len(content) if isinstance(content, bytes) else 0
            if self._linked_bytes > self.max_bytes:
                raise self.unsafe(member, f"expands more than {MAX_EXPANSION} times by its links")
            if self.taken(name, content):
                yield name, content

    def leads_nowhere(self, names: list[str]) -> None:
        """Count links to a folder, to each other, or to what is not in the archive."""
        self.source.skipped["links to no file of the archive"] += len(names)

    def closed(self, name: str, why: str) -> SourceError:
        """Refuse what cannot be opened, and is no worse for that."""
        return SourceError(
            f"{self.shown}: {name!r} {why}, which is not read. Unpack it and name the "
            "folder in prepare.path, or pack it again without."
        )

    def unsafe(self, name: str, why: str) -> SourceError:
        return SourceError(
            f"{self.shown}: unsafe archive: {name!r} {why}. Nothing was taken from it; "
            "use an archive that you trust."
        )

    def admit(self, name: str, size_bytes: int, is_file: bool) -> str | None:
        """Give the clean name of an image to read, None to pass over; raises SourceError."""
        self._members += 1
        if self._members > self.max_images + _MAX_OTHER_MEMBERS:
            raise self.unsafe(name, f"is member number {self._members}, over the limit")
        slashed = name.replace("\\", "/")
        if slashed.startswith("/") or _DRIVE.match(name):
            raise self.unsafe(name, "has an absolute path")
        if ".." in slashed.split("/"):
            raise self.unsafe(name, "leaves the archive by '..'")
        path = PurePosixPath(name)
        if not is_file:
            return None
        if is_hidden(path):
            note_hidden(path, self.source)
            return None
        if path.name != dataset_json.NAME and not may_be_image(path):
            note_skipped(path, self.source)
            return None
        self.require_size(name, size_bytes)
        clean = clean_name(str(path))
        if clean in self._seen:
            raise SourceError(
                f"{self.shown}: {name!r} is there twice, and which one is meant is not known. "
                "Pack it again, so that each name is there once."
            )
        self._seen.add(clean)
        if len(self._seen) > self.max_images + _MAX_OTHER_MEMBERS:
            raise too_many(self.shown, self.max_images)
        return clean

    def require_size(self, name: str, size_bytes: int) -> None:
        """Raise SourceError for a member that no image is as large as."""
        if not 0 <= size_bytes <= MAX_FILE_BYTES:
            raise self.unsafe(name, f"claims {size_bytes} bytes, over {MAX_FILE_BYTES}")

    def taken(self, name: str, content: bytes | Unreadable) -> bool:
        """Tell whether a member that was read is an image; anything else is noted."""
        path = PurePosixPath(name)
        if path.name == dataset_json.NAME and isinstance(content, bytes):
            note_labels(content, path, self.source)
            return False
        unsaid = not is_image_name(path) and not ending(path)
        if unsaid and isinstance(content, bytes) and not has_image_bytes(content[:16]):
            note_skipped(path, self.source)
            return False
        self._images += 1
        if self._images > self.max_images:
            raise too_many(self.shown, self.max_images)
        return True
