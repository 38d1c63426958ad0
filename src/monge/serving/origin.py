"""Fetches a generator file from this disk, a registry, or a web server. Its bytes are bounded."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from monge import signatures
from monge.credentials import user_and_password, without_user
from monge.errors import MissingExtra, ModelFileError, ServiceError
from monge.operators import MAX_FILE_BYTES

_TIMEOUT_S = 30.0
_PART = 1 << 20


@dataclass(frozen=True)
class Found:
    """A version in a registry; `fetch` brings its file to this disk, and its encoder's if any."""

    name: str
    number: int
    model_hash: str
    fetch: Callable[[], Path]
    fetch_encoder: Callable[[], Path | None]

    def __str__(self) -> str:
        return f"models:/{self.name}/{self.number}"


Origin = str | Path | Found
"""A file, an http(s) address, an address in a registry, or what that pointed to."""


def settled(model: Origin) -> Origin:
    """Ask the registry what `models:/...` points to now, so that it need not be asked again.

    Raises what `look_up` raises.
    """
    if isinstance(model, Found) or not str(model).startswith("models:/"):
        return model
    return look_up(str(model))


def read(model: Origin) -> bytes:
    """The bytes of a file, of `models:/NAME@ALIAS`, or of an http(s) address.

    Raises ModelFileError for what is not there or too large, ServiceError when a server does not
    answer, MissingExtra when a registry is asked without MLflow.
    """
    text = str(model)
    if text.startswith(("http://", "https://")):
        data = _download(text)
        signatures.verify(data, lambda: _downloaded_signature(text), text)
        return data
    model = settled(model)
    path = model.fetch() if isinstance(model, Found) else Path(model)
    data = _read(path)
    signatures.verify(data, lambda: _signature_beside(path), text)
    return data


def _downloaded_signature(address: str) -> bytes | None:
    place, mark, query = address.partition("?")
    try:
        return _download(f"{place}{signatures.ENDING}{mark}{query}")
    except ModelFileError:
        return None


def _signature_beside(path: Path) -> bytes | None:
    """An encoder's lies outside of its folder, which DVC takes for an output as a whole."""
    beside = path.with_name(path.name + signatures.ENDING)
    for place in (beside, path.parent.with_name(beside.name)):
        if place.is_file():
            return place.read_bytes()
    return None


def look_up(address: str) -> Found:
    """Find what `models:/NAME@ALIAS` or `models:/NAME/NUMBER` points to now.

    Raises InputError when there is none, ServiceError when the registry does not answer,
    MissingExtra without MLflow.
    """
    # A registry is a thing of the pipeline; an application with a file needs nothing of it.
    try:
        from monge.registry.names import resolve

        registry, version = resolve(address)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{address}: a registry address needs the package {error.name}: "
            "pip install 'monge[pipeline]', or give a .onnx file."
        ) from None
    return Found(
        version.name,
        version.number,
        version.model_hash,
        lambda: Path(registry.fetch(version)),
        lambda: registry.fetch_encoder(version),
    )


def called(model: Origin) -> str:
    """Name a generator as a mark does: a version in the registry, or a file by its name alone.

    Folders and the user, password and query of an address are nobody's concern who gets a picture.
    """
    model = settled(model)
    if isinstance(model, Found):
        return str(model)
    name = str(model).partition("?")[0].rpartition("/")[2]
    return "".join(letter if letter.isprintable() else "?" for letter in name)  # XML has no other


def encoder_of(model: Origin) -> Path | None:
    """Find the encoder of a generator: beside a file, or in the registry; None without one.

    An http(s) address has none. Raises what `look_up` raises.
    """
    text = str(model)
    if text.startswith(("http://", "https://")):
        return None
    model = settled(model)
    if isinstance(model, Found):
        return model.fetch_encoder()
    place = Path(model).parent / "encoder" / "encoder.onnx"
    return place if place.is_file() else None


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "no such file"
            raise ModelFileError(
                f"{path}: {what}. Give a generator.onnx (`monge export` writes one) "
                "or models:/NAME@champion."
            )
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _too_large(str(path))
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}.") from None


def _download(address: str) -> bytes:
    import http.client
    import urllib.error  # with what it brings, a tenth of the start of who has a file
    import urllib.request

    asking = urllib.request.Request(without_user(address))
    if both := user_and_password(address):
        told = b64encode(":".join(both).encode()).decode("ascii")
        asking.add_header("Authorization", f"Basic {told}")
    try:
        with urllib.request.urlopen(asking, timeout=_TIMEOUT_S) as answer:
            parts, size = [], 0
            while part := answer.read(_PART):
                size += len(part)
                if size > MAX_FILE_BYTES:
                    raise _too_large(address)
                parts.append(part)
            told = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        error.close()  # it is an answer, with a connection
        if error.code >= 500:
            raise ServiceError(f"{address}: the server failed with {error.code}.") from None
        raise ModelFileError(f"{address}: the server answered {error.code}.") from None
    except http.client.InvalidURL as error:
        raise ModelFileError(f"{address}: not an address: {error}.") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ServiceError(f"{address}: cannot be fetched: {reason}.") from None
    if told is not None and told.isdigit() and int(told) != size:
        raise ServiceError(f"{address}: broke off after {size} of {told} bytes. Try again.")
    return b"".join(parts)


def _too_large(where: str) -> ModelFileError:
    return ModelFileError(f"{where}: larger than 2 GiB, which no generator file is.")
