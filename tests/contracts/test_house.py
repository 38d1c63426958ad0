"""The house stays one that can be lived in: short files and functions, and no import circle."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src"
BESIDE = ("pipelines", "studies", "benchmarks")
MOST_LINES = {"a file": 300, "a function": 50}
MOST_NESTED = 3
_NESTING = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.Match)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_HALF_A_SENTENCE = re.compile(r'^[ \t]*r?"""(?:What|How|Whether|Which|Of)\b.*', re.M)


@functools.cache
def _modules() -> dict[str, ast.Module]:
    places = [(path, SOURCES) for path in SOURCES.rglob("*.py")]
    places += [(path, ROOT) for room in BESIDE for path in (ROOT / room).rglob("*.py")]
    return {
        ".".join(path.relative_to(above).with_suffix("").parts).removesuffix(".__init__"):
        ast.parse(path.read_text(encoding="utf-8"))
        for path, above in places
    }  # fmt: skip


def _functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, tree in _modules().items():
        if not name.startswith("monge"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, _FUNCTIONS):
                yield f"{name}.{node.name}", node


def test_no_file_and_no_function_is_too_long_to_be_seen_whole():
    files = {path: len(path.read_text().splitlines()) for path in SOURCES.rglob("*.py")}
    assert len(files) > 200
    long = {str(p.relative_to(SOURCES)): n for p, n in files.items() if n > MOST_LINES["a file"]}
    assert not long
    functions = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in _functions()}
    assert not {name: n for name, n in functions.items() if n > MOST_LINES["a function"]}


def test_no_function_branches_or_repeats_more_than_three_deep():
    deep = {name: _depth(node) for name, node in _functions() if _depth(node) > MOST_NESTED}
    assert not deep


def test_no_module_imports_itself_by_way_of_others_not_even_when_it_is_called():
    imports = {name: set(_imported(name, tree)) for name, tree in _modules().items()}
    assert "monge.training.state" in imports["monge.training.loop"]
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as circle:
        raise AssertionError(" -> ".join(circle.args[1])) from None


def test_every_docstring_says_what_its_subject_is_or_does():
    rooms = [ROOT / name for name in ("src", *BESIDE)]
    texts = [path.read_text(encoding="utf-8") for room in rooms for path in room.rglob("*.py")]
    assert sum(text.count('"""') for text in texts) > 5000
    assert not [half for text in texts for half in _HALF_A_SENTENCE.findall(text)]


def _depth(node: ast.AST) -> int:
    """How deep a function branches and repeats; `elif` is as deep as its `if`."""
    depths = [0]
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        depths.append(_depth(child) + (isinstance(child, _NESTING) and not is_elif))
    return max(depths)


def _imported(name: str, tree: ast.Module) -> Iterator[str]:
    """The modules of the house that one imports; what stands there for types alone is no import."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom):
            for each in node.names:
                whole = f"{node.module}.{each.name}"
                yield whole if whole in _modules() else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
