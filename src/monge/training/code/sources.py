"""The package's own source files, read and never run: what each module defines and imports."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

PACKAGE = "monge"
TOP_LEVEL = "(top level)"
"""Stands for a module's statements that define nothing, among its definitions."""

WHOLE = "(whole module)"

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Meaning(NamedTuple):
    """The meaning of a dotted name: something in the package or outside, and attributes of it."""

    kind: Literal["definition", "looking", "outside"]
    path: str
    attributes: tuple[str, ...] = ()


@dataclass
class Module:
    """The names that one file binds at its top level, and the package's modules that it imports."""

    name: str
    is_package: bool
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    imported: list[str] = field(default_factory=list)
    _bindings: dict[str, ast.stmt] = field(default_factory=dict)

    def take(self, body: Iterable[ast.stmt]) -> None:
        """Sort the statements of the top level."""
        for statement in body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._bind(statement)
            elif isinstance(statement, Definition):
                self._define(statement.name, statement)
            elif not is_nothing(statement):
                self._take_other(statement)

    def _take_other(self, statement: ast.stmt) -> None:
        """A constant, or something that happens when the module is imported."""
        if isinstance(statement, ast.If) and is_for_types(statement):
            return self.take(statement.orelse)
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._bind(node)
        names = [*stored(statement)]
        for name in names:
            self._define(name, statement)
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        constant = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if not constant and not (targets and all(map(_only_names, targets))):
            self._define(TOP_LEVEL, statement)
        return None

    def _define(self, name: str, statement: ast.stmt) -> None:
        self.definitions.setdefault(name, []).append(statement)

    def _bind(self, statement: ast.Import | ast.ImportFrom) -> None:
        for name, path in bound_by(statement, self):
            if name == "*":
                self.stars.append(path.removesuffix(".*"))
            else:
                before = self.imports.setdefault(name, path)
                if before != path:  # one or the other: what is run decides
                    self._define(name, statement)
                    self._define(name, self._bindings[name])
                self._bindings[name] = statement


