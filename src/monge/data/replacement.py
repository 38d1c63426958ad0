"""A folder that is written aside and takes its final place whole, or not at all."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import io
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.errors import Busy, StorageError
from monge.files import remove, sync

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

_PERMISSION = "Give yourself write permission there or choose another folder"
DISK_FAULTS = {
    errno.ENOSPC: "Free some space on that disk",
    errno.EDQUOT: "Free some of your quota",
    errno.EFBIG: "Raise the file size limit (ulimit -f)",
    errno.EROFS: "The file system is read-only: choose another folder",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
}


class FolderReplacement:
    """Write into `.partial`; `commit` puts it in the place of `folder`, in one step.

    The sibling `.<name>.partial` is locked while this process lives, so a folder that a killed
    process left behind is cleared, and one that a living process writes raises Busy.
    Raises StorageError when the place cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).absolute()
        self.partial = self.folder.with_name(f".{self.folder.name}.partial")

    def __enter__(self) -> FolderReplacement:
        try:
            if self.partial.is_symlink():  # what it names is somebody's
                self.partial.unlink()
            self.partial.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.partial, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise storage_error(self.folder, error) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise Busy(
                f"{self.folder}: another process is writing this folder. Wait for it to end."
            ) from None
        for entry in list(self.partial.iterdir()):
            remove(entry)
        return self

    def commit(self) -> None:
        """Make the partial folder durable and let it take the place of the old one."""
        try:
            for entry in self.partial.iterdir():
                sync(entry)
            sync(self.partial)
            if self.folder.exists():
                _exchange(self.partial, self.folder)
            else:
                os.rename(self.partial, self.folder)
            sync(self.folder.parent)
        except OSError as error:
            raise storage_error(self.folder, error) from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After a commit this is the old folder, after a failure the unfinished one.
        remove(self.partial, ignore_errors=True)
        os.close(self._lock)


def storage_error(path: Path, error: OSError) -> StorageError:
    """Say what a failed write at `path` means to the user."""
    remedy = DISK_FAULTS.get(error.errno or 0, "Check that disk")
    return StorageError(
        f"{path}: cannot write: {error.strerror or error}. {remedy}, then run it again."
    )


def write_whole(file: io.RawIOBase, array: NDArray[Any]) -> None:
    """Write an array's bytes in C order to an unbuffered file, which may take less at a time.

    Unbuffered, so that a full disk is reported here and not once more on closing.
    """
    if not array.size:
        return
    rest = np.ascontiguousarray(array).data.cast("B")
    while rest:
        rest = rest[file.write(rest) :]


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders in one atomic step (renameat2(2)), or in two where there is no such call."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        paths = os.fsencode(new), os.fsencode(old)
        if libc.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(code, os.strerror(code), str(old))
    aside = old.with_name(f".{old.name}.old")
    with suppress(FileNotFoundError):
        shutil.rmtree(aside)
    os.rename(old, aside)
    os.rename(new, old)
    os.rename(aside, new)
