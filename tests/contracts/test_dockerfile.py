"""The Dockerfile against the locks, the command line and the documents; no engine is needed."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer.main
from packaging.specifiers import SpecifierSet

from monge.cli import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass
class Stage:
    """One `FROM ... AS name` and what follows it: (instruction, the rest) in order."""

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.steps if name == instruction]


def parse(text: str) -> dict[str, Stage]:
    """Stages by name: comments out, continued lines joined, as Docker reads them."""
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    stages: dict[str, Stage] = {}
    current: Stage | None = None
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        instruction, rest = line.split(None, 1)
        if instruction == "FROM":
            base, keyword, name = rest.split()
            assert keyword == "AS"
            current = stages[name] = Stage(base)
        else:
            assert current is not None, f"{line}: before the first FROM"
            current.steps.append((instruction, rest))
    return stages


STAGES = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
TARGETS = ("serve", "train")


def lineage(name: str) -> list[Stage]:
    """A stage and those that it is built from, by FROM."""
    stage = STAGES[name]
    return [stage, *(lineage(stage.base) if stage.base in STAGES else [])]


def ingredients(name: str) -> set[str]:
    """The names of all stages that end up in a target, by FROM and by COPY --from."""
    stage = STAGES[name]
    others = {match for rest in stage.all("COPY") for match in re.findall(r"--from=(\S+)", rest)}
    others |= {stage.base} & STAGES.keys()
    return {name}.union(*(ingredients(other) for other in others))


def final(name: str, instruction: str) -> str:
    """The last value of an instruction that counts once, inherited ones too."""
    return next(stage.all(instruction)[-1] for stage in lineage(name) if stage.all(instruction))


def sources(name: str) -> list[str]:
    """What a stage copies from the build context."""
    return [
        source
        for rest in STAGES[name].all("COPY")
        if "--from=" not in rest
        for source in shlex.split(rest)[:-1]
        if not source.startswith("--")
    ]


def test_instructions_are_ones_that_docker_knows():
    known = {"RUN", "COPY", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD", "VOLUME"}
    assert {name for stage in STAGES.values() for name, _ in stage.steps} <= known
    assert set(TARGETS) <= STAGES.keys()


def test_the_base_is_one_tag_of_a_python_that_monge_allows():
    outside = {stage.base for stage in STAGES.values()} - STAGES.keys()
    assert len(outside) == 1
    match = re.fullmatch(r"python:(3\.12\.\d+)-slim-[a-z]+", outside.pop())
    assert match, "pinned to a patch version and a release of Debian"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(match[1])


def test_every_package_comes_from_a_lock_by_its_hash():
    installs = [
        part.strip()
        for stage in STAGES.values()
        for run in stage.all("RUN")
        for part in run.split("&&")
        if re.search(r"\bpip\b.* install\b|\buv (build|sync|tool)\b", part)
    ]
    assert len(installs) >= 5
    for command in installs:
        words = shlex.split(command)
        if "build" in words:
            assert "--require-hashes" in words
            assert words[words.index("--build-constraints") + 1] == "requirements.lock"
        elif "--no-index" in words:
            assert "--no-deps" in words  # our own package, already here
        else:
            assert {"--require-hashes", "--no-deps"} <= set(words), command
            assert words[words.index("-r") + 1].endswith(".lock")


def locks(target: str) -> set[str]:
    return {
        word
        for name in ingredients(target)
        for run in STAGES[name].all("RUN")
        for part in run.split("&&")
        if " install " in part and "/opt/monge" in part
        for word in shlex.split(part)
        if word.endswith(".lock")
    }


def test_each_image_has_its_own_lock():
    assert locks("serve") == {"requirements-serve.lock"}
    assert locks("train") == {"requirements.lock"}


def test_the_serving_image_has_no_torch():
    packages = re.findall(
        r"^([a-z0-9_.-]+)==", (ROOT / "requirements-serve.lock").read_text(), re.M
    )
    assert "onnxruntime-gpu" in packages
    assert not {"torch", "mlflow", "prefect", "dvc", "onnx"} & set(packages)
    assert "train-packages" not in ingredients("serve")


def test_byte_code_is_compiled_and_output_is_not_held_back():
    for name in TARGETS:
        environment = " ".join(rest for stage in lineage(name) for rest in stage.all("ENV"))
        assert "PYTHONUNBUFFERED=1" in environment
        assert "PYTHONDONTWRITEBYTECODE" not in environment
        runs = [run for part in ingredients(name) for run in STAGES[part].all("RUN")]
        into_image = [run for run in runs if "/opt/monge" in run and ".lock" in run]
        assert into_image
        assert all(re.search(r"--compile(-bytecode)?\b", run) for run in into_image)


@pytest.mark.parametrize("name", TARGETS)
def test_nobody_is_root_and_no_secret_is_in_it(name):
    assert final(name, "USER") not in ("root", "0")
    users = " ".join(rest for stage in lineage(name) for rest in stage.all("RUN"))
    assert re.search(rf"useradd .*\b{final(name, 'USER')}\b", users)
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"(?i)password|secret|token|api_key|index-url|https?://", text)


def test_every_copied_file_exists_and_is_sent():
    copied = {source for name in STAGES for source in sources(name)}
    assert {"src", "requirements-serve.lock", "."} <= copied
    for source in copied - {"."}:
        assert (ROOT / source).exists(), source
        assert is_sent(source), source


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a path through: the last pattern that matches it decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        exception = pattern.startswith("!")
        if re.fullmatch(_as_regex(pattern.lstrip("!")) + r"(/.*)?", path):
            sent = exception
    return sent


def _as_regex(pattern: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.strip("/"))
    wild = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(wild.get(part, re.escape(part)) for part in parts)


@pytest.mark.parametrize(
    "path",
    [
        ".git/config", ".venv/bin/python", "data/raw/cat.png", "data/prepared/train.npy",
        "data/downloads/x", "mlflow.db", "mlartifacts/1/x", ".dvc/cache/files/md5/ab",
        ".dvc/config.local", ".monge/x", ".prefect/prefect.db", "checkpoints/x", "models/x.onnx",
        "reports/x.png", "tests/conftest.py", ".env", "src/monge/__pycache__/cli.pyc",
    ],
)  # fmt: skip
def test_private_and_large_things_are_not_sent(path):
    assert not is_sent(path)


@pytest.mark.parametrize(
    "path",
    [
        "src/monge/cli/base.py", "pipelines/retrain.py", "dvc.yaml", "params.yaml", ".dvc/config",
        ".dvcignore", "data/raw/README.md", "README.md", "LICENSE",
    ],
)  # fmt: skip
def test_what_a_run_needs_is_sent(path):
    assert (ROOT / path).exists()
    assert is_sent(path)


def entrypoint(name: str) -> list[str]:
    text = final(name, "ENTRYPOINT")
    assert text.startswith("["), "the exec form, so that signals reach the program"
    words: list[str] = json.loads(text)
    return words


def test_the_entry_points_exist():
    (program,) = entrypoint("serve")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert program in scripts
    python, dash_m, module = entrypoint("train")
    assert (python, dash_m) == ("python", "-m")
    assert (ROOT / module / "__main__.py").exists()  # the one that takes --set, as docker.md has it


def docker_commands() -> list[tuple[str, list[str]]]:
    """Each `docker ...` line of a code block, with its document; test_deploy.py has compose."""
    return [
        (document.name, shlex.split(line.strip(), comments=True))
        for document in DOCUMENTS
        for line in re.sub(r"\\\n\s*", "", document.read_text(encoding="utf-8")).splitlines()
        if line.strip().startswith("docker ") and not line.strip().startswith("docker compose ")
    ]


def test_the_documents_build_both_images_under_the_names_they_run():
    built, ran = {}, set()
    for where, words in docker_commands():
        assert words[1] in ("build", "run"), where
        if words[1] == "build":
            built[words[words.index("-t") + 1]] = words[words.index("--target") + 1]
            assert words[-1] == "."
        else:
            ran.add(words[image_index(words)])
    assert set(built.values()) == set(TARGETS)
    assert ran == built.keys()


WITH_VALUE = {
    "-v",
    "--volume",
    "--user",
    "--env",
    "-e",
    "--gpus",
    "-w",
    "--workdir",
    "--name",
    "-p",
}


def image_index(words: list[str]) -> int:
    index = 2
    while words[index].startswith("-"):
        known = words[index] in {"--rm", "-it", "-i", "-t"} | WITH_VALUE
        assert known, f"docker run {words[index]}: teach this test about it"
        index += 2 if words[index] in WITH_VALUE else 1
    return index


def test_what_follows_the_image_is_understood_by_its_entry_point():
    seen = set()
    for where, words in docker_commands():
        if words[1] != "run":
            continue
        arguments = words[image_index(words) + 1 :]
        target = words[image_index(words)].partition(":")[2]
        seen.add(target)
        if target == "serve":
            commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
            commands[arguments[0]].make_context(arguments[0], list(arguments[1:]))
        else:
            assert _accepted_changes(arguments), where
    assert seen == set(TARGETS)


def _accepted_changes(arguments: list[str]) -> bool:
    """Whether the flow's own parser and the parameters take these arguments."""
    from monge.params import load

    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--set", action="append", default=[])
    known, unknown = parser.parse_known_args(arguments)
    load(ROOT / "params.yaml", known.set)
    return not unknown


def test_volumes_hold_what_a_run_leaves():
    assert final("train", "WORKDIR") == "/project"
    assert final("train", "VOLUME") == '["/project"]'
    steps = [name for name, _ in STAGES["train"].steps]
    assert "RUN" not in steps[steps.index("VOLUME") :], "changes after VOLUME are thrown away"


def test_the_parser_here_reads_comments_and_continued_lines():
    text = "# x\nFROM a AS b\nRUN one \\\n    # not a line\n    && two\nUSER me\n"
    assert parse(text)["b"].steps == [("RUN", "one && two"), ("USER", "me")]
