"""The contract: what a generator file says about itself, as JSON in its metadata."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from monge import __version__
from monge.errors import ModelFileError
from monge.labels import MAX_LABELS
from monge.latents import DISTRIBUTION, MAX_DIM

METADATA_KEY = "monge.contract"
FORMAT_VERSION = 3
_SINCE: dict[str, tuple[int, Any]] = {
    "label_shares": (2, []),
    "code": (3, None),
    "export_parameters": (3, {}),
    "export_revision": (3, None),
}
"""Keys that came with a later version, and what a file of an earlier one means."""

WEIGHTS = ("averaged", "raw")
MAX_SIDE = 4096
MAX_CHARACTERS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Input, output and origin of a generator file; one that exists is valid.

    `image_shape` is (height, width, channels) in pixels; `parameters` is the train section and
    `export_parameters` the export section; `git_revision` is the training's and `export_revision`
    the exporting code's where it is another, each with "+changed" behind it where the files were
    not those of the commit; `code` is the digest of the code that decided the weights;
    `label_shares` has the share of each label among the training images, and is empty for a
    generator that takes none.
    Raises ModelFileError when a field is out of its range.
    """

    latent_dim: int
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...] = ()
    label_shares: tuple[float, ...] = ()
    dataset_hash: str | None = None
    git_revision: str | None = None
    export_revision: str | None = None
    code: str | None = None
    run: str | None = None
    step: int = 0
    weights: str = "averaged"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    export_parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    latent_distribution: str = DISTRIBUTION
    value_range: tuple[int, int] = (0, 255)
    monge_version: str = __version__
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for name in ("image_shape", "value_range", "classes", "label_shares"):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)):
                _refuse(f"{name} must be a list, got {value!r}")
            object.__setattr__(self, name, tuple(value))
        for problem, wrong in _checks(self):
            if wrong:
                _refuse(problem)

    def to_json(self) -> str:
        """Write the contract as JSON: the same text for the same contract."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Read and check a contract. Raises ModelFileError in one line."""
        if len(text) > MAX_CHARACTERS:
            _refuse(f"{len(text)} characters long, more than {MAX_CHARACTERS}")
        try:
            document = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            _refuse(f"not JSON that can be read ({type(error).__name__})")
        if not isinstance(document, dict):
            _refuse(f"must be a mapping, got {type(document).__name__}")
        version: Any = document.get("format_version")
        if not _whole(version, 1, 2**31):
            _refuse(f"format_version must be a whole number from 1 on, got {_short(version)}")
        if version > FORMAT_VERSION:
            raise ModelFileError(
                f"the generator file has contract version {version}, this monge ({__version__}) "
                f"reads up to {FORMAT_VERSION}: upgrade monge, or export the file again with this."
            )
        since = {name: start for name, (start, _) in _SINCE.items() if start > version}
        known = {item.name for item in dataclasses.fields(cls)} - set(since)
        for kind, names in (("missing", known - set(document)), ("unknown", set(document) - known)):
            if names:
                _refuse(f"{kind} keys {_short(', '.join(sorted(names)))}")
        document |= {name: _SINCE[name][1] for name in since}
        return cls(**{**document, "format_version": FORMAT_VERSION})

    @property
    def conditional(self) -> bool:
        """Tell whether the generator takes labels."""
        return bool(self.label_shares)


def _checks(contract: Contract) -> list[tuple[str, bool]]:
    """List, for each field, what must hold and whether it is broken."""
    c = contract
    shape_holds = (
        len(c.image_shape) == 3
        and all(_whole(side, 1, MAX_SIDE) for side in c.image_shape)
        and c.image_shape[2] in (1, 3, 4)
    )
    return [
        (
            f"format_version must be {FORMAT_VERSION}, got {_short(c.format_version)}",
            c.format_version != FORMAT_VERSION,
        ),
        (
            f"latent_dim must be a whole number from 1 to {MAX_DIM}, got {_short(c.latent_dim)}",
            not _whole(c.latent_dim, 1, MAX_DIM),
        ),
        (
            f'latent_distribution must be "{DISTRIBUTION}", got {_short(c.latent_distribution)}',
            c.latent_distribution != DISTRIBUTION,
        ),
        (
            f"image_shape must be [height, width, 1, 3 or 4] with sides from 1 to {MAX_SIDE}, "
            f"got {_short(c.image_shape)}",
            not shape_holds,
        ),
        (
            f"value_range must be [0, 255], got {_short(c.value_range)}",
            c.value_range != (0, 255),
        ),
        ("classes must be a list of names", not all(isinstance(name, str) for name in c.classes)),
        (
            f"label_shares must be numbers from 0 to 1 that add up to 1, one for each of at most "
            f"{MAX_LABELS} classes, got {_short(c.label_shares)}",
            bool(c.label_shares) and not _shares(c.label_shares, len(c.classes)),
        ),
        (f"weights must be averaged or raw, got {_short(c.weights)}", c.weights not in WEIGHTS),
        (f"step must be a whole number, got {_short(c.step)}", not _whole(c.step, 0, 2**63)),
        ("monge_version must be text", not isinstance(c.monge_version, str)),
        *(
            (f"{name} must be text or null", not isinstance(getattr(c, name), (str, type(None))))
            for name in ("dataset_hash", "git_revision", "export_revision", "code", "run")
        ),
        *(
            (f"{name} must be a mapping", not isinstance(getattr(c, name), Mapping))
            for name in ("parameters", "export_parameters", "metrics")
        ),
    ]


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _shares(values: tuple[Any, ...], classes: int) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return (
        numbers
        and len(values) == classes <= MAX_LABELS
        and min(values) >= 0.0
        and math.isclose(math.fsum(values), 1.0, abs_tol=1e-6)
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _refuse(problem: str) -> NoReturn:
    raise ModelFileError(f"the generator file's contract is broken: {problem}.")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
