"""Promotions from several machines against one real MLflow server, one of them killed."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from monge.registry import Registry
from monge.registry import lock as locks
from tests.mlflow_server import Server
from tests.running import write

RIVAL = """
import json, os, signal, sys
from pathlib import Path
from monge.params import PromoteParams
from monge.registry import Registry, promote
root, name, model, value, dies_at = sys.argv[1:]
if dies_at:
    set_alias = Registry.set_alias
    def dying(self, alias, version):
        if alias == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        set_alias(self, alias, version)
    Registry.set_alias = dying
frechet = {"value": float(value), "noise": 0.1, "better": "lower"}
frechet["protocol"] = {"protocol_hash": "p"}
promote(
    Registry(Path(root), name), Path(model), {"frechet": frechet}, PromoteParams(name=name),
    run_key=value, tags={}, rejudge=lambda path: sys.exit("rejudged"),
    beside={"MODEL_CARD.md": b"# a card"}, describe=lambda reason: f"**{reason}**",
)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", server.address)
            yield server
    finally:
        server.kill()


def rival(folder: Path, name: str, value: float, dies_at: str = "") -> subprocess.Popen[bytes]:
    """Promote from another machine: a project's folder, and so a lock file, of its own."""
    root = folder / f"machine-{value}"
    root.mkdir(exist_ok=True)
    model = write(root / "generator.onnx", seed=int(10 * value))
    command = [sys.executable, "-c", RIVAL, root, name, model, str(value), dies_at]
    return subprocess.Popen([str(part) for part in command])


def aliases(registry: Registry) -> dict[str, float]:
    """Which Fréchet distance each alias points to."""
    return {
        alias: json.loads(version.tags["monge.figure.frechet"])["value"]
        for version in registry.versions()
        for alias in version.aliases
    }


def test_of_machines_promoting_at_once_the_best_file_wins(server: Server, tmp_path: Path) -> None:
    assert rival(tmp_path, "shared", 9.0).wait(120) == 0
    rivals = [rival(tmp_path, "shared", value) for value in (5.0, 3.0, 7.0, 4.0)]
    assert [process.wait(240) for process in rivals] == [0, 0, 0, 0]
    registry = Registry(tmp_path, "shared")
    assert aliases(registry)["champion"] == 3.0
    assert aliases(registry)["previous"] > 3.0
    assert len(registry.versions()) == 5
    assert registry.names() == ["shared"]
    with pytest.raises(Exception, match=r"shared\.promoting"):
        registry._client.get_registered_model("shared.promoting")


def test_a_version_carries_its_card_and_its_verdict(server: Server, tmp_path: Path) -> None:
    assert rival(tmp_path, "carded", 5.0).wait(120) == 0
    registry = Registry(tmp_path, "carded")
    champion = registry.champion()
    assert champion is not None
    stored = registry._client.get_model_version("carded", str(champion.number))
    assert stored.description.startswith("**Promoted: there was no champion")
    where = registry._client.get_model_version_download_uri("carded", str(champion.number))
    from mlflow.artifacts import download_artifacts

    card = download_artifacts(artifact_uri=f"{where}/MODEL_CARD.md", dst_path=str(tmp_path))
    assert Path(card).read_text() == "# a card"


@pytest.mark.parametrize("dies_at", ["challenger", "champion"])
def test_a_promotion_killed_at_an_alias_leaves_the_champion_and_is_completed(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    dies_at: str,
) -> None:
    name = f"killed-{dies_at}"
    assert rival(tmp_path, name, 9.0).wait(120) == 0
    assert rival(tmp_path, name, 5.0, dies_at).wait(120) == -9
    registry = Registry(tmp_path, name)
    assert aliases(registry)["champion"] == 9.0
    monkeypatch.setattr(locks, "STALE_S", 0.0)  # else the next one waits a minute for it
    with caplog.at_level(logging.INFO, "monge"), registry.turn():
        pass
    assert "a promotion was killed before its end" in caplog.text
    assert rival(tmp_path, name, 5.0).wait(120) == 0
    assert aliases(registry) == {"champion": 5.0, "challenger": 5.0, "previous": 9.0}
