"""DVC as a program: to keep a version's bytes, to bring them back, and to send them away."""

from __future__ import annotations

import configparser
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from monge.errors import Busy, EnvironmentFault, InputError, MissingExtra
from monge.files import write_whole
from monge.products import home

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_NEEDED = re.compile(r"is supported, but requires '(dvc-[a-z0-9]+)' to be installed")

BUSY_POLL_S, BUSY_S = 2.0, 600.0
"""The times for another DVC that is at work in this folder: between looks, and in all."""

_NOTE_S = 0.2
"""Longer than DVC takes to write its note."""


@dataclass(frozen=True)
class Tracked:
    """A path that DVC tracks, by the file beside it, `<path>.dvc`, that has its hash."""

    root: Path
    path: str

    @property
    def file(self) -> Path:
        """The file that git keeps in the place of the bytes."""
        return self.root / f"{self.path}.dvc"

    @property
    def place(self) -> Path:
        """The place of the bytes."""
        return self.root / self.path

    def hash(self) -> str | None:
        """Read the hash that is tracked now; None where nothing is. Raises InputError."""
        return str(self._document()["outs"][0]["md5"]) if self.file.exists() else None

    def point_at(self, md5: str) -> None:
        """Name another version in the file; the bytes stay as they are until `bring`.

        Raises InputError.
        """
        document = self._document()
        out = document["outs"][0]
        for key in ("size", "nfiles"):
            out.pop(key, None)
        out["md5"] = md5
        write_whole(self.file, yaml.safe_dump(document, sort_keys=False).encode("utf-8"))

    def add(self) -> str:
        """Keep what is there now, out of git; its hash. Raises EnvironmentFault, Busy."""
        self.leave_git()
        run(self.root, "add", self.path)
        found = self.hash()
        if found is None:
            raise EnvironmentFault(f"{self.file}: DVC wrote none. Run `dvc add {self.path}`.")
        return found

    def leave_git(self) -> list[str]:
        """Take notes such as README.md out of git, for it and DVC cannot have the same folder.

        They stay where they are; their names. Raises InputError where git has the images.
        """
        listed = _git(self.root, "ls-files", "-z", "--", self.path)
        names = [name for name in (listed or "").split("\0") if name]
        notes = [name for name in names if name.lower().endswith((".md", ".txt", ".gitkeep"))]
        if len(notes) < len(names):
            raise InputError(
                f"{self.path}: git has {len(names) - len(notes)} of its files, and DVC takes none "
                f"that git has. Run `git rm -r --cached {self.path}`, commit, and try again."
            )
        if names:
            _git(self.root, "rm", "--cached", "--quiet", "--", *names)
        return names

    def is_changed(self) -> bool:
        """Tell whether what is there is another thing than what is tracked."""
        told = run(self.root, "status", "--json", f"{self.path}.dvc")
        return bool(json.loads(told.strip().splitlines()[-1] if told.strip() else "{}"))

    def bring(self) -> None:
        """Put what the file names in its place, from the cache or else from the remote."""
        name = f"{self.path}.dvc"
        try:
            run(self.root, "checkout", "--force", name)
        except EnvironmentFault:
            if not has_remote(self.root):
                raise
            run(self.root, "fetch", name)
            run(self.root, "checkout", "--force", name)

    def push(self) -> None:
        """Send what is tracked to the remote. Raises EnvironmentFault."""
        run(self.root, "push", f"{self.path}.dvc")

    def _document(self) -> dict[str, Any]:
        """Read what DVC wrote last. Raises InputError for a file that is not that, or was cut."""
        try:
            document = yaml.safe_load(self.file.read_text(encoding="utf-8"))
            out = document["outs"][0]
            if not _MD5.fullmatch(out["md5"]) or out["path"] != self.place.name:
                raise ValueError("no hash of this path")
            return dict(document)
        except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"{self.file}: cannot be read ({type(error).__name__}). Take it from git again: "
                f"git checkout -- {self.file}"
            ) from None


