"""Latents in a file: those of pictures, with the generator that they are of.

An .npz of `latents` float32 [n, latent_dim], `generator` (the SHA-256 of the generator file),
`names` [n] and, of a conditional generator, `labels` int64 [n]. Latents mean nothing to another
generator, even one of the same training an hour later: it refuses them.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monge.errors import InputError

MAX_BYTES = 1 << 30
_KNOWN = {"latents", "generator", "names", "labels", "distances"}


@dataclass(frozen=True)
class LatentsFile:
    """The content of one: a row for each picture; `distances` where they were searched for."""

    latents: NDArray[np.float32]
    generator: str
    names: tuple[str, ...]
    labels: NDArray[np.int64] | None = None
    distances: NDArray[np.float64] | None = None

    def to_bytes(self) -> bytes:
        """The file's bytes; no pickle is in it."""
        arrays = {
            "latents": self.latents, "generator": np.array(self.generator),
            "names": np.array(self.names, dtype=np.str_), "labels": self.labels,
            "distances": self.distances,
        }  # fmt: skip
        data = io.BytesIO()
        there = {name: array for name, array in arrays.items() if array is not None}
        np.savez(data, allow_pickle=False, **there)
        return data.getvalue()

    @classmethod
    def read(cls, path: Path) -> LatentsFile:
        """Read and check one. Raises InputError in one line."""
        try:
            _bounded(path)
            with np.load(path, allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            made = cls(
                np.ascontiguousarray(arrays["latents"], np.float32),
                str(arrays["generator"]),
                tuple(map(str, arrays["names"])),
                arrays.get("labels"),
                arrays.get("distances"),
            )
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from None
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{path}: no file of latents ({reason}). `monge encode` writes one."
            ) from None
        if made.latents.ndim != 2 or len(made.names) != len(made.latents):
            raise InputError(f"{path}: no file of latents: one row and one name for each picture.")
        return made

    def refuse_other(self, path: Path, model_hash: str) -> None:
        """Raise InputError unless these are latents of the generator with this hash."""
        if self.generator != model_hash:
            raise InputError(
                f"{path}: latents of the generator {self.generator[:12]}..., which mean nothing to "
                f"this one, {model_hash[:12]}.... Encode the pictures with its own encoder."
            )


def _bounded(path: Path) -> None:
    """Raise ValueError for members of other names, or larger than a file of latents is."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    names = {member.filename.removesuffix(".npy") for member in members}
    if not names <= _KNOWN or len(names) != len(members):
        raise ValueError(f"holds {', '.join(sorted(names))[:60]}")
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
