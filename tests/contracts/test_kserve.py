"""The manifest for KServe starts what there is: the command line, the probes, the port."""

from pathlib import Path

import typer
import yaml

from monge.cli import app

MANIFEST = Path(__file__).parents[2] / "examples" / "kserve" / "inference-service.yaml"


def test_the_manifest_starts_the_service_as_it_is(service):
    (container,) = yaml.safe_load(MANIFEST.read_text())["spec"]["predictor"]["containers"]
    command, *arguments = container["args"]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    asked = commands[command].make_context(command, arguments).params
    assert asked["port"] == container["ports"][0]["containerPort"]
    assert asked["host"] == "0.0.0.0"
    assert str(asked["token_file"]).startswith(container["volumeMounts"][0]["mountPath"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asks = container[probe]["httpGet"]
        assert asks["port"] == asked["port"]
        assert service.client.get(asks["path"]).status_code == 200
