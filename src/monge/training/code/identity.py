"""Identifies the code of a training by what the definitions that decide its bits do.

From `loop.train` on every definition that is referred to is read and brought to a normal form
(code_form), in which nothing is left of its name, its place and its words. Numbered in the order
in which they are first referred to, they give one digest: the same for two programs that differ
by names, places and words, and another for any other two. docs/decisions/0022 defends it.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import monge
from monge.training.code.form import Form, Reference, Token, form
from monge.training.code.sources import PACKAGE, TOP_LEVEL, Definition, Sources

if TYPE_CHECKING:
    from monge.params import TrainParams

VERSION = 1
"""The version of the rules in these files: identities of two versions cannot be compared."""

TRAINING = (
    "monge.training.loop.train",
    "monge.training.context.Training",
    "monge.data.packed.PackedDataset",
)
"""The beginnings of a training's code: its loop, and what is handed to it."""

NETWORKS = ("monge.nets.build", "monge.nets.virtual.at_rest")

LOOKING = frozenset({
    # What is told, and where it is kept.
    "monge.tracking", "monge.files", "monge.durations",
    "monge.training.watch.journal", "monge.training.watch.diagnosis",
    "monge.training.watch.nearness", "monge.training.checkpoints.checkpoint",
    "monge.training.checkpoints.writer", "monge.training.checkpoints.record",
    # Parameters: their values are in the fingerprint.
    "monge.params", "monge.training.checkpoints.fingerprint",
    # What a method says of its trainings.
    "monge.objectives.watch_of", "monge.objectives.WATCHES", "monge.objectives.watch",
    "monge.objectives.wasserstein_watch", "monge.objectives.adversarial_watch",
    "monge.objectives.autoencoder_watch",
    # When to stop, and how much memory is free: resident and streamed images are the same.
    "monge.training.machine.interrupt", "monge.data.budget",
    "monge.training.machine.processor.keep_freed_memory",
    # The refusals, which end a training or let it be.
    "monge.training.checkpoints.resume.refuse_other",
    "monge.training.checkpoints.fine_tuning.mismatches", "monge.sizes.refusal",
    # The identity itself.
    "monge.training.code",
})  # fmt: skip
"""Modules and definitions that decide neither the weights nor which of them are the best."""

UNKNOWN = "how its parts call each other"


