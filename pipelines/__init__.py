"""Prefect flows over monge's stages.

Prefect, DVC and MLflow read these when they are imported, so they are set here, before any of them.
Each is a default: what the environment already says wins.
"""

import os
from pathlib import Path

from monge import servers
from monge.imports import uncollected
from monge.products import home

# What a run needs where servers restart and processes die; `deploy` gives it to workers' runs, too.
RUNS = {
    # A sign of life each half minute, by whose absence the server can tell that a run has died.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    # A server that is away, or whose database is, is asked again for two minutes.
    "PREFECT_CLIENT_MAX_RETRIES": "6",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504",
}
_DEFAULTS = {
    # Nothing calls home.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    # Prefect keeps its database in the project, and may take its time to make it.
    "PREFECT_HOME": str(home(Path.cwd()) / ".prefect"),
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    **RUNS,
}
uncollected()
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)

SERVERS = servers.use(home(Path.cwd()))
"""The lines to tell of the servers of `make up`, where those are used."""
