"""Files that are whole or absent, links that stay links, and locks that end with their process."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monge.errors import StorageError
from monge.outputs import beside, is_stream, send, target


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn an OSError while writing `path` into a StorageError with the remedy."""
    try:
        yield
    except OSError as error:
        remedy = unlinked(path, error) or "Free space or allow writing there"
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}). {remedy}, then run the same "
            "command again."
        ) from error


def unlinked(path: Path, error: OSError) -> str:
    """Say how a link that one may not go through becomes a file; nothing of another error or file.

    DVC links files into its cache (`cache.type`), which may be somebody else's or read-only. More
    rights there would be wrong: who writes through the link changes every version that has it.
    """
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ""
    try:
        status = path.lstat()
    except OSError:
        return ""
    hard = stat.S_ISREG(status.st_mode) and status.st_nlink > 1
    if not (hard or stat.S_ISLNK(status.st_mode)):
        return ""
    return f"It is a link, as DVC makes to its cache: `dvc unprotect {path}` makes it a file"


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file: sibling, fsync, rename, fsync of the folder. Raises StorageError."""
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=beside(path.name), dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)  # mkstemp's files are for their owner alone
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync(path.parent)  # until then a power cut may bring the old file back


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def deliver(path: Path, data: bytes) -> None:
    """Write what a person asked for to where they said: a file, through links, or a stream.

    Raises StorageError, InputError.
    """
    if is_stream(path):
        with storing(path):
            send(path, data)
    else:
        write_whole(target(path), data)


def detach(path: Path) -> None:
    """Make a file writable in place without touching another: a link is replaced by a copy.

    DVC links files in the workspace to those in its cache (`cache.type` symlink or hardlink) and
    takes the right to write from both; whoever writes through the link changes the cache. Raises
    StorageError.
    """
    with storing(path):
        try:
            status = path.lstat()
        except FileNotFoundError:
            return
        own = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if own and status.st_mode & stat.S_IWUSR:
            return
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # a link to nothing
            path.unlink()
            return
        write_whole(path, data)


def remove(path: Path, *, ignore_errors: bool = False) -> None:
    """Remove a file or folder, if it is there; of a link the link alone, not what it names."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=ignore_errors)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        if not ignore_errors:
            raise


def lock(path: Path, *, wait: bool = True) -> int | None:
    """An exclusive lock on a file, as a descriptor to close; None if it is taken and not `wait`.

    The kernel drops it with the process, so a killed holder never blocks the next one.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                # The holder before us may have removed the file: then our lock guards nothing.
                if _names(path, handle):
                    return handle
            except BlockingIOError:
                os.close(handle)
                return None
            except OSError:
                os.close(handle)
                raise
            os.close(handle)
            path.parent.mkdir(parents=True, exist_ok=True)


def _names(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, waiting for it."""
    handle = lock(path)
    assert handle is not None  # waiting never returns None
    try:
        yield
    finally:
        os.close(handle)
