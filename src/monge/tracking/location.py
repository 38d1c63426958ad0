"""Remembers where the project was when MLflow wrote absolute paths into its database.

The place is kept in the database, in a table of our own, and changes in one transaction with the
paths: a kill leaves both as they were, and a copy of the database knows whose copy it is.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from monge.errors import StorageError

log = logging.getLogger(__name__)

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_WAIT_S = 60.0
_TABLE = "monge_location"
# Of databases that are older than the table: where the experiments of our runs keep their files.
_GUESS = (
    "SELECT DISTINCT artifact_location FROM experiments JOIN runs USING (experiment_id) "
    "JOIN tags USING (run_uuid) WHERE tags.key = 'monge.key'"
)


def settle(database: Path) -> None:
    """Mend the paths in a project's database where it was moved or copied; does little otherwise.

    Raises StorageError when the database cannot be read or written.
    """
    here = database.parent.as_uri()
    try:
        with closing(sqlite3.connect(database, _WAIT_S, isolation_level=None)) as connection:
            if _known(connection) != here:
                _move(connection, here)
    except sqlite3.Error as error:
        raise StorageError(
            f"{database}: cannot be used ({error}). Allow writing there, or bring the file back, "
            "then run the same command again."
        ) from error


def _move(connection: sqlite3.Connection, here: str) -> None:
    """Rewrite the paths and the place in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    known = _known(connection)  # another process may have been here first
    before = _guessed(connection) if known is None else {known}
    mended = sum(_mend(connection, old, here) for old in sorted(before - {here}))
    connection.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE} (uri TEXT NOT NULL)")
    connection.execute(f"DELETE FROM {_TABLE}")
    connection.execute(f"INSERT INTO {_TABLE} VALUES (?)", (here,))
    connection.execute("COMMIT")
    if mended:
        old = ", ".join(str(_path(uri)) for uri in sorted(before - {here}))
        log.info("this project was in %s: %d paths in mlflow.db were mended", old, mended)


def _known(connection: sqlite3.Connection) -> str | None:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_TABLE,)).fetchone()
    row = connection.execute(f"SELECT uri FROM {_TABLE}").fetchone() if found else None
    return str(row[0]) if row else None


def _guessed(connection: sqlite3.Connection) -> set[str]:
    """Guess where the project was, by the experiments of our runs."""
    places = [_path(str(text)) for (text,) in connection.execute(_GUESS) if text]
    return {p.parent.as_uri() for p in places if p.is_absolute() and p.name == "mlartifacts"}


def _path(place: str) -> Path:
    """The path that a plain path or a file URI names; an address elsewhere is a relative one."""
    if not place.startswith("file:"):
        return Path(place)
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(place).path)))


def _mend(connection: sqlite3.Connection, old: str, new: str) -> int:
    """Rewrite what begins with the old place, as a URI or as a plain path, to a URI; how many."""
    connection.create_function("monge_quote", 1, quote, deterministic=True)
    plain = os.fsencode(_path(old)).decode("utf-8", "replace")
    mended = 0
    for table, column in _PLACES:
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        if column not in [row[1] for row in columns]:  # an older MLflow's database
            continue
        for before, rest in ((old, f"substr({column}, :rest)"),
                             (plain, f"monge_quote(substr({column}, :rest))")):  # fmt: skip
            done = connection.execute(
                f"UPDATE {table} SET {column} = :new || {rest} "
                f"WHERE {column} = :before OR substr({column}, 1, :rest) = :before || '/'",
                {"new": new, "before": before, "rest": len(before) + 1},
            )
            mended += done.rowcount
    return mended
