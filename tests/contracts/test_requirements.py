"""The locks against pyproject.toml, against each other, and against what is installed here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-serve.lock", "requirements-uv.lock")
PYTHONS = ("3.11", "3.12", "3.13")
WHOLE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = WHOLE["project"]
LEFT_OUT = {Requirement(text).name for text in WHOLE["tool"]["uv"]["override-dependencies"]}


@dataclass(frozen=True)
class Entry:
    requirement: Requirement
    version: str
    hashes: tuple[str, ...]


def read(lock: str) -> list[Entry]:
    """Each entry: a requirement with its marker, the version it is pinned to, its hashes."""
    entries = []
    text = re.sub(r"\\\n\s*", "", (ROOT / lock).read_text(encoding="utf-8"))
    for line in text.splitlines():
        named, *hashes = re.split(r"\s+--hash=", line)
        requirement = Requirement(named)
        (pin,) = requirement.specifier
        assert pin.operator == "==", line
        entries.append(Entry(requirement, pin.version, tuple(hashes)))
    return entries


def environment(python: str) -> dict[str, str]:
    """Markers of Linux on x86-64 with a Python: this very one, or a later patch of another."""
    values = {name: str(value) for name, value in default_environment().items()}
    if values["python_version"] != python:
        values["python_version"], values["python_full_version"] = python, f"{python}.9"
    values["sys_platform"], values["platform_machine"] = "linux", "x86_64"
    values["platform_system"], values["os_name"] = "Linux", "posix"
    return values


def applies(requirement: Requirement, where: dict[str, str], extra: str = "") -> bool:
    if requirement.marker is None:
        return True
    return requirement.marker.evaluate({**where, "extra": extra})


def locked(lock: str, python: str) -> dict[str, str]:
    """Name to version of what a lock installs; refuses two versions of one package."""
    found: dict[str, str] = {}
    where = environment(python)
    for entry in read(lock):
        if applies(entry.requirement, where):
            name = canonicalize_name(entry.requirement.name)
            assert name not in found, f"{lock}: {name} twice on Python {python}"
            found[name] = entry.version
    return found


def wanted(extra: str, where: dict[str, str]) -> list[Requirement]:
    """What monge[extra] asks for, its own extras opened."""
    texts = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    found = []
    for requirement in map(Requirement, texts):
        if requirement.name == "monge":
            found += [one for inner in requirement.extras for one in wanted(inner, where)]
        elif applies(requirement, where):
            found.append(requirement)
    return found


def unsatisfied(requirements: list[Requirement], versions: dict[str, str]) -> list[str]:
    return [
        f"{requirement}: locked {versions.get(canonicalize_name(requirement.name))}"
        for requirement in requirements
        if not requirement.specifier.contains(
            versions.get(canonicalize_name(requirement.name), "0.dev0"), prereleases=True
        )
        or canonicalize_name(requirement.name) not in versions
    ]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_satisfies_every_requirement_of_every_extra(python):
    versions = locked("requirements.lock", python)
    where = environment(python)
    for extra in ("", *PROJECT["optional-dependencies"]):
        requirements = wanted(extra, where)
        assert requirements
        assert unsatisfied(requirements, versions) == [], extra
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert unsatisfied([Requirement(text) for text in build], versions) == []


@pytest.mark.parametrize("python", PYTHONS)
def test_the_serving_lock_is_what_serve_needs_at_the_versions_that_are_tested(python):
    serve, full = locked("requirements-serve.lock", python), locked("requirements.lock", python)
    needs = wanted("", environment(python)) + wanted("server", environment(python))
    assert unsatisfied(needs, serve) == []
    assert serve.items() <= full.items()
    assert not {"torch", "onnx", "mlflow", "prefect", "dvc", "scipy", "scikit-learn"} & serve.keys()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-serve.lock"])
def test_locks_are_closed_since_they_are_installed_without_resolving(lock):
    """What the locked packages ask for, by their own metadata here, is locked as well."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    versions, where = locked(lock, python), environment(python)
    extras = ["", *PROJECT["optional-dependencies"]] if lock == LOCKS[0] else ["", "server"]
    waiting = [requirement for extra in extras for requirement in wanted(extra, where)]
    seen = set()
    while waiting:
        asked = waiting.pop()
        assert unsatisfied([asked], versions) == []
        for extra in ("", *sorted(asked.extras)):
            key = (canonicalize_name(asked.name), extra)
            if key in seen:
                continue
            seen.add(key)
            inner = map(Requirement, importlib.metadata.requires(asked.name) or [])
            waiting += [
                one for one in inner if applies(one, where, extra) and one.name not in LEFT_OUT
            ]
    assert {name for name, _ in seen} == versions.keys(), "something is locked that nobody needs"


