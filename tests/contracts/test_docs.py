"""What the documents say exists: links, commands, parameters, code, exit codes."""

from __future__ import annotations

import ast
import hashlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from monge import errors
from monge.cli import app
from monge.params import load

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    ROOT / "data" / "raw" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMED = [str(document.relative_to(ROOT)) for document in DOCUMENTS]


@dataclass(frozen=True)
class Block:
    """A block of code; `language` is empty where it is only indented."""

    language: str
    text: str


def blocks(text: str) -> Iterator[Block]:
    """Fenced blocks, and indented ones after a blank line."""
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        yield Block(language, body)
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    for body in re.findall(r"(?:\n\n|\A)((?: {4}.*\n|\n)+)", rest):
        yield Block("", re.sub(r"^ {4}", "", body.strip("\n"), flags=re.M))


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def commands(text: str, program: str) -> list[list[str]]:
    """Words after `program` in each line of a block, or each code span, that begins with it."""
    lines = [line.strip() for block in blocks(text) for line in block.text.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", prose(text))
    prefix = re.compile(rf"(?:\$ )?(?:\.venv/bin/)?{program} (?=\S)")
    found = [line[match.end() :] for line in [*lines, *spans] if (match := prefix.match(line))]
    return [shlex.split(words, comments=True) for words in found]


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMED)
def test_relative_links_lead_somewhere(name):
    document = ROOT / name
    text = prose(document.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        aim = (document.parent / path).resolve() if path else document
        assert aim.is_relative_to(ROOT), target
        assert aim.exists(), target
        if anchor:
            assert anchor in anchors(aim.read_text(encoding="utf-8")), target


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert pages - {"index.md"} == set(re.findall(r"\]\(([^.)][^)]*\.md)\)", index))


def placeholder(word: str) -> bool:
    return word.startswith("<") or word in ("...", "…")


@pytest.mark.parametrize("name", NAMED)
def test_monge_commands_are_taken_by_the_command_line(name):
    group = typer.main.get_command(app)
    for words in commands((ROOT / name).read_text(encoding="utf-8"), "monge"):
        if placeholder(words[0]):
            continue
        if words[0].startswith("-"):
            known = {option for parameter in group.params for option in parameter.opts}
            assert words[0] in known | {"--help", "-h"}, words
            continue
        command = group.commands.get(words[0])  # type: ignore[attr-defined]
        assert command is not None, f"monge {words[0]}"
        arguments = [word for word in words[1:] if word != "--debug"]
        # Named alone in a sentence, a command need not have its arguments.
        context = command.make_context(
            words[0], arguments, resilient_parsing=not arguments, parent=None
        )
        if "override" in context.params:
            load(ROOT / "params.yaml", list(context.params["override"] or []))


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.M))


@pytest.mark.parametrize("name", NAMED)
def test_make_commands_exist_and_their_parameters_are_accepted(name):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in commands((ROOT / name).read_text(encoding="utf-8"), "make"):
        variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z]+=", word))
        goals = {word for word in words if not re.match(r"[A-Z]+=|-", word)}
        assert goals <= targets(), words
        assert all(re.search(rf"\$[($]{name}\b", makefile) for name in variables.keys() - {"SET"})
        if "SET" in variables:
            assert goals == {"run"}
            load(ROOT / "params.yaml", variables["SET"].split())


@pytest.mark.parametrize("name", NAMED)
def test_parameters_and_pages_that_are_named_exist(name):
    text = prose((ROOT / name).read_text(encoding="utf-8"))
    known = _keys(load(ROOT / "params.yaml").model_dump(by_alias=True))
    sections = "|".join(load(ROOT / "params.yaml").model_dump())
    for key in re.findall(rf"`((?:{sections})\.[a-z][\w.-]*)(?:[:=] ?[^`]*)?`", text):
        is_file = "/" in key or re.search(r"\.(py|md|yaml|csv|json)$", key)
        assert is_file or key in known, key


def _keys(tree: dict[str, object], before: str = "") -> set[str]:
    found = set()
    for name, value in tree.items():
        found.add(before + name)
        if isinstance(value, dict):
            found |= _keys(value, f"{before}{name}.")
    return found


PYTHON = [
    (name, block.text)
    for name in NAMED
    for block in blocks((ROOT / name).read_text(encoding="utf-8"))
    if block.language == "python" or re.match(r"(from|import) monge\b", block.text)
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small generator file and its encoder where the documents look for them."""
    from monge import nets
    from monge.contract import Contract
    from monge.encoder_contract import EncoderContract
    from monge.export.encoder import write_encoder
    from monge.export.onnx import write_generator
    from monge.nets import mlp
    from monge.params import TrainParams

    folder = tmp_path_factory.mktemp("tiny")
    generator = mlp.Generator(64, (1, 8, 8), 1, 8)
    contract = Contract(latent_dim=64, image_shape=(8, 8, 1))
    for place in ("generator.onnx", "models/generator.onnx"):
        write_generator(generator, contract, folder / place)
    train = TrainParams.model_validate(
        {"net": "mlp", "objective": "wae-mmd", "latent_dim": 64, "mlp": {"width": 8}}
    )
    digest = hashlib.sha256((folder / "models/generator.onnx").read_bytes()).hexdigest()
    way_back = EncoderContract(latent_dim=64, image_shape=(8, 8, 1), generator=digest)
    encoder = nets.build("encoder", train, (1, 8, 8)).eval()
    write_encoder(encoder, way_back, folder / "models/encoder/encoder.onnx", 1e-3)
    return folder


@pytest.mark.parametrize(("name", "code"), PYTHON, ids=[name for name, _ in PYTHON])
def test_python_blocks_run(name, code, tiny, monkeypatch):
    """On a tiny generator; a block that needs a registry has its imports looked up only."""
    monkeypatch.chdir(tiny)
    tree = ast.parse(code)
    if "models:/" in code:
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(tree, name, "exec"), {})


def test_there_are_python_blocks_to_run():
    assert len(PYTHON) >= 2


def test_exit_codes_are_those_of_the_errors():
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    said = {
        name: int(code)
        for code, cell in re.findall(r"^\| (\d+) \|[^|]*\|([^|]*)\|$", page, re.M)
        for name in re.findall(r"`(\w+)`", cell)
    }
    raised = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.MongeError)
    }
    assert said == {name: code for name, code in raised.items() if name != "MongeError"}


@pytest.mark.parametrize("name", NAMED)
def test_no_path_of_the_machine_it_was_written_on(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(work|root|home|Users)/", text)


def test_every_figure_has_its_line_in_the_reference() -> None:
    from monge.evaluation.catalogue import CATALOGUE

    text = (ROOT / "docs/reference/figures.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+?) \| .*\|$", text, re.M)
    assert rows == [(name, entry.better, entry.meaning) for name, entry in CATALOGUE.items()]


def test_every_promise_of_reliability_names_a_test_that_there_is():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(named) == len(rows) - 1, "a test for each row"
    for file, test in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert f"def {test}(" in text, f"{file}::{test}"
