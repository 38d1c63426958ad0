"""Explains the errors of MLflow and its transports, each in one sentence with what to do.

A wrong setting is an InputError, which nobody need try again. A server that is away, or fails, is
ServerAway: the same command may work later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from monge.credentials import hidden
from monge.errors import (
    InputError,
    MissingExtra,
    MongeError,
    ServerAway,
    ServiceError,
    StorageError,
)
from monge.tracking import address

_THEIRS = (
    "mlflow", "sqlalchemy", "requests", "urllib3", "botocore", "boto3", "psycopg2", "google",
    "azure", "pymysql",
)  # fmt: skip
_STATUS = re.compile(
    r"failed with error code (\d{3})|too many (\d{3}) error|\b(\d{3}) (?:Client|Server) Error"
)
_MOST_CHARACTERS = 300

_CREDENTIALS = (
    "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN)."
)
_LATER = "Start or check it, then run the same command again."

# What a reason contains, the error that it is, and what is said; the first that fits is taken.
_Kind = tuple[str, type[MongeError], str]
_NETWORK: tuple[_Kind, ...] = (
    ("WRONG_VERSION_NUMBER|wrong version number|packet length too long|record layer failure",
     InputError, "does not speak TLS there. Write http:// in its address, or its port for TLS."),
    ("CERTIFICATE_VERIFY_FAILED|certificate verify failed|Hostname mismatch", InputError,
     "shows a certificate that is not trusted here. Name its authority's file in "
     "REQUESTS_CA_BUNDLE, or write the host name that it was made for."),
    ("SSLError|SSL: |EOF occurred in violation", InputError,
     "does not agree about TLS. Check the address, http:// or https://, and the proxy before it."),
    ("Name or service not known|nodename nor servname|No address associated|could not translate "
     "host name", InputError, "has a host name that cannot be found. Check its spelling."),
    ("Temporary failure in name resolution|NameResolutionError", ServerAway,
     "has a host name that cannot be looked up now. Check the address and this machine's network."),
    ("Connection refused|actively refused", ServerAway,
     f"does not answer: nothing listens there. {_LATER}"),
    ("timed out|ConnectTimeout|ReadTimeout", ServerAway, f"does not answer in time. {_LATER}"),
    ("No route to host|Network is unreachable", ServerAway,
     "cannot be reached from here. Check the network, then run the same command again."),
    ("Connection reset|Connection aborted|RemoteDisconnected|IncompleteRead|server closed the "
     "connection", ServerAway, f"broke off in the middle. {_LATER}"),
)  # fmt: skip
_STORE: tuple[_Kind, ...] = (
    ("SignatureDoesNotMatch|InvalidAccessKeyId|InvalidToken|ExpiredToken|InvalidClientTokenId",
     InputError, "its store of files refuses the key. Check AWS_ACCESS_KEY_ID and "
     "AWS_SECRET_ACCESS_KEY."),
    ("NoCredentialsError|Unable to locate credentials|PartialCredentials", InputError,
     "its store of files needs a key. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."),
    ("AccessDenied|AllAccessDisabled", InputError,
     "its store of files does not allow that with this key. Ask for the right to read and write "
     "there, or check AWS_ACCESS_KEY_ID."),
    ("NoSuchBucket", InputError, "its store of files has no such bucket. Make it, or correct the "
     "address of the artifacts."),
    ("EndpointConnectionError|Could not connect to the endpoint|ConnectionClosedError", ServerAway,
     "its store of files does not answer. Start or check it (MLFLOW_S3_ENDPOINT_URL)."),
)  # fmt: skip
_DATABASE: tuple[_Kind, ...] = (
    ("database or disk is full|disk I/O error|[Nn]o space left on|could not extend file",
     StorageError, "cannot be written: its disk is full, or fails. Free space there, then run the "
     "same command again."),
    ("password authentication failed|no password supplied|Access denied for user", InputError,
     "refuses this user and password. Correct them in the address."),
    ('database "[^"]*" does not exist|Unknown database', InputError,
     "has no such database. Make it (createdb), or correct its name in the address."),
    ("out-of-date database schema", InputError,
     "was made by another version of MLflow. Save a copy, then: mlflow db upgrade ADDRESS"),
    ("file is not a database|unable to open database|malformed", InputError,
     "cannot be used as a database. Correct the address, or bring the file back."),
    ("readonly database|read-only", InputError, "may not be written to. Allow writing there."),
)  # fmt: skip


@contextmanager
def answering(root: Path) -> Iterator[None]:
    """Turn what MLflow and its transports raise into an error of ours, of one sentence."""
    try:
        yield
    except MongeError:
        raise
    except Exception as error:
        told = explained(error, root)
        if told is None:
            raise
        raise told from error


def in_passing(error: Exception, root: Path) -> str:
    """Return what an error means in a line, for who goes on without MLflow."""
    told = str(explained(error, root) or f"{type(error).__name__}: {error}")
    return hidden(" ".join(told.removesuffix(_LATER).split())).rstrip(" .")


def explained(error: Exception, root: Path) -> MongeError | None:
    """Return what an error means, or None for one that is not of MLflow or its transports."""
    if isinstance(error, MongeError):
        return error
    chain = list(_chain(error))
    missing = next((each for each in chain if isinstance(each, ImportError)), None)
    if missing is not None:
        return _missing(missing, root)
    theirs = any(type(each).__module__.partition(".")[0] in _THEIRS for each in chain)
    if not (theirs or isinstance(error, OSError)):
        return None
    reason = " ".join(" ".join(f"{type(each).__name__}: {each}".split()) for each in chain)
    where = address.shown(root)
    for meaning in (_by_status, _by_words):
        found = meaning(reason, where)
        if found is not None:
            return found
    short = " ".join(str(error).split())
    if len(short) > _MOST_CHARACTERS:
        short = short[:_MOST_CHARACTERS].rpartition(" ")[0] + " ..."
    return ServiceError(f"{where} failed: {short.rstrip('.')}. {_LATER}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was made of, the outermost first."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]


def _missing(error: ImportError, root: Path) -> MissingExtra:
    name = (error.name or "").partition(".")[0]
    if name in ("boto3", "botocore", "psycopg2") or "boto3" in str(error):
        return MissingExtra(
            f"{address.shown(root)}: needs the package {name or 'boto3'}: "
            "pip install 'monge[servers]'."
        )
    return MissingExtra(f"The registry needs MLflow ({error}): pip install 'monge[pipeline]'.")


def _by_status(reason: str, where: str) -> MongeError | None:
    """Explain by the HTTP status that a server, or a proxy before it, answered with."""
    found = _STATUS.search(reason)
    if found is None:
        if "not in a valid JSON format" in reason:
            return _no_mlflow(where, "a page")
        return None
    status = int(next(group for group in found.groups() if group))
    if status >= 500:
        return _failed(status, reason, where)
    meaning = _STATUSES.get(status)
    return None if meaning is None else meaning(where)


def _failed(status: int, reason: str, where: str) -> MongeError:
    if "mlflow-artifacts" in reason:
        return ServerAway(
            f"{where}: the server cannot reach its own store of files ({status}): a wrong key, a "
            "bucket that is not there, or a full disk. Its log says which."
        )
    proxy = " or the proxy before it" if status in (502, 503, 504) else ""
    return ServerAway(f"{where}: the server{proxy} failed ({status}). Look into its log. {_LATER}")


def _no_mlflow(where: str, what: str) -> MongeError:
    return InputError(
        f"{where} answers with {what}, not as MLflow does: another server, or a wrong path. Write "
        "the address at which a browser shows MLflow's page, without what follows #."
    )


_STATUSES: dict[int, Callable[[str], MongeError]] = {
    400: lambda where: InputError(
        f"{where} does not understand the request (400): write https:// where it speaks TLS, and "
        "check the proxy before it."
    ),
    401: lambda where: InputError(
        f"{where} does not take this user and password (401). {_CREDENTIALS}"
    ),
    403: lambda where: InputError(
        f"{where} does not allow this user to do that (403). {_CREDENTIALS} Or ask for the right; "
        "MLflow's own server names hosts that it answers in --allowed-hosts."
    ),
    404: lambda where: _no_mlflow(where, "404"),
    405: lambda where: _no_mlflow(where, "405"),
    407: lambda where: InputError(
        f"the proxy on the way to {where} asks for a user and password (407). Set them in "
        "HTTPS_PROXY, or name the host in NO_PROXY."
    ),
    413: lambda where: InputError(
        f"{where}: a proxy before the server refuses what is sent as too large (413). Raise its "
        "limit (nginx: client_max_body_size 0;)."
    ),
    429: lambda where: ServerAway(f"{where} asks for fewer requests (429). Try again later."),
}


def _by_words(reason: str, where: str) -> MongeError | None:
    """Explain by what the transport, the store of files or the database said."""
    for kinds in (_STORE, _DATABASE, _NETWORK):
        for words, error, said in kinds:
            if re.search(words, reason):
                return error(f"{where}{':' if said.startswith('its ') else ''} {said}")
    return None
