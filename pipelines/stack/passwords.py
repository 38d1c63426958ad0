"""The servers' secrets, made at the first start and kept in a file that only its owner reads."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from monge.errors import InputError, StorageError
from monge.files import sync
from pipelines.stack.settings import VARIABLES

FILE = "secrets.json"
_LEAST = 12


@dataclass(frozen=True)
class Passwords:
    """One for each door: PostgreSQL's superuser and our role, the store's key, Prefect's page.

    `webhooks` is what MLflow encrypts its webhooks' secrets with.
    """

    superuser: str
    database: str
    store: str
    prefect: str
    webhooks: str

    def __repr__(self) -> str:
        return "Passwords(...)"


def load(state: Path, environment: Mapping[str, str] | None = None) -> Passwords:
    """Read the secrets, or make those that are missing.

    MONGE_UP_..._PASSWORD of `environment` replaces one. That is for `make up` alone to give: who
    only reads, as the supervisor does, would write back what its own environment had once.
    Raises InputError for a password that is too short, StorageError where none can be kept.
    """
    path = state / FILE
    before = _read(path)
    wanted = {each.name: before.get(each.name) or _new() for each in fields(Passwords)}
    for name in ("database", "store", "prefect"):
        given = (environment or {}).get(variable(name))
        if given:
            wanted[name] = _checked(variable(name), given)
    if wanted != before:
        write_private(path, json.dumps(wanted, indent=1))
    path.chmod(0o600)
    return Passwords(**wanted)


def variable(name: str) -> str:
    """The variable of the environment that replaces a password."""
    return f"{VARIABLES}{name.upper()}_PASSWORD"


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner reads, from its first byte on."""
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    sync(path.parent)


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(value) for name, value in found.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise StorageError(
            f"{path}: cannot be read ({error}). Bring it back from a copy: the servers' data are "
            "behind these passwords."
        ) from None


def _new() -> str:
    return secrets.token_hex(20)


def _checked(name: str, given: str) -> str:
    """Letters that need no quoting in an address or a file of settings."""
    if len(given) < _LEAST or not (given.isascii() and given.replace("-", "").isalnum()):
        raise InputError(f"{name} takes at least {_LEAST} letters, digits or '-', without accents.")
    return given
