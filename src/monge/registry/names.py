"""Find a version by an address, models:/NAME@ALIAS or models:/NAME/NUMBER."""

from __future__ import annotations

import re
from pathlib import Path

from monge.errors import InputError
from monge.products import project
from monge.registry.models import Registry, Version
from monge.tracking import address


def resolve(named: str, root: Path | None = None) -> tuple[Registry, Version]:
    """The version that `models:/name@alias` or `models:/name/3` names now, and its registry.

    Raises InputError when there is none, ServiceError when the registry does not answer.
    """
    match = re.fullmatch(r"models:/([^/@:]+)(?:@([^/@]+)|/(\d+))", named)
    if match is None:
        raise InputError(f"{named}: must read models:/NAME@ALIAS or models:/NAME/NUMBER.")
    name, alias, number = match.groups()
    root = root or project(Path.cwd())
    if not address.require_database(root):
        raise InputError(
            f"{named}: there is no registry at {address.shown(root)}. Run monge promote in the "
            "project's folder, or set MLFLOW_TRACKING_URI."
        )
    registry = Registry(root, name)
    versions = registry.versions()
    for version in versions:
        if alias in version.aliases or (number and version.number == int(number)):
            return registry, version
    there = f"not in the registry at {address.shown(root)}; {registry.what_exists()}"
    raise InputError(f"{named}: {there}.")


def fetch(named: str, root: Path | None = None) -> Path:
    """The generator.onnx that an address names now, on this disk. Raises what `resolve` raises."""
    registry, version = resolve(named, root)
    return registry.fetch(version)


def known_names(root: Path) -> list[str]:
    """Every name in the registry of a folder; asking makes none. Raises ServiceError."""
    if not address.require_database(root):
        return []
    return Registry(root, "").names()
