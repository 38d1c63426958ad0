"""The normal form of a definition: what it does, without what it is called and what it says.

Comments, docstrings, annotations, log lines and the words of errors are gone. Local names are
numbered by first appearance; a name of the package is a reference, one from outside a dotted path.
Names of attributes, methods and keywords stay.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from monge.training.code_sources import (
    WHOLE,
    Definition,
    Meaning,
    Sources,
    bound_by,
    chain,
    is_for_types,
    is_nothing,
    stored,
)
from monge.training.code_words import (
    are_words,
    does_something,
    is_exception,
    is_harmless,
    is_spoken,
)

Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SCOPES = (*Definition.__args__, ast.Lambda, *Comprehension.__args__)
_UNSEEN = {"ctx", "type_comment", "type_params", "kind", "returns"}
_DATACLASS = {"ClassVar", "InitVar", "KW_ONLY"}
Choices = Mapping[str, Sequence[str]]


class Reference(NamedTuple):
    """A definition of the package; one that only looks is not followed."""

    path: str
    looking: bool


class Parameter(NamedTuple):
    """A parameter's name, which counts only where somebody may pass it by name."""

    name: str


Token = str | Reference | Parameter


@dataclass
class Form:
    """A definition's tokens, and the words in it that may be names of parameters."""

    tokens: list[Token] = field(default_factory=list)
    words: set[str] = field(default_factory=set)


@dataclass
class _Scope:
    """The names that a function, a class or a comprehension binds."""

    names: set[str]
    imports: dict[str, str] = field(default_factory=dict)
    top: set[str] = field(default_factory=set)  # declared global
    outer: set[str] = field(default_factory=set)  # declared nonlocal
    is_class: bool = False


def form(sources: Sources, path: str, choices: Choices) -> Form:
    """The normal form of a definition. Of the tables in `choices` only what is chosen is in it."""
    module, _, name = path.rpartition(".")
    writer = _Writer(sources, module)
    if name == WHOLE:
        known = sources.module(module)
        for inner in sorted(known.definitions if known else ()):
            writer.form.tokens += [inner, Reference(f"{module}.{inner}", looking=False)]
    for statement in sources.statements(path):
        writer.block([_cut(statement, choices[path]) if path in choices else statement])
    return writer.form


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


