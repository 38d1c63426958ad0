"""Versions of a generator in the MLflow registry: put in, named by aliases, fetched by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from monge import signatures
from monge.errors import InputError, ModelFileError
from monge.files import locked, sha256, write_whole
from monge.operators import check_operators
from monge.paths import Paths
from monge.products import home
from monge.registry.lock import SUFFIX, turn
from monge.registry.logged_model import MODEL_FILE, log_model
from monge.registry.stored import Stored
from monge.tracking import address, mlflow_store
from monge.tracking.answers import answering

HASH_TAG = "monge.sha256"
EXPERIMENT = "monge"
ENCODER_FILE, ENCODER_TAG = "encoder.onnx", "monge.encoder"
"""The encoder's name beside the generator file, and the tag that has its SHA-256."""

SIGNATURE_TAGS = {MODEL_FILE: "monge.signature", ENCODER_FILE: "monge.encoder_signature"}
SIGNER_TAG = "monge.signed_by"
"""The SHA-256 of each file's signature, and a hash of the key's public half."""

LOCAL_PAGE = "http://127.0.0.1:5000"


@dataclass(frozen=True)
class Version:
    """One registered version; `model_hash` is the SHA-256 of its generator.onnx."""

    name: str
    number: int
    run_id: str | None
    model_hash: str
    tags: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    registered_s: float = 0.0


