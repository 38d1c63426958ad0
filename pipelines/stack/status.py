"""`make status`: one screen of what runs, where, since when, and what it is at."""

from __future__ import annotations

import base64
import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from monge.durations import duration
from pipelines.stack import health, passwords, process, supervisor
from pipelines.stack.settings import HOST, Place, Settings, kept
from pipelines.stack.table import Service, champion, model_name, table

_WIDTH = 80
_TAIL_BYTES = 64 * 1024
_TROUBLE = ("ERROR", "FATAL", "CRITICAL", "PANIC", "Error:", "monge: ")
_REMARK = re.compile(r"[IW]\d{4} ")  # of SeaweedFS: information, warning
_MARKS = {"up": "up", "idle": "waits", "waiting": "waits"}


def show(place: Place, as_json: bool) -> int:
    """Print the state of all servers; the exit code is 3 where one that should run does not."""
    facts = gather(place)
    print(json.dumps(facts, indent=1) if as_json else "\n".join(screen(facts)))
    return 0 if facts["well"] else 3


def gather(place: Place) -> dict[str, Any]:
    """Ask every server, and the disk, anew."""
    if not place.settings.exists():
        return {"checkout": str(place.checkout), "servers": [], "well": False, "supervisor": None}
    settings, secret = kept(place), passwords.load(place.state)
    rows, keeper = table(place, settings, secret), supervisor.pid(place)
    known = supervisor.report(place).get("servers", {}) if keeper else {}
    found = [_server(place, row, known.get(row.name, {})) for row in rows.values()]
    return {
        "checkout": str(place.checkout), "logs": str(place.logs), "supervisor": keeper,
        "servers": found, "well": keeper is not None and all(each["well"] for each in found),
        "champion": _champion(place, settings), **_runs(settings, secret.prefect),
    }  # fmt: skip


def screen(facts: dict[str, Any]) -> list[str]:
    """Lay the facts out on lines of at most 80 columns."""
    if not facts["servers"]:
        return ["no servers were started here yet: `make up` starts them"]
    keeper = f"supervisor: process {facts['supervisor']}" if facts["supervisor"] else (
        "no supervisor runs: `make up`"
    )  # fmt: skip
    lines = [_cut(f"{facts['checkout']}, {keeper}"), ""]
    lines.append(f"{'server':<11}{'state':<9}{'for':<13}{'restarts':<10}{'disk':>7}  address")
    for each in facts["servers"]:
        lasted = duration(each["for_s"]) if each["for_s"] is not None else "-"
        disk = _size(each["disk_bytes"]) if each["disk_bytes"] is not None else "-"
        lines.append(
            f"{each['title']:<11}{each['state']:<9}{lasted:<13}{each['restarts']:<10}{disk:>7}  "
            f"{each['address']}"
        )
    lines += ["", _cut(f"champion  {facts['champion']}")]
    for name, title in (("next", "next"), ("at_work", "at work")):
        for n, line in enumerate(facts[name] or ["none"]):
            lines.append(_cut(f"{title if n == 0 else '':<10}{line}"))
    told = [each for each in facts["servers"] if each["told"]]
    lines += [_cut(f"{each['title']:<10}{each['told']}") for each in told]
    lines += [_cut(f"logs      {facts['logs']}")]
    return lines


def _server(place: Place, row: Service, known: dict[str, Any]) -> dict[str, Any]:
    running = process.known(place.state, row.name)
    state = _MARKS.get(known.get("state", ""), known.get("state", "stopped"))
    if running is None and state == "up":
        state = "gone"
    elif running is not None and state in ("up", "stopped"):
        state = "up" if row.health() else "silent"
    since_s = time.time() - running.age_s if running else 0.0
    last = _last_trouble(place.logs / f"{row.name}.log", since_s)
    return {
        "name": row.name, "title": row.title, "state": state, "address": row.address,
        "pid": running.pid if running else None,
        "for_s": round(running.age_s) if running else None,
        "restarts": known.get("restarts", 0), "told": known.get("told") or last,
        "disk_bytes": _disk(row.data) if row.data else None,
        "well": state == "up" or known.get("state") == "idle",
    }  # fmt: skip


def _champion(place: Place, settings: Settings) -> str:
    name, port = model_name(place, settings), settings.mlflow_port
    try:
        version = champion(f"http://{HOST}:{port}", name)
    except (OSError, KeyError, ValueError):
        return f"none of {name} yet"
    return f"{name} version {version}"


def _runs(settings: Settings, password: str) -> dict[str, list[str]]:
    """The flow runs that come next and those at work, in words."""
    told: dict[str, list[str]] = {}
    for name, state, order in (
        ("next", "SCHEDULED", "EXPECTED_START_TIME_ASC"),
        ("at_work", "RUNNING", "START_TIME_DESC"),
    ):
        wanted = {"flow_runs": {"state": {"type": {"any_": [state]}}}, "sort": order, "limit": 3}
        try:
            runs = _ask(settings, password, "flow_runs", wanted)
            ids = [run["deployment_id"] for run in runs if run["deployment_id"]]
            rows = _ask(settings, password, "deployments", {"deployments": {"id": {"any_": ids}}})
            names = {row["id"]: row["name"] for row in rows}
            told[name] = [_run(run, names, name == "next") for run in runs]
        except (OSError, KeyError, ValueError):
            told[name] = []
    return told


def _ask(settings: Settings, password: str, what: str, body: dict[str, Any]) -> Any:
    token = base64.b64encode(f"monge:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    url = f"http://{HOST}:{settings.prefect_port}/api/{what}/filter"
    return json.loads(health.get(url, headers, json.dumps(body).encode()))


def _run(run: dict[str, Any], names: dict[str, str], is_next: bool) -> str:
    at = run["expected_start_time"] if is_next else run["start_time"]
    when = datetime.fromisoformat(at.replace("Z", "+00:00")).astimezone()
    return f"{when:%a %d %b %H:%M}  {names.get(run['deployment_id'], '')} {run['name']}"


def _last_trouble(path: Path, since_s: float) -> str:
    """The last line of a log that tells of trouble, if the log was written in this life."""
    try:
        if path.stat().st_mtime < since_s:
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    found = [
        line for line in lines
        if any(word in line for word in _TROUBLE) and not _REMARK.match(line)
    ]  # fmt: skip
    return found[-1].strip() if found else ""


def _disk(path: Path) -> int:
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.lstat().st_blocks * 512
        except OSError:  # removed meanwhile
            continue
    return total


def _size(number: float) -> str:
    units = ["B", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number /= 1000
        del units[0]
    return f"{number:.0f} {units[0]}"


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
