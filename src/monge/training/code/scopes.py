"""The names that a function, a class or a comprehension binds, and the meaning of each in it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from monge.training.code.sources import Meaning, Module, Sources, bound_by, chain

Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass
class Scope:
    """The names that are bound in it, and what its own imports stand for."""

    names: set[str]
    imports: dict[str, str] = field(default_factory=dict)
    top: set[str] = field(default_factory=set)
    """Declared global."""

    outer: set[str] = field(default_factory=set)
    """Declared nonlocal."""

    is_class: bool = False


class Names:
    """The names of one definition of a module: which scopes one is in, and numbers for locals."""

    def __init__(self, sources: Sources, module: Module) -> None:
        self.sources, self.module = sources, module
        self._scopes: tuple[Scope, ...] = ()
        self._numbers: dict[tuple[int, str], int] = {}
        self._kept: list[Scope] = []  # so that no two scopes have one id

    def fork(self) -> Names:
        """The same names, for something that is tried out."""
        names = Names(self.sources, self.module)
        names._scopes = self._scopes
        return names

    @contextmanager
    def inside(self, scope: Scope) -> Iterator[None]:
        """Be in a scope."""
        before = self._scopes
        self._kept.append(scope)
        self._scopes = (*before, scope)
        yield
        self._scopes = before

    @property
    def in_class(self) -> bool:
        """Tell whether this is the body of a class."""
        return bool(self._scopes) and self._scopes[-1].is_class

    def binding(self, name: str) -> Scope | None:
        """The scope that binds a name; None for the top level."""
        for depth, scope in enumerate(reversed(self._scopes)):
            if (scope.is_class and depth) or name in scope.outer:
                continue
            if name in scope.top:
                return None
            if name in scope.names or name in scope.imports:
                return scope
        return None

    def meaning(self, node: ast.expr) -> Meaning | None:
        """Find what a dotted name stands for; None for a local one, and for other expressions."""
        names = chain(node)
        if not names:
            return None
        scope = self.binding(names[0])
        if scope is None:
            return self.sources.look_up(self.module.name, names)
        if names[0] in scope.names:
            return None
        return self.sources.find(".".join([scope.imports[names[0]], *names[1:]]))

    def number(self, scope: Scope, name: str) -> int:
        """The number of a local name, by its first appearance."""
        return self._numbers.setdefault((id(scope), name), len(self._numbers))


def of_function(node: Function, module: Module) -> Scope:
    """The scope of a function's body."""
    given = node.args
    alone = [argument for argument in (given.vararg, given.kwarg) if argument is not None]
    arguments = (*given.posonlyargs, *given.args, *given.kwonlyargs, *alone)
    scope = Scope({argument.arg for argument in arguments})
    for statement in [node.body] if isinstance(node, ast.Lambda) else node.body:
        _gather(statement, scope, module)
    return scope


def of_class(node: ast.ClassDef, module: Module) -> Scope:
    """The scope of a class's body, which the functions in it do not see."""
    scope = Scope(set(), is_class=True)
    for statement in node.body:
        _gather(statement, scope, module)
    return scope


def of_comprehension(node: Comprehension) -> Scope:
    """The scope of a comprehension: the names of its loops."""
    targets = [inner for each in node.generators for inner in ast.walk(each.target)]
    names = [name for name in targets if isinstance(name, ast.Name)]
    return Scope({name.id for name in names if isinstance(name.ctx, ast.Store)})


def _gather(node: ast.AST, scope: Scope, module: Module) -> None:
    """Add the names that a statement binds where it stands."""
    inner: Iterable[ast.AST] = ast.iter_child_nodes(node)
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            scope.names.add(node.name)
            inner = node.decorator_list
        case ast.Lambda():
            return
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            inner = [each.target for each in ast.walk(node) if isinstance(each, ast.NamedExpr)]
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            scope.names.add(name)
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            scope.names.add(name)
        case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            scope.names.add(name)
        case ast.Import() | ast.ImportFrom():
            for name, path in bound_by(node, module):
                if scope.imports.setdefault(name, path) != path:
                    scope.names.add(name)  # one or the other
        case ast.Global(names=names):
            scope.top.update(names)
        case ast.Nonlocal(names=names):
            scope.outer.update(names)
    for child in inner:
        _gather(child, scope, module)