class _Writer:
    """Writes one definition, whose module is `module`."""

    def __init__(self, sources: Sources, module: str) -> None:
        self.sources, self.module = sources, module
        self.form = Form()
        self.scopes: list[_Scope] = []
        self._numbers: dict[tuple[int, str], int] = {}
        self._kept: list[_Scope] = []  # so that no two scopes have one id

    def block(self, statements: Sequence[ast.stmt]) -> None:
        self.form.tokens.append("[")
        for statement in statements:
            self._statement(statement)
        self.form.tokens.append("]")

    def _statement(self, node: ast.stmt) -> None:
        if is_nothing(node) or isinstance(node, ast.Import | ast.ImportFrom):
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            meaning = self._meaning(node.value.func)
            if meaning is not None and is_spoken(self.sources, meaning):
                for given in (*node.value.args, *node.value.keywords):
                    self._doings(given)
                return
        if isinstance(node, ast.If) and is_for_types(node):
            for statement in node.orelse:
                self._statement(statement)
        elif isinstance(node, ast.If) and self._says_only(node):
            return
        else:
            self.node(node)

    def _says_only(self, node: ast.If) -> bool:
        """Whether it is a question that nothing but words depends on."""
        writer = _Writer(self.sources, self.module)
        writer.scopes = self.scopes
        for statement in (*node.body, *node.orelse):
            writer._statement(statement)
        return not writer.form.tokens and self._is_quiet(node.test)

    def _is_quiet(self, node: ast.AST) -> bool:
        return not any(self._acts(inner) for inner in ast.walk(node))

    def _acts(self, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return does_something(node)
        meaning = self._meaning(node.func)
        return meaning is None or not is_harmless(self.sources, meaning)

    def _doings(self, node: ast.AST) -> None:
        """Of words, write the calls in them that may do something beside."""
        if self._acts(node) or (isinstance(node, _SCOPES) and not self._is_quiet(node)):
            self.node(node)
            return
        for child in ast.iter_child_nodes(node):
            self._doings(child)

    def node(self, node: ast.AST) -> None:
        """Write any node, each kind in its way."""
        if isinstance(node, ast.Name | ast.Attribute):
            self._name_or_attribute(node)
            return
        self.form.tokens += ["(", type(node).__name__]
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self._function(node)
            case ast.ClassDef():
                self._class(node)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._comprehension(node)
            case ast.AnnAssign():
                self._annotated(node)
            case ast.Call():
                self._call(node)
            case ast.keyword():
                self._keyword(node)
            case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
                self._fields(node, named="name")
            case ast.MatchMapping():
                self._fields(node, named="rest")
            case ast.Constant():
                self._constant(node)
            case _:
                self._fields(node)
        self.form.tokens.append(")")

    def _fields(self, node: ast.AST, named: str = "") -> None:
        for name, value in ast.iter_fields(node):
            if name == named and value is not None:
                self._name(value)
            elif name not in _UNSEEN:
                self._field(value)

    def _field(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self.node(value)
        elif isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            self.block(value)
        elif isinstance(value, list):
            self.form.tokens.append("[")
            for item in value:
                self._field(item)
            self.form.tokens.append("]")
        else:
            self.form.tokens.append(repr(value))

    def _constant(self, node: ast.Constant) -> None:
        self.form.tokens.append(f"{type(node.value).__name__} {node.value!r}")
        if isinstance(node.value, str):
            self.form.words.add(node.value)

    def _call(self, node: ast.Call) -> None:
        meaning = self._meaning(node.func)
        speaks = meaning is not None and is_exception(self.sources, meaning)
        self.node(node.func)
        for given in node.args:
            if speaks and are_words(given):
                self._doings(given)
            else:
                self.node(given)
        for keyword in node.keywords:
            self.node(keyword)

    def _keyword(self, node: ast.keyword) -> None:
        self.form.tokens.append(f"{node.arg}=")
        if node.arg is not None:
            self.form.words.add(node.arg)
        self.node(node.value)

    def _annotated(self, node: ast.AnnAssign) -> None:
        """As without the annotation, of which a dataclass reads but few words."""
        if self.scopes and self.scopes[-1].is_class:
            text = ast.unparse(node.annotation)
            self.form.tokens += sorted(word for word in _DATACLASS if word in text)
        elif node.value is None:
            return
        self.node(node.target)
        if node.value is not None:
            self.node(node.value)

    # Names.

    def _name_or_attribute(self, node: ast.Name | ast.Attribute) -> None:
        meaning = self._meaning(node)
        if meaning is None and isinstance(node, ast.Attribute):
            self.form.tokens += ["(", "Attribute"]
            self.node(node.value)
            self.form.tokens += [f".{node.attr}", ")"]
        elif meaning is None:
            assert isinstance(node, ast.Name)
            self._name(node.id)
        else:
            self._refer(meaning)

    def _meaning(self, node: ast.expr) -> Meaning | None:
        """What a dotted name stands for; None for what is local, and for other expressions."""
        names = chain(node)
        if not names:
            return None
        scope = self._binding(names[0])
        if scope is None:
            return self.sources.look_up(self.module, names)
        if names[0] in scope.names:
            return None
        return self.sources.find(".".join([scope.imports[names[0]], *names[1:]]))

    def _binding(self, name: str) -> _Scope | None:
        """The scope that binds a name; None for the top level."""
        for depth, scope in enumerate(reversed(self.scopes)):
            if (scope.is_class and depth) or name in scope.outer:
                continue
            if name in scope.top:
                return None
            if name in scope.names or name in scope.imports:
                return scope
        return None

    def _refer(self, meaning: Meaning) -> None:
        found: Token = meaning.path
        if meaning.kind != "outside":
            found = Reference(meaning.path, meaning.kind == "looking")
        attributes = [f".{name}" for name in meaning.attributes]
        self.form.tokens += ["(", "Name", found, *attributes, ")"]

    def _name(self, name: str) -> None:
        """A name that is bound or read here: a number, save in a class, whose names are its own."""
        scope = self._binding(name)
        if scope is None:
            self._refer(self.sources.look_up(self.module, [name]))
        elif scope.is_class:
            self.form.tokens.append(f".{name}")
        else:
            number = self._numbers.setdefault((id(scope), name), len(self._numbers))
            self.form.tokens.append(f"local {number}")

    # Scopes.

    @contextmanager
    def _inside(self, scope: _Scope) -> Iterator[None]:
        self._kept.append(scope)
        self.scopes = [*self.scopes, scope]
        yield
        self.scopes = self.scopes[:-1]

    def _function(self, node: Function) -> None:
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        if not isinstance(node, ast.Lambda):
            self._field(node.decorator_list)
            self._name(node.name)
        self._field([*node.args.defaults, *node.args.kw_defaults])
        scope = _Scope({argument.arg for argument in _arguments(node.args)})
        for statement in body:
            self._gather(statement, scope)
        with self._inside(scope):
            self._parameters(node.args)
            if isinstance(node, ast.Lambda):
                self.node(node.body)
            else:
                self.block(node.body)

    def _parameters(self, node: ast.arguments) -> None:
        alone = [[each] if each else [] for each in (node.vararg, node.kwarg)]
        for kind, arguments in zip(
            ("/", "", "*", "=", "**"),
            (node.posonlyargs, node.args, alone[0], node.kwonlyargs, alone[1]),
            strict=True,
        ):
            self.form.tokens.append(f"parameters {kind}")
            for argument in arguments:
                self._name(argument.arg)
                if kind in ("", "="):
                    self.form.tokens.append(Parameter(argument.arg))

    def _class(self, node: ast.ClassDef) -> None:
        self._field(node.decorator_list)
        self._field([*node.bases, *node.keywords])
        self._name(node.name)
        scope = _Scope(set(), is_class=True)
        for statement in node.body:
            self._gather(statement, scope)
        bound = [name for statement in node.body for name in stored(statement)]
        body = node.body
        if len(bound) == len(set(bound)):  # else one takes another's place
            methods = {s.name: s for s in body if isinstance(s, Definition)}
            body = [s for s in body if not isinstance(s, Definition)]
            body += [methods[name] for name in sorted(methods)]
        with self._inside(scope):
            self.block(body)

    def _comprehension(self, node: Comprehension) -> None:
        self.node(node.generators[0].iter)  # which sees none of the names within
        scope = _Scope({name for each in node.generators for name in _targets(each.target)})
        with self._inside(scope):
            for place, each in enumerate(node.generators):
                self.form.tokens.append(f"for {each.is_async}")
                self.node(each.target)
                if place:
                    self.node(each.iter)
                self._field(each.ifs)
            if isinstance(node, ast.DictComp):
                self.node(node.key)
                self.node(node.value)
            else:
                self.node(node.elt)

    def _gather(self, node: ast.AST, scope: _Scope) -> None:
        """Add the names that a statement binds in the function or class it stands in."""
        inner: Iterator[ast.AST] | list[ast.AST] = ast.iter_child_nodes(node)
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                scope.names.add(node.name)
                inner = [*node.decorator_list]
            case ast.Lambda():
                return
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                inner = [n.target for n in ast.walk(node) if isinstance(n, ast.NamedExpr)]
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                scope.names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                scope.names.add(name)
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                scope.names.add(name)
            case ast.Import() | ast.ImportFrom():
                module = self.sources.module(self.module)
                assert module is not None
                scope.imports |= dict(bound_by(node, module))
            case ast.Global(names=names):
                scope.top.update(names)
            case ast.Nonlocal(names=names):
                scope.outer.update(names)
        for child in inner:
            self._gather(child, scope)


def _arguments(node: ast.arguments) -> list[ast.arg]:
    alone = [argument for argument in (node.vararg, node.kwarg) if argument is not None]
    return [*node.posonlyargs, *node.args, *node.kwonlyargs, *alone]


def _targets(node: ast.expr) -> list[str]:
    """The names that a loop of a comprehension binds."""
    found = [inner for inner in ast.walk(node) if isinstance(inner, ast.Name)]
    return [name.id for name in found if isinstance(name.ctx, ast.Store)]
