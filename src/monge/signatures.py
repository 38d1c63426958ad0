"""Signatures of generator files, as OpenSSF's model-signing makes and checks them.

A file's signature lies beside it, as `generator.onnx.sig`: a Sigstore bundle made with a key of
one's own (an elliptic curve's, in PEM), which model-signing's own command can check as well.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from monge.errors import InputError, MissingExtra, ModelFileError

ENDING = ".sig"
VERIFY_KEY = "MONGE_VERIFY_KEY"
"""The environment variable with the public key that every model must be signed by, if it is set."""

SIGNING_KEY, SIGNING_PASSWORD = "MONGE_SIGNING_KEY", "MONGE_SIGNING_PASSWORD"


def require(key: Path | None) -> None:
    """Open from now on, in this process and its children, only what is signed by a public key."""
    if key is not None:
        _require_file(key, "--verify")
        os.environ[VERIFY_KEY] = str(key.resolve())


def is_required() -> bool:
    """Tell whether models must be signed."""
    return bool(os.environ.get(VERIFY_KEY))


def sign(data: bytes, key: Path) -> bytes:
    """Return the signature of a file's bytes by a private key. Raises InputError, MissingExtra."""
    _require_file(key, "--sign")
    try:
        from model_signing.signing import Config
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    with tempfile.TemporaryDirectory() as folder:
        file, signature = Path(folder) / "model.onnx", Path(folder) / "signature"
        file.write_bytes(data)
        told = os.environ.get(SIGNING_PASSWORD)
        password = told.encode() if told else None  # text, as its type says, it cannot use
        try:
            config = Config().use_elliptic_key_signer(private_key=key, password=password)
            config.sign(file, signature)
        except (ValueError, TypeError) as error:  # no PEM, another kind of key, a wrong password
            reason = " ".join(str(error).split()).partition(" See ")[0]
            raise InputError(
                f"--sign {key}: not a private key that can be used ({reason}). Make one: openssl "
                f"ecparam -name prime256v1 -genkey -noout -out {key.name}; a password goes into "
                f"{SIGNING_PASSWORD}."
            ) from None
        return signature.read_bytes()


def signer(signature: bytes) -> str:
    """Return what a signature says of its key: a hash of the public one, empty if nothing."""
    try:
        return str(json.loads(signature)["verificationMaterial"]["publicKey"]["hint"])
    except (ValueError, KeyError, TypeError):
        return ""


def verify(data: bytes, signature: Callable[[], bytes | None], where: object) -> None:
    """Raise ModelFileError unless the bytes from `where` are signed by the key that is required.

    Without such a key nothing is looked at, and the signature is not asked for. Raises
    InputError for a key that is none, MissingExtra.
    """
    if not is_required():
        return
    key = Path(os.environ[VERIFY_KEY])
    _require_file(key, VERIFY_KEY)
    found = signature()
    if found is None:
        raise ModelFileError(
            f"{where}: is not signed, and --verify asks for a signature ({ENDING} beside it). "
            "Promote it with --sign KEY, or take a model that is signed."
        )
    reason = _refusal(data, found, key)
    if reason is not None:
        raise ModelFileError(f"{where}: {reason}")


def _refusal(data: bytes, signature: bytes, key: Path) -> str | None:
    """Why a signature does not hold; None where it does."""
    try:
        from model_signing.verifying import Config
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    try:
        config = Config().use_elliptic_key_verifier(public_key=key)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split()).partition(" See ")[0]
        raise InputError(
            f"--verify {key}: not a public key ({reason}). Of a private one: openssl ec -in "
            "KEY.pem -pubout -out KEY.pub"
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        file, beside = Path(folder) / "model.onnx", Path(folder) / "signature"
        file.write_bytes(data)
        beside.write_bytes(signature)
        try:
            config.verify(file, beside)
        except Exception as error:  # damage to a bundle comes as many kinds
            told = str(error)
            if told.startswith("Key mismatch"):
                return f"is signed by another key than {key}. Take the signer's, or another model."
            if told.startswith("Signature mismatch"):
                return "is not the file that was signed: it was changed. Do not use it; fetch anew."
            return f"its signature does not hold ({type(error).__name__}). Do not use it."
    return None


def _require_file(key: Path, option: str) -> None:
    if not key.is_file():
        raise InputError(f"{option} {key}: no such key file.")


def _missing(error: ModuleNotFoundError) -> MissingExtra:
    return MissingExtra(f"signatures need the package {error.name}: pip install 'monge[signing]'.")
