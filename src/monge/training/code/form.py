"""The normal form of a definition: what it does, without what it is called and what it says.

Comments, docstrings, annotations, log lines and the words of errors are gone. Local names are
numbered by first appearance; a name of the package is a reference, one from outside a dotted path.
Names of attributes, methods and keywords stay.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from monge.training.code.scopes import (
    Comprehension,
    Function,
    Names,
    of_class,
    of_comprehension,
    of_function,
)
from monge.training.code.sources import (
    WHOLE,
    Definition,
    Meaning,
    Sources,
    bound_by,
    is_for_types,
    is_nothing,
    stored,
)
from monge.training.code.words import acts, are_words, is_exception, is_quiet, is_spoken

_UNTOLD = ast.Lambda | Comprehension
"""Within these, names may be bound that mean something else outside."""

_UNSEEN = {"ctx", "type_comment", "type_params", "kind", "returns"}
_DATACLASS = {"ClassVar", "InitVar", "KW_ONLY"}


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


def form(sources: Sources, path: str) -> Form:
    """The normal form of a definition."""
    module, _, name = path.rpartition(".")
    names = Names(sources, sources.known(module))
    writer = _Writer(sources, names)
    if name == WHOLE:
        for inner in sorted(names.module.definitions):
            writer.form.tokens += [inner, Reference(f"{module}.{inner}", looking=False)]
    for statement in sources.statements(path):
        writer.block([statement])
    return writer.form


class _Writer:
    """Writes one definition."""

    def __init__(self, sources: Sources, names: Names) -> None:
        self.sources, self.names, self.form = sources, names, Form()

    def block(self, statements: Sequence[ast.stmt]) -> None:
        self.form.tokens.append("[")
        for statement in statements:
            self._statement(statement)
        self.form.tokens.append("]")

    def _statement(self, node: ast.stmt) -> None:
        if is_nothing(node):
            return
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node)
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            meaning = self.names.meaning(node.value.func)
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
        """Tell whether it is a question that nothing but words depends on."""
        writer = _Writer(self.sources, self.names.fork())
        for statement in (*node.body, *node.orelse):
            writer._statement(statement)
        return not writer.form.tokens and is_quiet(self.names, node.test)

    def _doings(self, node: ast.AST) -> None:
        """Write the calls within words that may do something beside."""
        if acts(self.names, node) or (isinstance(node, _UNTOLD) and not is_quiet(self.names, node)):
            self.node(node)
            return
        for child in ast.iter_child_nodes(node):
            self._doings(child)

    def node(self, node: ast.AST) -> None:
        """Write any node, each kind in its way."""
        if isinstance(node, ast.Name | ast.Attribute):
            self._name_or_attribute(node)
            return
        if isinstance(node, ast.AnnAssign) and not self.names.in_class:
            if node.value is not None:
                self.node(ast.Assign([node.target], node.value))
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
        meaning = self.names.meaning(node.func)
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
        """A dataclass's field, of whose annotation it reads but few words."""
        text = ast.unparse(node.annotation)
        self.form.tokens += sorted(word for word in _DATACLASS if word in text)
        self.node(node.target)
        self._field(node.value)

    # Names.

    def _name_or_attribute(self, node: ast.Name | ast.Attribute) -> None:
        meaning = self.names.meaning(node)
        if meaning is None and isinstance(node, ast.Attribute):
            self.form.tokens += ["(", "Attribute"]
            self.node(node.value)
            self.form.tokens += [f".{node.attr}", ")"]
        elif meaning is None:
            assert isinstance(node, ast.Name)
            self._name(node.id, read=isinstance(node.ctx, ast.Load))
        else:
            self._refer(meaning)

    def _refer(self, meaning: Meaning) -> None:
        found: Token = meaning.path
        if meaning.kind != "outside":
            found = Reference(meaning.path, meaning.kind == "looking")
        attributes = [f".{name}" for name in meaning.attributes]
        self.form.tokens += ["(", "Name", found, *attributes, ")"]

    def _name(self, name: str, *, read: bool = False) -> None:
        """A name: a number where it is local; in a class, whose names are its own, itself."""
        binding = self.names.binding(name)
        outside = self.sources.look_up(self.names.module.name, [name])
        if binding is None:
            self._refer(outside)
        elif binding.is_class:
            self.form.tokens.append(f".{name}")
            if read and outside.kind != "outside":  # until the class has bound it
                self._refer(outside)
        else:
            self.form.tokens.append(f"local {self.names.number(binding, name)}")

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Nothing, for what it binds is followed; save where a name is bound twice."""
        for name, path in bound_by(node, self.names.module):
            binding = self.names.binding(name)
            if name in (binding.names if binding else self.names.module.definitions):
                self._name(name)
                self._refer(self.sources.find(path))

    # Scopes.

    def _function(self, node: Function) -> None:
        if not isinstance(node, ast.Lambda):
            self._field(node.decorator_list)
            self._name(node.name)
        self._field([*node.args.defaults, *node.args.kw_defaults])
        with self.names.inside(of_function(node, self.names.module)):
            self._parameters(node.args)
            self._field(node.body)

    def _parameters(self, node: ast.arguments) -> None:
        groups: dict[str, Sequence[ast.arg | None]] = {
            "/": node.posonlyargs, "": node.args, "*": [node.vararg], "=": node.kwonlyargs,
            "**": [node.kwarg],
        }  # fmt: skip
        for kind, arguments in groups.items():
            self.form.tokens.append(f"parameters {kind}")
            for argument in filter(None, arguments):
                self._name(argument.arg)
                if kind in ("", "="):
                    self.form.tokens.append(Parameter(argument.arg))

    def _class(self, node: ast.ClassDef) -> None:
        self._field(node.decorator_list)
        self._field([*node.bases, *node.keywords])
        self._name(node.name)
        bound = [name for statement in node.body for name in stored(statement)]
        body = node.body
        if len(bound) == len(set(bound)):  # else one takes another's place
            methods = {s.name: s for s in body if isinstance(s, Definition)}
            body = [s for s in body if not isinstance(s, Definition)]
            body += [methods[name] for name in sorted(methods)]
        with self.names.inside(of_class(node, self.names.module)):
            self.block(body)

    def _comprehension(self, node: Comprehension) -> None:
        self.node(node.generators[0].iter)  # which sees none of the names within
        with self.names.inside(of_comprehension(node)):
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
