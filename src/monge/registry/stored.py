"""The files of a version where the registry keeps them: read, checked, and missed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from monge.credentials import bare
from monge.errors import InputError, ModelFileError
from monge.registry.logged_model import MODEL_FILE
from monge.tracking import address
from monge.tracking.answers import answering


@dataclass(frozen=True)
class Stored:
    """The artifacts at the address `where`, of the version that is called `version`."""

    root: Path
    version: str
    where: str

    def read(self, name: str, digest: str) -> bytes:
        """Return a file's bytes, whose SHA-256 is known.

        Raises ModelFileError when it is gone, or not the one that was registered.
        """
        with answering(self.root), tempfile.TemporaryDirectory() as folder:
            try:
                data = self._download(name, Path(folder)).read_bytes()
            except Exception as error:
                if name not in self._names():
                    raise self._gone(name) from error
                raise
        if hashlib.sha256(data).hexdigest() != digest:
            raise ModelFileError(
                f"{self.version}: the registry's file is not the one that was registered (its "
                "SHA-256 differs). Do not use it; register the model again: `monge promote`."
            )
        return data

    def copy_folder(self, name: str, folder: Path) -> Path:
        """Copy a folder to `folder`, replacing that. Raises InputError when there is none."""
        with answering(self.root), tempfile.TemporaryDirectory() as aside:
            there = self._names()
            if name not in there and MODEL_FILE not in there:
                raise self._gone(name)
            if name not in there:
                raise InputError(
                    f"{self.version}: has no {name}; it was registered by an earlier monge, which "
                    "kept none."
                )
            got = self._download(name, Path(aside))
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(got, folder)
        return folder

    def add(self, name: str, data: bytes) -> None:
        """Put a file beside the others, in the place of one of that name."""
        with answering(self.root), tempfile.TemporaryDirectory() as folder:
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            (Path(folder) / name).write_bytes(data)
            store = get_artifact_repository(self.where, tracking_uri=address.given(self.root))
            store.log_artifact(str(Path(folder) / name))

    def _download(self, name: str, folder: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        return Path(
            download_artifacts(
                artifact_uri=f"{self.where}/{name}",
                dst_path=str(folder),
                tracking_uri=address.given(self.root),
            )
        )

    def _names(self) -> list[str]:
        """List what is there. A folder that is gone is empty to some stores, an error to others."""
        from mlflow.artifacts import list_artifacts

        at = address.given(self.root)
        found = list_artifacts(artifact_uri=self.where, tracking_uri=at)
        return [PurePosixPath(item.path).name for item in found]

    def _gone(self, name: str) -> ModelFileError:
        return ModelFileError(
            f"{self.version}: its {name} is gone from {bare(self.where)}. Bring it back there, or "
            "run `monge promote` with the same generator file, which registers it anew."
        )