def test_what_slows_every_start_is_left_out_and_the_reason_is_written_down():
    page = (ROOT / "docs" / "decisions" / "0003-pins.md").read_text(encoding="utf-8")
    assert {"rfc3987-syntax"} == LEFT_OUT
    for name in LEFT_OUT:
        assert f"| {name} |" in page
        assert importlib.util.find_spec(name.replace("-", "_")) is None


def test_what_is_installed_is_what_is_locked():
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    other = {
        name: (version, importlib.metadata.version(name))
        for name, version in locked("requirements.lock", python).items()
        if importlib.metadata.version(name) != version
    }
    assert other == {}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_has_hashes(lock):
    entries = read(lock)
    assert entries
    for entry in entries:
        assert entry.hashes, entry.requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in entry.hashes)


@pytest.mark.parametrize("name", [*LOCKS, "pyproject.toml", "requirements-uv.in", "Makefile"])
def test_no_address_of_a_package_index(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    named = re.findall(r"https?:|file:|(?<!emit-)index-url|find-links", text)
    if name == "Makefile":
        named = [match for match in named if match != "http:"]
    assert named == []


@pytest.mark.parametrize("python", PYTHONS)
def test_linux_gets_one_onnx_runtime_because_two_share_a_folder(python):
    for lock in LOCKS[:2]:
        runtimes = {name for name in locked(lock, python) if name.startswith("onnxruntime")}
        assert runtimes == {"onnxruntime-gpu"}, lock


def test_one_onnx_runtime_is_installed_and_it_works():
    installed = {
        canonicalize_name(found.metadata["Name"])
        for found in importlib.metadata.distributions()
        if canonicalize_name(found.metadata["Name"]).startswith("onnxruntime")
    }
    assert len(installed) == 1
    import onnxruntime  # type: ignore[import-untyped, unused-ignore]

    assert "CPUExecutionProvider" in onnxruntime.get_available_providers()


BROKEN = {
    "fastapi": ("0.151.0", "0.154.0", "0.155.0"),
    "sqlalchemy": ("2.1.0", "2.1.3"),
    "prefect": ("3.9.0",),
}


@pytest.mark.parametrize("name", BROKEN)
def test_versions_known_to_break_are_excluded_and_the_reason_is_written_down(name):
    page = (ROOT / "docs" / "decisions" / "0003-pins.md").read_text(encoding="utf-8")
    (pin,) = [one for one in wanted("pipeline", environment("3.11")) if one.name == name]
    for version in BROKEN[name]:
        assert not pin.specifier.contains(version)
    for python in PYTHONS:
        assert pin.specifier.contains(locked("requirements.lock", python)[name])
    (spelled,) = set(re.findall(rf'"({name}[<>=\[][^"]+)"', (ROOT / "pyproject.toml").read_text()))
    assert f"`{spelled}`" in page, "0003-pins.md and pyproject.toml say the same"


def lock_commands() -> dict[str, list[str]]:
    """What `make lock` runs: words by the file that it writes."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    recipe = re.search(r"^lock:.*\n((?:\t.*\n)+)", makefile, re.M)
    assert recipe
    commands = [line.split() for line in recipe[1].splitlines()]
    return {words[words.index("-o") + 1]: words for words in commands}


def test_make_lock_makes_the_locks_as_they_are():
    commands = lock_commands()
    assert set(commands) == set(LOCKS)
    for lock, words in commands.items():
        assert words[:3] == ["$(BIN)/uv", "pip", "compile"]
        assert {"--universal", "--generate-hashes", "--no-header", "--no-annotate"} <= set(words)
        assert "--no-emit-index-url" in words
        assert words[words.index("--python-version") + 1] == PYTHONS[0]
        assert not re.search(r"(?m)^\s*#", (ROOT / lock).read_text()), "no header, no annotation"
    full, serve = commands["requirements.lock"], commands["requirements-serve.lock"]
    assert full[full.index("--extra") + 1] == "dev"
    assert serve[serve.index("--extra") + 1] == "server"
    assert serve[serve.index("--constraint") + 1] == "requirements.lock"
    assert list(commands).index("requirements.lock") < list(commands).index(LOCKS[1])
    everything = {str(one) for extra in PROJECT["optional-dependencies"]
                  for one in wanted(extra, environment("3.11"))}  # fmt: skip
    assert {str(one) for one in wanted("dev", environment("3.11"))} == everything


def test_ci_runs_on_the_lowest_and_the_highest_python():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == [PYTHONS[0], PYTHONS[-1]]
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert [v for v in ("3.10", *PYTHONS, "3.14") if allowed.contains(f"{v}.0")] == list(PYTHONS)
    assert workflow["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", one) for one in used)
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_pre_commit_fetches_nothing():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {repo["repo"] for repo in hooks} == {"local"}
    for hook in hooks[0]["hooks"]:
        assert hook["language"] == "system"
        tool = Path(hook["entry"].split()[0])
        assert tool.parts[:2] == (".venv", "bin")
        assert importlib.util.find_spec({"lint-imports": "importlinter"}.get(tool.name, tool.name))
