"""`monge sbom`: what is installed, and under which licences."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer

from monge.cli.base import app
from monge.errors import EnvironmentFault, MissingExtra
from monge.files import deliver

_UNKNOWN = "not told"


@app.command()
def sbom(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The bill of materials, CycloneDX in JSON.")
    ] = Path("sbom.cdx.json"),
) -> None:
    """Write what is installed as a bill of materials, and list its licences."""
    if importlib.util.find_spec("cyclonedx_py") is None:
        raise MissingExtra("a bill of materials needs cyclonedx-bom: pip install 'monge[sbom]'.")
    made = subprocess.run(
        [
            sys.executable, "-m", "cyclonedx_py", "environment", sys.executable,
            "--output-reproducible", "--output-format", "JSON", "-o", "-",
        ],
        capture_output=True,
    )  # fmt: skip
    if made.returncode:
        said = made.stderr.decode("utf-8", "replace").strip().splitlines()
        raise EnvironmentFault(f"cyclonedx-py failed: {said[-1] if said else 'without a word'}")
    components = json.loads(made.stdout)["components"]
    deliver(output, made.stdout)
    by_licence: dict[str, list[str]] = defaultdict(list)
    for item in components:
        by_licence[_licence(item)].append(f"{item['name']} {item.get('version', '')}".strip())
    for licence, packages in sorted(by_licence.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        typer.echo(f"{licence} ({len(packages)}): {', '.join(sorted(packages, key=str.lower))}")
    typer.echo(f"{len(components)} packages in {output} (CycloneDX)")


def _licence(component: dict[str, Any]) -> str:
    """Read what a component says of its licence: an expression, names, or nothing."""
    found = []
    for item in component.get("licenses", []):
        named = item.get("license", {})
        text = item.get("expression") or named.get("id") or named.get("name", "")
        # Some packages put the licence's whole text where its name belongs.
        found.append(str(text).strip().partition("\n")[0][:60])
    return " and ".join(dict.fromkeys(name for name in found if name)) or _UNKNOWN
