"""Tells the code that only speaks: what is logged, and the words of an error."""

from __future__ import annotations

import ast
import builtins

from monge.training.code.scopes import Names
from monge.training.code.sources import Meaning, Sources, chain, is_nothing

_LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
_HARMLESS = {"abs", "bool", "float", "format", "int", "len", "repr", "round", "str", "type"}
_DOING = ast.Call | ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom


def is_spoken(sources: Sources, meaning: Meaning) -> bool:
    """Tell whether calling it only speaks: `log.info`, `warnings.warn`."""
    path, attributes = meaning.path, meaning.attributes
    if meaning.kind == "outside":
        source, _, level = path.rpartition(".")
        return path == "warnings.warn" or (source == "logging" and level in _LEVELS)
    logger = meaning.kind == "definition" and len(attributes) == 1 and attributes[0] in _LEVELS
    made = sources.statements(path)
    return logger and bool(made) and all(_makes_logger(sources, path, step) for step in made)


def _makes_logger(sources: Sources, path: str, statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Call):
        return False
    return sources.means(path.rpartition(".")[0], statement.value).path == "logging.getLogger"


def is_exception(sources: Sources, meaning: Meaning) -> bool:
    """Tell whether it is a class of exceptions: one that is built in, or derives from one."""
    if meaning.kind == "outside":
        found = getattr(builtins, meaning.path, None)
        return isinstance(found, type) and issubclass(found, BaseException)
    if meaning.kind != "definition" or meaning.attributes:
        return False
    here = meaning.path.rpartition(".")[0]
    bases = [
        base
        for statement in sources.statements(meaning.path)
        if isinstance(statement, ast.ClassDef)
        for base in statement.bases
    ]
    return any(is_exception(sources, sources.means(here, base)) for base in bases)


def is_harmless(sources: Sources, meaning: Meaning, depth: int = 4) -> bool:
    """Tell whether a call gives a value and does nothing else, as far as can be seen at once."""
    if meaning.kind != "definition":
        return meaning.kind == "looking" or meaning.path in _HARMLESS
    here = meaning.path.rpartition(".")[0]
    match sources.statements(meaning.path):
        case [ast.FunctionDef(args=arguments, body=body, decorator_list=[])] if depth:
            said = [statement for statement in body if not is_nothing(statement)]
            taken = {node.arg for node in ast.walk(arguments) if isinstance(node, ast.arg)}
            if len(said) != 1 or not isinstance(said[0], ast.Return) or meaning.attributes:
                return False
            doing = [node for node in ast.walk(said[0]) if isinstance(node, _DOING)]
            return all(
                isinstance(node, ast.Call)
                and taken.isdisjoint(chain(node.func)[:1])
                and is_harmless(sources, sources.means(here, node), depth - 1)
                for node in doing
            )
    return False


def are_words(node: ast.expr) -> bool:
    """Tell whether an expression is a text written here, perhaps with figures put in."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add | ast.Mod) and are_words(node.left)
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def is_quiet(names: Names, node: ast.AST) -> bool:
    """Tell whether an expression gives a value and does nothing else."""
    return not any(acts(names, inner) for inner in ast.walk(node))


def acts(names: Names, node: ast.AST) -> bool:
    """Tell whether an expression by itself, not what is in it, may do more than give a value."""
    if not isinstance(node, ast.Call):
        return isinstance(node, _DOING)
    meaning = names.meaning(node.func)
    return meaning is None or not is_harmless(names.sources, meaning)