class Registry:
    """The versions of one name, at the address where the runs are tracked.

    Methods raise ServiceError when the registry does not answer, MissingExtra without MLflow.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        self.state = Paths(root).state
        self.shared = Paths(home(root)).own_state  # what all products of a checkout have in common
        with answering(root):
            self._client = mlflow_store.connect(root)

    def versions(self) -> list[Version]:
        """All whole versions, oldest first; empty when the name is unknown."""
        with answering(self.root):
            found = self._client.search_model_versions(f"name='{self.name}'")
            if not found:
                return []
            named = self._client.get_registered_model(self.name).aliases
        versions = [
            Version(
                self.name,
                int(item.version),
                item.run_id,
                item.tags[HASH_TAG],
                dict(item.tags),
                tuple(sorted(a for a, number in named.items() if int(number) == int(item.version))),
                item.creation_timestamp / 1000.0,
            )
            for item in found
            if HASH_TAG in item.tags
        ]
        return sorted(versions, key=lambda version: version.number)

    def names(self) -> list[str]:
        """Every registered name."""
        with answering(self.root):
            found = [item.name for item in self._client.search_registered_models()]
        return sorted(name for name in found if not name.endswith(SUFFIX))

    def aliased(self, alias: str) -> Version | None:
        """The version that an alias points to."""
        return next((item for item in self.versions() if alias in item.aliases), None)

    def find(self, which: str) -> Version:
        """The version of a number or an alias. Raises InputError with those there are."""
        for version in self.versions():
            if which in (str(version.number), *version.aliases):
                return version
        raise InputError(f"{self.name}: no version or alias {which!r}; {self.what_exists()}.")

    def what_exists(self) -> str:
        """The versions that there are, or the names where this one is unknown, for a sentence."""
        lines = [
            f"{version.number}{''.join(f' @{alias}' for alias in version.aliases)}"
            for version in self.versions()
        ]
        if lines:
            return f"{self.name} has version {', '.join(lines)}"
        names = self.names()
        return f"it has {', '.join(names)}" if names else "it is empty"

    def champion(self) -> Version | None:
        """The version that applications are to use."""
        return self.aliased("champion")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Be the only one who moves aliases: on this machine, and on a server's other clients."""
        with locked(self.shared / "promote.lock"):
            if not address.is_server(self.root):
                yield
                return
            with answering(self.root), turn(self._client, self.name):
                yield

    def register(
        self,
        model: Path,
        *,
        run_key: str,
        tags: Mapping[str, str],
        experiment: str = EXPERIMENT,
        beside: Mapping[str, bytes] | None = None,
    ) -> Version:
        """Log the file into the training's run and register it; the same file only once.

        One whose stored copy is gone or damaged is registered anew.
        `beside` are files that are kept with it: its card, what brings it back.
        Raises ModelFileError when the file is missing, or holds what no generator file may.
        """
        model_hash = _sha256(model)
        check_operators(model.read_bytes(), model)
        with locked(self.shared / "registry.lock"):
            same = [v for v in self.versions() if v.model_hash == model_hash]
            known = next((v for v in reversed(same) if self.has_stored(v)), None)
            if known is not None:
                return known
            with answering(self.root):
                number = self._register(model, model_hash, run_key, tags, experiment, beside or {})
        return next(item for item in self.versions() if item.number == number)

    def _register(
        self,
        model: Path,
        model_hash: str,
        run_key: str,
        tags: Mapping[str, str],
        experiment: str,
        beside: Mapping[str, bytes],
    ) -> int:
        from mlflow.exceptions import MlflowException

        client = self._client
        run_id = mlflow_store.find_or_create_run(client, self.root, self.state, run_key, experiment)
        source, model_id = log_model(client, run_id, model, beside)
        try:
            client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # The tags go in with the version, in one transaction: a version has its hash or is not.
        version = client.create_model_version(
            self.name,
            source,
            run_id,
            tags={**_texts(tags), HASH_TAG: model_hash},
            model_id=model_id,
            await_creation_for=60,
        )
        return int(version.version)

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version: those that the registry does not have so already.

        Setting one takes MLflow as long as reading all, and a chain with nothing to do sets thirty.
        """
        number = str(version.number)
        with answering(self.root):
            known = self._client.get_model_version(self.name, number).tags
            for name, text in _texts(tags).items():
                if known.get(name) != text:
                    self._client.set_model_version_tag(self.name, number, name, text)

    def describe(self, version: Version, text: str) -> None:
        """Set a version's description, in Markdown; cut where the registry would refuse it."""
        with answering(self.root):
            self._client.update_model_version(
                self.name, str(version.number), text[: mlflow_store.MOST_CHARACTERS]
            )

    def set_alias(self, alias: str, version: Version) -> None:
        """Point an alias to a version; it leaves the version that it pointed to."""
        with answering(self.root):
            self._client.set_registered_model_alias(self.name, alias, str(version.number))

    def run_page(self, version: Version) -> str:
        """Give the address of the version's run; `make mlflow` serves a database's pages."""
        with answering(self.root):
            info = self._client.get_run(version.run_id).info
        server = address.shown(self.root) if address.is_server(self.root) else LOCAL_PAGE
        return f"{server.rstrip('/')}/#/experiments/{info.experiment_id}/runs/{info.run_id}"

    def fetch(self, version: Version) -> Path:
        """The version's generator.onnx on this disk, cached by its hash.

        Raises ModelFileError when the registry's bytes are not those that were registered.
        """
        return self._fetched(version, MODEL_FILE, version.model_hash)

    def fetch_encoder(self, version: Version) -> Path | None:
        """The version's encoder.onnx on this disk, likewise; None where it was registered without.

        Raises ModelFileError as `fetch` does.
        """
        digest = version.tags.get(ENCODER_TAG)
        return self._fetched(version, ENCODER_FILE, digest) if digest else None

    def _fetched(self, version: Version, name: str, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ModelFileError(
                f"models:/{self.name}/{version.number}: the tag with the SHA-256 of its {name} is "
                "damaged. Register the model again."
            )
        cached = self.shared / "models" / f"{digest}.onnx"
        self._cache(version, name, digest, cached)
        signature = version.tags.get(SIGNATURE_TAGS[name])
        if signature and signatures.is_required():
            beside = cached.with_name(cached.name + signatures.ENDING)
            self._cache(version, name + signatures.ENDING, signature, beside)
        return cached

    def _cache(self, version: Version, name: str, digest: str, cached: Path) -> None:
        if not (cached.exists() and _sha256(cached) == digest):
            write_whole(cached, self._stored(version).read(name, digest))

    def sign(self, version: Version, found: Mapping[str, bytes]) -> Version:
        """Keep signatures beside a version's files, by the names of these, and say whose they are.

        One that is signed by the same key already stays as it is. Raises what `register` raises.
        """
        by = signatures.signer(found[MODEL_FILE])
        if version.tags.get(SIGNER_TAG) == by:
            return version
        for name, data in found.items():
            self._stored(version).add(name + signatures.ENDING, data)
        digests = {
            SIGNATURE_TAGS[name]: hashlib.sha256(data).hexdigest() for name, data in found.items()
        }
        self.set_tags(version, {**digests, SIGNER_TAG: by})
        return self.find(str(version.number))

    def has_stored(self, version: Version) -> bool:
        """Tell whether the version's own file is where the registry keeps it, to the byte."""
        try:
            self._stored(version).read(MODEL_FILE, version.model_hash)
        except ModelFileError:
            return False
        return True

    def fetch_beside(self, version: Version, name: str, folder: Path) -> Path:
        """Copy a folder that was kept beside a version's file to `folder`, replacing that.

        Raises InputError when none was kept.
        """
        return self._stored(version).copy_folder(name, folder)

    def _stored(self, version: Version) -> Stored:
        with answering(self.root):
            where = self._client.get_model_version_download_uri(self.name, str(version.number))
        return Stored(self.root, f"models:/{self.name}/{version.number}", where)


def _sha256(path: Path) -> str:
    try:
        return sha256(path)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file. Run monge export first.") from None


def _texts(tags: Mapping[str, str]) -> dict[str, str]:
    return {
        mlflow_store.plain(name): str(value)[: mlflow_store.MOST_CHARACTERS]
        for name, value in tags.items()
    }
