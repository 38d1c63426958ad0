"""Prefect flows over monge's stages.

Prefect, DVC and MLflow read these when they are imported, so they are set here, before any of them.
Each is a default: what the environment already says wins.
"""

import os
from pathlib import Path

from monge.products import home

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
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)
