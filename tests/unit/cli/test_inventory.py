"""Protects: the bill of materials has what is installed, and licences are told by name."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from monge.cli.inventory import _licence

MONGE = Path(sys.executable).with_name("monge")


def test_one_command_writes_what_is_installed_and_tells_its_licences(tmp_path: Path) -> None:
    done = subprocess.run(
        [MONGE, "sbom", "-o", "found.json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_bytes())
    assert found["bomFormat"] == "CycloneDX"
    versions = {item["name"].lower(): item["version"] for item in found["components"]}
    for name in ("numpy", "onnx", "torch", "mlflow"):
        assert versions[name] == metadata.version(name)
    *lines, last = done.stdout.splitlines()
    assert last == f"{len(found['components'])} packages in found.json (CycloneDX)"
    (mit,) = (line for line in lines if line.startswith("MIT ("))
    assert f"onnxruntime-gpu {metadata.version('onnxruntime-gpu')}" in done.stdout
    assert "fastapi" in mit


def test_a_licence_is_a_name_however_it_is_told() -> None:
    assert _licence({"licenses": [{"expression": "MIT OR Apache-2.0"}]}) == "MIT OR Apache-2.0"
    named = [{"license": {"id": "BSD-3-Clause"}}, {"license": {"name": "BSD"}}]
    assert _licence({"licenses": named}) == "BSD-3-Clause and BSD"
    assert _licence({"licenses": [{"license": {"name": "A licence\nwith all its text"}}]}) == (
        "A licence"
    )
    assert _licence({}) == "not told"