def run(root: Path, *arguments: str) -> str:
    """Run DVC in a folder; what it wrote to its standard output. With --quiet it would not say why.

    Raises Busy when another DVC is at work for very long, MissingExtra for a remote that needs a
    package, EnvironmentFault for what else it says.
    """
    if importlib.util.find_spec("dvc") is None:
        raise MissingExtra("DVC is not installed: pip install 'monge[pipeline]'.")
    _settle_git(root)
    forget_cut_note(root)
    until = time.monotonic() + BUSY_S
    while True:
        done = _dvc(root, arguments)
        if done.returncode == 0 or "is busy" not in done.stderr:
            break
        if time.monotonic() > until:
            raise Busy(f"{root}: another DVC has been at work for long. Wait for it to end.")
        time.sleep(BUSY_POLL_S)
    if done.returncode:
        if (package := _NEEDED.search(done.stderr)) is not None:
            raise _missing(package[1])
        told = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        reason = told[0].removeprefix("ERROR:").strip() if told else done.stderr.strip()[-300:]
        raise EnvironmentFault(f"dvc {' '.join(arguments)}: {reason}")
    return done.stdout


def _missing(package: str) -> MissingExtra:
    """The extra, or else the package itself, that DVC needs for a kind of remote."""
    wanted = "'monge[servers]'" if package == "dvc-s3" else package
    return MissingExtra(f"DVC's remote needs more than is installed: pip install {wanted}.")


def forget_cut_note(root: Path) -> bool:
    """Remove DVC's note of who works at which file where it was cut; whether it was.

    DVC would refuse to work. A note that changes meanwhile is one that is just written.
    """
    note = home(root) / ".dvc" / "tmp" / "rwlock"
    cut = _cut_note(note)
    if cut is None:
        return False
    time.sleep(_NOTE_S)
    if _cut_note(note) != cut:
        return False
    note.unlink(missing_ok=True)
    return True


def _cut_note(note: Path) -> bytes | None:
    """The bytes of a note that cannot be read; None of one that can."""
    try:
        data = note.read_bytes()
        json.loads(data)
    except ValueError:
        return data
    except OSError:
        pass
    return None


def has_remote(root: Path) -> bool:
    """Tell whether DVC has a default remote here, for everybody or for this checkout."""
    for file in (home(root) / ".dvc" / name for name in ("config", "config.local")):
        settings = configparser.ConfigParser(interpolation=None, strict=False)
        with suppress(OSError, configparser.Error, UnicodeDecodeError):
            text = file.read_text("utf-8")
            settings.read_string("\n".join(line.strip() for line in text.splitlines()))
            if settings.get("core", "remote", fallback=""):
                return True
    return False


def commit_with(root: Path, path: str, md5: str) -> str | None:
    """Find the first commit whose `<path>.dvc` has a hash, in short; None where there is none."""
    found = _git(root, "log", "--reverse", "--format=%h", f"-S{md5}", "--", f"{path}.dvc")
    return next(iter((found or "").split()), None)


def person(root: Path) -> str:
    """Name who is at work here: as git knows them, else by the name of the account."""
    named = (_git(root, "config", "user.name") or "").strip()
    return named or os.environ.get("USER") or f"user {os.getuid()}"


def _settle_git(root: Path) -> None:
    """Tell DVC where there is no git, and no more when there is."""
    top, inside = home(root), _git(root, "rev-parse", "--git-dir") is not None
    local = top / ".dvc" / "config.local"
    text = local.read_text(encoding="utf-8") if local.is_file() else ""
    if inside == ("no_scm = true" in text):
        arguments = ("--unset", "core.no_scm") if inside else ("core.no_scm", "true")
        _dvc(top, ("config", "--local", *arguments))


def _dvc(root: Path, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True,
        errors="replace", stdin=subprocess.DEVNULL, env=os.environ | {"DVC_NO_ANALYTICS": "1"},
    )  # fmt: skip


def _git(root: Path, *arguments: str) -> str | None:
    """Ask git; None where there is none, or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
