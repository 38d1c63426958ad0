"""Tells a person the result of the chain, read from the files that it left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monge import products
from monge.errors import InputError
from monge.evaluation import document
from monge.paths import Paths


def lines(root: Path) -> list[str]:
    """The closing lines of a run: pictures, figures, champion, and what to do next."""
    paths, root = Paths(root), products.home(root)
    promotion = promotion_facts(paths)
    rows = [
        (
            "pictures",
            f"{_short(paths.pictures / 'samples.png', root)} (real ones: real.png beside it)",
        ),
        ("report", f"{_short(paths.page, root)} (open it in a browser)"),
        ("figures", f"{figures_line(paths)} ({_short(paths.metrics, root)})"),
        ("verdict", promotion["words"]),
        ("champion", promotion["sentence"]),
        ("sample", f".venv/bin/monge sample {promotion['champion']} -n 64 --seed 7 -o grid.png"),
        ("history", "make mlflow (runs, curves, registry), make prefect (flow runs, schedules)"),
        ("your images", 'make run IMAGES="/path/to/pictures" MINUTES=30'),
    ]
    return ["", *(f"  {label:<12} {text}" for label, text in rows)]


def promotion_facts(paths: Paths) -> dict[str, Any]:
    """Read what the last `monge promote` decided. Raises InputError where that cannot be read."""
    try:
        facts: dict[str, Any] = json.loads(paths.promotion.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{paths.promotion}: cannot be read ({error}). `monge promote` writes it again."
        ) from None
    return facts


def figures(paths: Paths) -> dict[str, dict[str, Any]]:
    """The last evaluation's figures by name."""
    return document.read(paths.metrics)


def figures_line(paths: Paths) -> str:
    """The two or three figures that say most, in one line."""
    parts = []
    for name, figure in figures(paths).items():
        if name in ("frechet", "classifier_score", "sliced_wasserstein"):
            floor = figure.get("floor")
            beside = f" (real images: {floor:.3g})" if isinstance(floor, float) else ""
            parts.append(f"{name} {figure['value']:.3g}{beside}")
    return ", ".join(parts)


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root))