class Sources:
    """The modules of the package in the folder `root`; each is read once, when it is needed.

    A name in `looking` (of a module, a package or a definition) is not followed. Of a table in
    `rows` only the row with the given key is there (and of a table in it the row of the next key).
    Raises OSError or SyntaxError when a file cannot be read.
    """

    def __init__(
        self,
        root: Path,
        looking: Iterable[str] = (),
        rows: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.root, self.looking, self.rows = root, frozenset(looking), rows or {}
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """A module by its dotted name; None when there is none."""
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def known(self, name: str) -> Module:
        """A module that is there. Raises FileNotFoundError for one that is not."""
        module = self.module(name)
        if module is None:
            raise FileNotFoundError(f"{name} has no source in {self.root}")
        return module

    def _read(self, name: str) -> Module | None:
        first, *rest = name.split(".")
        path = self.root.joinpath(*rest)
        file = path / "__init__.py" if path.is_dir() else path.with_name(path.name + ".py")
        if first != PACKAGE or not file.is_file():
            return None
        module = Module(name, is_package=path.is_dir())
        try:
            tree = _parsed(file.read_bytes())
        except SyntaxError as error:
            error.filename = str(file)
            raise
        module.take(tree.body)
        module.imported = [*dict.fromkeys(self._imported(tree, module))]
        return module

    def _imported(self, tree: ast.AST, module: Module) -> Iterator[str]:
        """Whatever may be a module among what is imported anywhere in a file."""
        if isinstance(tree, ast.If) and is_for_types(tree):
            for statement in tree.orelse:
                yield from self._imported(statement, module)
        elif isinstance(tree, ast.Import | ast.ImportFrom):
            for _, path in bound_by(tree, module, whole=True):
                yield path.removesuffix(".*")
        else:
            for child in ast.iter_child_nodes(tree):
                if not isinstance(child, ast.expr):
                    yield from self._imported(child, module)

    def is_looking(self, path: str) -> bool:
        """Tell whether a name, or what it is in, is not followed."""
        parts = path.split(".")
        return any(".".join(parts[:n]) in self.looking for n in range(1, len(parts) + 1))

    def closure(self, names: Sequence[str]) -> list[str]:
        """The modules that importing some runs, and those that they import later."""
        found: dict[str, Module] = {}
        waiting = [*names]
        while waiting:
            path = waiting.pop(0)
            parts = path.split(".")
            for name in (".".join(parts[:n]) for n in range(1, len(parts) + 1)):
                if name in found or self.is_looking(name):
                    continue
                module = self.module(name)
                if module is not None:
                    found[name] = module
                    waiting += module.imported
        return [*found]

    def look_up(self, module: str, names: Sequence[str]) -> Meaning:
        """Find a dotted name's meaning at the top level of a module; a built-in is outside."""
        known, (first, *rest) = self.module(module), names
        if known is not None:
            if first in known.definitions:
                return self.find(".".join([module, *names]))
            if first in known.imports:
                return self.find(".".join([known.imports[first], *rest]))
            for star in known.stars:
                found = self.find(".".join([star, *names]))
                if found.kind != "outside":
                    return found
        return Meaning("outside", ".".join(names))

    def means(self, module: str, node: ast.expr) -> Meaning:
        """Find what an expression at a module's top level stands for, or the function it calls."""
        names = chain(node.func if isinstance(node, ast.Call) else node)
        return self.look_up(module, names) if names else Meaning("outside", "")

    def find(self, path: str) -> Meaning:
        """Follow a dotted path to where it leads, through imported names to their definitions."""
        parts = path.split(".")
        if parts[0] != PACKAGE:
            return Meaning("outside", path)
        here = PACKAGE
        for place, part in enumerate(parts[1:], 1):
            there, rest = f"{here}.{part}", tuple(parts[place + 1 :])
            if self.is_looking(there):
                return Meaning("looking", ".".join([there, *rest]))
            module = self.module(here)
            if module is not None and part in module.definitions:
                return Meaning("definition", there, rest)
            if module is not None and module.imports.get(part, there) != there:
                return self.find(".".join([module.imports[part], *rest]))
            if self.module(there) is None:
                stars = module.stars if module is not None else []
                found = (self.find(".".join([star, part, *rest])) for star in stars)
                return next((m for m in found if m.kind != "outside"), Meaning("outside", path))
            here = there
        return Meaning("definition", f"{here}.{WHOLE}")

    def statements(self, path: str) -> list[ast.stmt]:
        """The statements that define a name."""
        module, _, name = path.rpartition(".")
        known = self.module(module)
        found = [] if known is None else known.definitions.get(name, [])
        return [_cut(step, self.rows[path]) for step in found] if path in self.rows else found


@functools.lru_cache(maxsize=256)
def _parsed(text: bytes) -> ast.Module:
    return ast.parse(text)


def bound_by(
    statement: ast.Import | ast.ImportFrom, module: Module, *, whole: bool = False
) -> Iterator[tuple[str, str]]:
    """Each name that an import binds, with the dotted path it stands for; `whole` paths."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            first = alias.name.partition(".")[0]
            full = whole or alias.asname is not None
            yield alias.asname or first, alias.name if full else first
        return
    above = module.name.split(".")
    above = above[: len(above) - statement.level + (1 if module.is_package else 0)]
    source = [".".join(above)] if statement.level else []
    path = ".".join([*source, *([statement.module] if statement.module else [])])
    for alias in statement.names:
        yield alias.asname or alias.name, f"{path}.{alias.name}"


def stored(statement: ast.AST) -> Iterator[str]:
    """The names that a statement of the top level gives values to."""
    if isinstance(statement, Definition):
        yield statement.name
    elif isinstance(statement, ast.Name) and isinstance(statement.ctx, ast.Store):
        yield statement.id
    elif not isinstance(statement, ast.Lambda | ast.comprehension):
        for child in ast.iter_child_nodes(statement):
            yield from stored(child)


def is_nothing(statement: ast.stmt) -> bool:
    """Tell whether a statement does nothing: a docstring, `pass`, a declaration."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass | ast.Global | ast.Nonlocal)


def is_for_types(statement: ast.If) -> bool:
    """Tell whether it is `if TYPE_CHECKING`, which never runs."""
    test = statement.test
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def chain(node: ast.AST) -> list[str]:
    """The names of `a.b.c`; empty for any other expression."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def _only_names(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(map(_only_names, target.elts))
    return isinstance(target, ast.Name)


def _cut(statement: ast.stmt, keys: Sequence[str]) -> ast.stmt:
    """A table's statement with the chosen rows alone. Raises ValueError when it is no table."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        raise ValueError(f"line {statement.lineno} is no table to choose {'.'.join(keys)} from")
    value = statement.value
    for key in keys:
        rows = zip(value.keys, value.values, strict=True) if isinstance(value, ast.Dict) else ()
        found = [v for k, v in rows if isinstance(k, ast.Constant) and k.value == key]
        if len(found) != 1:
            raise ValueError(f"line {statement.lineno} has no row of its own for {key}")
        value = found[0]
    assert value is not None
    return ast.copy_location(ast.Expr(ast.Tuple([*map(ast.Constant, keys), value])), statement)
