"""Reads MLflow's address from the settings, and checks it before anything is asked or made.

An sqlite address is read by SQLAlchemy's own rules. What MLflow could not use as memory and
registry, or would quietly make somewhere else, is refused with what to write in its place.
"""

from __future__ import annotations

import importlib.util
import os
import re
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from monge.credentials import bare, user_and_password
from monge.errors import InputError, MissingExtra
from monge.products import home

VARIABLE, REGISTRY_VARIABLE = "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"
USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
"""In these MLflow takes credentials that are not a part of the address."""

_WRITE = "Write http://HOST:PORT of a server, or sqlite:////FOLDER/mlflow.db"
_UNCLEAR = "not an address that is understood"
_DRIVERS = {
    "postgresql": ("psycopg2", "pip install 'monge[servers]'"),
    "mysql": ("MySQLdb", "pip install pymysql, and write mysql+pymysql://"),
    "mssql": ("pyodbc", "pip install pyodbc"),
}
_HOST_AND_PORT = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}(?:/.*)?")


def given(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI, else the address of the database in the checkout's folder.

    A product has no database of its own, and neither has a temporary copy that DVC made for an
    experiment. A server's user and password are left out where MLflow can be given them otherwise:
    see `give_credentials`. Raises InputError for what is no address of a tracking server or of a
    database, MissingExtra for a database whose driver is not installed.
    """
    told = _told(VARIABLE)
    return _checked(told, VARIABLE, home(root)) if told else of_file(home(root) / "mlflow.db")


def registry_address(root: Path) -> str:
    """Return MLFLOW_REGISTRY_URI, else the tracking address; raises what `given` raises."""
    told = _told(REGISTRY_VARIABLE)
    return _checked(told, REGISTRY_VARIABLE, home(root)) if told else given(root)


def shown(root: Path) -> str:
    """Return the address as people and files may see it: a database by its path, no credentials."""
    where = given(root)
    file = _file(where)
    return bare(where) if file is None else f"sqlite:///{file}"


def is_server(root: Path) -> bool:
    """Tell whether a server is asked, and not a database."""
    return given(root).startswith(("http://", "https://"))


def has_driver(where: str) -> bool:
    """Tell whether an address is that of a database server, which is reached by a driver."""
    return where.partition("://")[0].partition("+")[0] in _DRIVERS


def database(root: Path) -> Path | None:
    """Return the file of an sqlite address, the project's own included; None for another one."""
    return _file(given(root))


def require_database(root: Path) -> bool:
    """Return whether there is something to ask, without making it.

    A project that has logged nothing yet has no database of its own. Raises InputError where the
    settings name one that is not there.
    """
    file = database(root)
    if file is None or file.exists():
        return True
    if _told(VARIABLE):
        raise InputError(
            f"{VARIABLE}: there is no registry at {shown(root)}: no such file. Correct the "
            f"address, or unset it for the project's own."
        )
    return False


def give_credentials() -> None:
    """Give MLflow the user and password of a server's address apart from it.

    It takes both from the environment with each request, so that they are in none of its messages.
    """
    apart = user_and_password(_told(VARIABLE))
    if apart is not None and _apart(_told(VARIABLE)):
        os.environ[USER], os.environ[PASSWORD] = apart


def _told(variable: str) -> str:
    return os.environ.get(variable, "").strip()


def _apart(where: str) -> bool:
    """Tell whether credentials of a server go by the environment, which has but one pair."""
    other = _told(REGISTRY_VARIABLE)
    alone = not other or user_and_password(other) in (None, user_and_password(where))
    return alone and where.lower().startswith(("http://", "https://"))


def _checked(told: str, variable: str, folder: Path) -> str:
    """Return the address as MLflow is to have it. Raises InputError, MissingExtra."""
    scheme, colon, _ = told.partition("://")
    scheme = scheme.lower() if colon else ""
    if scheme in ("http", "https"):
        return _server(scheme + told[len(scheme) :], variable)
    base = scheme.partition("+")[0]
    if base == "sqlite":
        return _sqlite(told, variable, folder)
    if base in _DRIVERS:
        return _of_driver(told, variable, base)
    if told.partition(":")[0] in _foreign():
        return told
    raise InputError(f"{variable}={told}: {_wrong(told, base)}")


def _wrong(told: str, scheme: str) -> str:
    """Say what is wrong with an address that nobody understands, and what to write."""
    if scheme == "postgres":
        return f"write postgresql://{told.partition('://')[2]}"
    if told == "localhost":
        return "an address begins with its scheme. Write http://localhost:5000"
    if _HOST_AND_PORT.fullmatch(told):
        return f"an address begins with its scheme. Write http://{told}"
    if scheme == "file" or (not scheme and re.match(r"[.~/]|\w+(?:/|$)|file:", told)):
        return f"a folder can hold no registry. {_WRITE}, or unset it for the project's own."
    return f"{_UNCLEAR}. {_WRITE}."


def _server(told: str, variable: str) -> str:
    try:
        parts = urlsplit(told)
        wrong = not parts.hostname or (parts.port is not None and parts.port == 0)
    except ValueError:  # a port that is no number, half an IPv6 address
        wrong = True
    if wrong or re.search(r"\s", told):
        raise InputError(
            f"{variable}={told}: {_UNCLEAR} (a sign in a password is written by its code, as %40 "
            "for @). Write http://HOST:PORT."
        )
    plain = told.partition("#")[0].rstrip("/")  # as copied from a browser that shows MLflow's page
    return bare(plain) if user_and_password(plain) and _apart(told) else plain


def _sqlite(told: str, variable: str, folder: Path) -> str:
    """An sqlite address with its whole path: MLflow would take it from the current folder."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(told)
    except (ArgumentError, ValueError):
        raise InputError(f"{variable}={told}: {_UNCLEAR}. {_WRITE}.") from None
    name = url.database or ""
    if name in ("", ":memory:") or "mode=memory" in told:
        raise InputError(f"{variable}={told}: a database in memory forgets everything. {_WRITE}.")
    if url.host:
        raise InputError(f"{variable}={told}: one slash is missing. Write sqlite:////{url.host}...")
    if name.startswith("file:"):
        whole = told.replace("sqlite://", "sqlite+pysqlite://", 1)
    else:
        url = url.set(database=str(folder / Path(name).expanduser()))
        whole = url.render_as_string(hide_password=False)
    file = _file(whole)
    if file is not None and not file.parent.is_dir():
        raise InputError(
            f"{variable}={told}: no such folder: {file.parent}. Correct the address (a whole path "
            "takes four slashes, as sqlite:////srv/mlflow.db), or make the folder."
        )
    return whole


def of_file(path: Path) -> str:
    """Return a database's address by its path. A question mark cannot stand in a plain one."""
    if "?" not in str(path):
        return f"sqlite:///{path}"
    # With the driver's name, because MLflow would make a folder of a plain `sqlite:///file:`.
    return f"sqlite+pysqlite:///file:{quote(str(path))}?uri=true"


def _file(where: str) -> Path | None:
    """The file of a checked sqlite address."""
    if not where.startswith("sqlite"):
        return None
    name = re.sub(r"^sqlite[^:]*:///", "", where).partition("?")[0]
    return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name)


def _of_driver(told: str, variable: str, base: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(told)
        driver = url.get_dialect()
        if "+" in url.drivername:
            driver.import_dbapi()
    except (ArgumentError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{variable}={told}: {_UNCLEAR} ({reason}). Write {base}://HOST:PORT/DATABASE, with "
            "user, colon, password and an @ before the host."
        ) from None
    except ImportError as error:
        missing, how = str(error.name or error), _DRIVERS[base][1]
        raise MissingExtra(f"{variable}: {told} needs the driver {missing}: {how}.") from None
    module, how = _DRIVERS[base]
    if "+" not in url.drivername and importlib.util.find_spec(module) is None:
        raise MissingExtra(f"{variable}: {told} needs the driver {module}: {how}.")
    return told


def _foreign() -> set[str]:
    """Schemes of MLflow's own that it is sent to, and of its plugins that are installed."""
    plugins = {each.name for each in entry_points(group="mlflow.tracking_store")}
    return {"databricks", "databricks-uc", "uc"} | plugins
