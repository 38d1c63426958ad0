"""Protects: with a key required, nothing is drawn from that the key's owner has not signed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec

from monge import signatures
from monge.errors import InputError, ModelFileError
from monge.params import PromoteParams
from monge.registry import Registry, fetch, promote
from monge.registry.logged_model import MODEL_FILE
from monge.serving.sampler import Sampler
from tests.running import write

MONGE = Path(sys.executable).with_name("monge")
FRECHET = {"value": 1.0, "noise": 0.1, "better": "lower", "protocol": {"protocol_hash": "p"}}


def key(folder: Path, name: str, password: str = "") -> tuple[Path, Path]:
    """A pair as openssl makes it: private, public."""
    made = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    locked = form.BestAvailableEncryption(password.encode()) if password else form.NoEncryption()
    private.write_bytes(made.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, locked))
    public.write_bytes(
        made.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A pair of keys; the setting is as it was afterwards."""
    monkeypatch.setenv(signatures.VERIFY_KEY, "")
    return key(tmp_path, "mine")


def signed(model: Path, private: Path) -> Path:
    beside = model.with_name(f"{model.name}.sig")
    beside.write_bytes(signatures.sign(model.read_bytes(), private))
    return beside


def test_a_file_is_opened_with_its_signature_and_refused_without_a_right_one(
    mine: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = mine
    model = write(tmp_path / "generator.onnx", seed=1)
    Sampler.load(model)  # nobody asked for a signature
    signatures.require(public)
    with pytest.raises(ModelFileError, match=r"is not signed, and --verify asks for"):
        Sampler.load(model)
    beside = signed(model, private)
    assert Sampler.load(model).sample(1).shape[0] == 1

    whole = model.read_bytes()
    write(model, seed=2)
    with pytest.raises(ModelFileError, match="is not the file that was signed"):
        Sampler.load(model)
    model.write_bytes(whole)
    signatures.require(key(tmp_path, "other")[1])
    with pytest.raises(ModelFileError, match=r"is signed by another key than .*other\.pub"):
        Sampler.load(model)
    signatures.require(public)
    for damaged in (b"", b"{}", beside.read_bytes()[:-9], beside.read_bytes().replace(b"A", b"B")):
        beside.write_bytes(damaged)
        with pytest.raises(ModelFileError, match="does not hold|another key") as refused:
            Sampler.load(model)
        assert "\n" not in str(refused.value)


def test_a_key_that_is_none_is_told_as_what_it_is(
    mine: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = mine
    with pytest.raises(InputError, match="not a private key that can be used"):
        signatures.sign(b"x", public)
    with pytest.raises(InputError, match="no such key file"):
        signatures.sign(b"x", tmp_path / "absent")
    with pytest.raises(InputError, match="no such key file"):
        signatures.require(tmp_path / "absent")
    locked, _ = key(tmp_path, "locked", "hush")
    with pytest.raises(InputError, match="MONGE_SIGNING_PASSWORD"):
        signatures.sign(b"x", locked)
    monkeypatch.setenv("MONGE_SIGNING_PASSWORD", "hush")
    assert signatures.signer(signatures.sign(b"x", locked))
    monkeypatch.delenv("MONGE_SIGNING_PASSWORD")
    model = write(tmp_path / "generator.onnx", seed=1)
    signed(model, private)
    signatures.require(private)
    with pytest.raises(InputError, match="not a public key"):
        Sampler.load(model)


def test_a_promoted_model_has_its_signature_in_the_registry_and_a_tool_of_others_takes_it(
    mine: tuple[Path, Path], project: Path, tmp_path: Path
) -> None:
    private, public = mine
    model, registry = write(tmp_path / "generator.onnx", seed=1), Registry(project, "x")

    def promoted(with_key: Path | None) -> int:
        signed = {MODEL_FILE: signatures.sign(model.read_bytes(), with_key)} if with_key else {}
        done = promote(
            registry, model, {"frechet": FRECHET}, PromoteParams(name="x"), run_key="k", tags={},
            rejudge=lambda _: {}, signed=signed,
        )  # fmt: skip
        return done.version.number

    assert promoted(None) == 1
    signatures.require(public)
    with pytest.raises(ModelFileError, match="is not signed"):
        Sampler.load(fetch("models:/x@champion", project))
    assert promoted(private) == 1  # the version that is there is signed
    first = registry.find("1").tags["monge.signature"]
    assert promoted(private) == 1
    assert registry.find("1").tags["monge.signature"] == first
    path = fetch("models:/x@champion", project)
    assert Sampler.load(path).sample(1).shape[0] == 1

    beside = registry._stored(registry.find("1"))
    for name, digest in ((MODEL_FILE, path.stem), (f"{MODEL_FILE}.sig", first)):
        (tmp_path / name).write_bytes(beside.read(name, digest))
    checked = subprocess.run(
        [
            MONGE.with_name("model_signing"), "verify", "key", tmp_path / MODEL_FILE,
            "--signature", tmp_path / f"{MODEL_FILE}.sig", "--public_key", public,
        ], capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_sample_and_serve_refuse_what_is_not_signed(
    mine: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = mine
    model = write(tmp_path / "generator.onnx", seed=1)
    for command in (f"sample {model} -o {tmp_path}/x.png", f"serve {model} --port 0"):
        done = subprocess.run(
            [MONGE, *command.split(), "--verify", public],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 2
        assert "is not signed, and --verify asks for a signature" in done.stderr
    signed(model, private)
    drawn = [
        str(MONGE),
        "sample",
        str(model),
        "-o",
        str(tmp_path / "x.png"),
        "--verify",
        str(public),
    ]
    assert subprocess.run(drawn).returncode == 0
