"""Whose deployments these are: several projects, and copies of one, may share a Prefect server.

A deployment's name begins with the project's. Its tags say which project, product and place it is
of, so that nobody replaces, stops or removes what another place has put there.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from monge.errors import InputError
from monge.products import FOLDER, home

PROJECT = "MONGE_PROJECT"
"""The environment variable with the project's name; by default the name of its folder."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Owner:
    """A project, one of its products or none, and the place that deploys it."""

    project: str
    product: str
    place: str

    @property
    def tags(self) -> list[str]:
        """What a deployment says of its owner, and every run of it, too."""
        product = [f"product:{self.product}"] if self.product else []
        return ["monge", f"project:{self.project}", *product, f"place:{self.place}"]

    def deployment(self, row: str) -> str:
        """The name of one of the owner's deployments."""
        return "-".join(part for part in (self.project, self.product, row) if part)

    def require(self, name: str, tags: list[str]) -> None:
        """Raise InputError when a deployment with these tags is another's."""
        if set(self.tags) <= set(tags) and _products(tags) == _products(self.tags):
            return
        other = " ".join(sorted(tag for tag in tags if tag.startswith(("project:", "place:"))))
        raise InputError(
            f"the server has a deployment called {name} that belongs to {other or 'somebody else'}."
            f" Give this project a name of its own ({PROJECT}=NAME), or remove that deployment."
        )


def owner(root: Path, product: str = "") -> Owner:
    """The owner of what the checkout of `root` deploys. Raises InputError."""
    checkout = home(root)
    name = os.environ.get(PROJECT) or re.sub(r"[^A-Za-z0-9._-]+", "-", checkout.name).strip("-._")
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{PROJECT}: {name!r} cannot name a project: take up to 63 letters, digits, '.', '_' "
            "or '-', the first one a letter or a digit."
        )
    return Owner(name, product, f"{socket.gethostname()}:{checkout}")


def product_of(root: Path) -> str:
    """The product whose folder this is, empty for the checkout's own."""
    return root.name if root.parent.name == FOLDER and home(root) != root.resolve() else ""


def _products(tags: list[str]) -> set[str]:
    return {tag for tag in tags if tag.startswith("product:")}