@dataclass(frozen=True)
class CodeIdentity:
    """A digest of all the code, and of each definition a hash of what it does by itself."""

    digest: str
    parts: dict[str, str]
    version: int = VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return {"version": self.version, "digest": self.digest, "parts": dict(self.parts)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CodeIdentity:
        """Read what `to_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        parts = {str(name): str(part) for name, part in document["parts"].items()}
        return cls(str(document["digest"]), parts, int(document["version"]))


def code_identity(
    train: TrainParams, root: Path | None = None, *, again: bool = False
) -> CodeIdentity:
    """The code that decides the bits of a training with these parameters.

    `root` is the package's folder, by default the one that is running. The files are read once a
    process: what they were when it was first asked is what it keeps to, unless asked `again`.
    Raises OSError or SyntaxError for a file that cannot be read.
    """
    tables = (("monge.nets.FAMILIES", (train.net,)),
              ("monge.objectives.METHODS", (train.objective,)))  # fmt: skip
    return _read(TRAINING, tables, root or Path(monge.__file__).parent, again=again)


def nets_identity(
    train: TrainParams, root: Path | None = None, *, again: bool = False
) -> CodeIdentity:
    """The code that makes the generator out of weights: what the export of a checkpoint rests on.

    Otherwise as `code_identity`.
    """
    tables = (("monge.nets.FAMILIES", (train.net, "generator")),)
    return _read(NETWORKS, tables, root or Path(monge.__file__).parent, again=again)


def changed(before: CodeIdentity, now: CodeIdentity) -> list[str]:
    """The definitions that are not what they were, by name; none for equal digests.

    One that has another name or place and does the same is not among them.
    """
    if before.version != now.version:
        return [f"how code is identified (version {before.version}, now {now.version})"]
    if before.digest == now.digest:
        return []
    gone = before.parts.keys() - now.parts.keys()
    new = now.parts.keys() - before.parts.keys()
    moved = Counter(before.parts[name] for name in gone) & Counter(now.parts[n] for n in new)
    other = {name for name in before.parts.keys() & now.parts.keys()
             if before.parts[name] != now.parts[name]}  # fmt: skip
    other |= set(_without(moved, new, now.parts))
    return sorted(other) or sorted(_without(moved, gone, before.parts)) or [UNKNOWN]


def _without(moved: Counter[str], names: Iterable[str], parts: Mapping[str, str]) -> list[str]:
    """The names whose parts have no counterpart under another name."""
    left, found = moved.copy(), []
    for name in sorted(names):
        if left[parts[name]] > 0:
            left[parts[name]] -= 1
        else:
            found.append(name)
    return found


Tables = tuple[tuple[str, tuple[str, ...]], ...]


def _read(roots: Sequence[str], tables: Tables, root: Path, *, again: bool) -> CodeIdentity:
    key = (tuple(roots), tables, root)
    return _identity(*key) if again else _known(*key)


def _identity(roots: tuple[str, ...], tables: Tables, root: Path) -> CodeIdentity:
    forms = reached(Sources(root, LOOKING, dict(tables)), roots)
    named = {word for each in forms.values() for word in each.words}
    parts = {
        path.removeprefix(f"{PACKAGE}."): _part(path, each, named) for path, each in forms.items()
    }
    return CodeIdentity(_digest(forms, named), parts)


_known = functools.lru_cache(_identity)


def reached(sources: Sources, roots: Sequence[str]) -> dict[str, Form]:
    """The definitions that the roots refer to, by path, in the order of the first reference.

    After them what the modules do when they are imported.
    """
    lost = [path for path in roots if not sources.statements(path)]
    if lost:
        raise ValueError(f"{', '.join(lost)}: not there, where a training's code begins")
    forms: dict[str, Form] = {}
    _follow(roots, forms, sources)
    modules = [path.rpartition(".")[0] for path in roots]
    apart = [path for name in sources.closure(modules) for path in _at_import(sources, name)]
    order = {path.rpartition(".")[0]: place for place, path in reversed([*enumerate(forms)])}
    alone = {path: _part(path, form(sources, path), set()) for path in apart}
    apart.sort(key=lambda path: (order.get(path.rpartition(".")[0], len(order)), alone[path]))
    _follow(apart, forms, sources)
    return forms


def _follow(roots: Sequence[str], forms: dict[str, Form], sources: Sources) -> None:
    waiting = deque(roots)
    while waiting:
        path = waiting.popleft()
        if path in forms:
            continue
        forms[path] = form(sources, path)
        for token in forms[path].tokens:
            if isinstance(token, Reference) and not token.looking:
                waiting.append(token.path)


def _at_import(sources: Sources, name: str) -> list[str]:
    """List what importing a module does beside defining: statements, the package's decorators."""
    module = sources.known(name)
    found = [f"{name}.{TOP_LEVEL}"] if TOP_LEVEL in module.definitions else []
    for defined, statements in module.definitions.items():
        decorators = [
            decorator for statement in statements if isinstance(statement, Definition)
            for decorator in statement.decorator_list
        ]  # fmt: skip
        if any(sources.means(name, decorator).kind == "definition" for decorator in decorators):
            found.append(f"{name}.{defined}")
    return found


def _part(path: str, each: Form, named: set[str]) -> str:
    """A hash of a definition by itself: what it refers to is left out."""
    places = {path: "itself"}
    return _hash(_line(token, places, named) for token in each.tokens)[:16]


def _digest(forms: Mapping[str, Form], named: set[str]) -> str:
    """Hash all forms, with a number for each definition."""
    places = {path: f"definition {place}" for place, path in enumerate(forms)}
    for token in (token for each in forms.values() for token in each.tokens):
        if isinstance(token, Reference):
            places.setdefault(token.path, f"definition {len(places)}")
    return _hash(
        line
        for each in forms.values()
        for line in ("DEFINITION", *(_line(token, places, named) for token in each.tokens))
    )


def _line(token: Token, places: Mapping[str, str], named: set[str]) -> str:
    """A token in one line; a new line within a text is escaped in it."""
    if isinstance(token, str):
        return token
    if isinstance(token, Reference):
        return places.get(token.path, "another definition")
    return f"named {token.name}" if token.name in named else "named somehow"


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()
