"""Protects: no number, operator, word or statement of a training's code can change unseen.

Every one of them is changed in turn, in every definition that a training with some objective and
net refers to. What may pass is what speaks, found here in another way than the code finds it.
"""

import ast
import random
import shutil
from pathlib import Path

import pytest

import monge
from monge.params import TrainParams
from monge.training.code import identity as code_identity
from monge.training.code.form import form
from monge.training.code.sources import Sources

HERE = Path(monge.__file__).parent
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.MatMult: ast.Mult,
    ast.FloorDiv: ast.Mod, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr, ast.BitXor: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And, ast.Not: ast.USub, ast.USub: ast.UAdd, ast.Invert: ast.USub,
}  # fmt: skip
TRAININGS = [TrainParams(net="mlp", objective="wgan"), TrainParams(net="dcgan")]


def mutations(tree):
    """Every (node, field, place in a list or None, what to put there)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value is not Ellipsis:
            yield node, "value", None, other(node.value)
        for field, value in ast.iter_fields(node):
            if isinstance(value, list):
                for place, item in enumerate(value):
                    if isinstance(item, ast.stmt) and not isinstance(item, ast.Pass):
                        yield node, field, place, ast.Pass()
                    elif type(item) in OPERATORS:
                        yield node, field, place, OPERATORS[type(item)]()
            elif type(value) in OPERATORS:
                yield node, field, None, OPERATORS[type(value)]()
        if isinstance(node, ast.Attribute):
            yield node, "attr", None, f"{node.attr}_other"


def other(value):
    if isinstance(value, bool) or value is None:
        return not value
    return value + ("x" if isinstance(value, str) else b"x" if isinstance(value, bytes) else 1)


def put(node, field, place, value):
    """Put a value there; what was there."""
    if place is None:
        before = getattr(node, field)
        setattr(node, field, value)
    else:
        before = getattr(node, field)[place]
        getattr(node, field)[place] = value
    return before


def speaking(tree):
    """Whatever is in a log call, in a text for an error, in an annotation, or says nothing."""
    found: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.startswith(("log.", "logging.", "warnings.warn")):
                parts = [node]
            elif name.endswith(("Error", "Diverged")):
                parts = [a for a in node.args if isinstance(a, ast.JoinedStr | ast.Constant)]
        elif isinstance(node, ast.arg | ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            parts = [node.returns]
        for part in filter(None, parts):
            found.update(map(id, ast.walk(part)))
    return found


def says_only(statement, quiet):
    """Whether a statement may go unseen: a docstring, an import, a log call or a question to it."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return True
    if isinstance(statement, ast.AnnAssign):
        return statement.value is None
    if isinstance(statement, ast.If):
        return all(says_only(inner, quiet) for inner in statement.body + statement.orelse)
    return isinstance(statement, ast.Expr) and (
        isinstance(statement.value, ast.Constant) or id(statement.value) in quiet
    )


def silent(tree):
    """Nodes of statements that may go unseen, and these statements."""
    quiet = speaking(tree)
    statements = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and says_only(n, quiet)]
    return quiet | {id(inner) for statement in statements for inner in ast.walk(statement)}


def reached():
    for train in TRAININGS:
        tables = {
            "monge.nets.FAMILIES": (train.net,), "monge.objectives.METHODS": (train.objective,),
        }  # fmt: skip
        sources = Sources(HERE, code_identity.LOOKING, tables)
        for path in code_identity.reached(sources, code_identity.TRAINING):
            if path not in tables:
                yield sources, path


def test_no_change_of_one_node_goes_unseen():
    tried, unseen, seen_before = 0, [], set()
    for sources, path in reached():
        if path in seen_before:
            continue
        seen_before.add(path)
        before = form(sources, path)
        for statement in sources.statements(path):
            may = silent(statement)
            for node, field, place, value in mutations(statement):
                touched = node if place is None else getattr(node, field)[place]
                if id(touched) in may or id(node) in may:
                    continue
                tried += 1
                old = put(node, field, place, value)
                try:
                    if form(sources, path).tokens == before.tokens:
                        unseen.append(f"{path}: {ast.unparse(node)[:80]}")
                finally:
                    put(node, field, place, old)
        assert form(sources, path) == before
    assert unseen == []
    assert tried > 3000, tried


@pytest.mark.parametrize("seed", range(8))
def test_a_change_somewhere_changes_the_identity_and_is_named(tmp_path, seed):
    """The same through files, from end to end."""
    train = TRAININGS[1]
    before = code_identity.code_identity(train)
    draw = random.Random(seed)
    root = shutil.copytree(HERE, tmp_path / "monge", ignore=shutil.ignore_patterns("__pycache__"))
    path = draw.choice([p for p in before.parts if not p.startswith(("nets.F", "objectives.M"))])
    module, _, name = path.rpartition(".")
    file = root / f"{module.replace('.', '/')}.py"
    file = file if file.exists() else root / module.replace(".", "/") / "__init__.py"
    tree = ast.parse(file.read_text("utf-8"))
    (statement,) = [s for s in tree.body if name in (getattr(s, "name", ""), *targets(s))]
    may = silent(statement)
    choice = draw.choice([
        m for m in mutations(statement)
        if id(m[0]) not in may and (m[2] is None or id(getattr(m[0], m[1])[m[2]]) not in may)
    ])  # fmt: skip
    put(*choice)
    file.write_text(ast.unparse(ast.fix_missing_locations(tree)), "utf-8")
    now = code_identity.code_identity(train, root, again=True)
    assert now.digest != before.digest
    assert path in code_identity.changed(before, now)


def targets(statement):
    constant = isinstance(statement, ast.Assign | ast.AnnAssign)
    return [n.id for n in ast.walk(statement) if isinstance(n, ast.Name)] if constant else []
