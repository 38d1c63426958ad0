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
from monge.products import home

PROJECT = "MONGE_PROJECT"
"""The environment variable with the project's name; by default the name of its folder."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Owner:
    """A project, one of its products or none, and the place that its code comes from.

    That is a git address, which all who work on the project share, or else a folder of this
    machine. Who changes from this folder to an address stays the owner.
    """

    project: str
    product: str
    place: str
    here: str = ""

    @property
    def tags(self) -> list[str]:
        """Name the owner, for a deployment and every run of it."""
        product = [f"product:{self.product}"] if self.product else []
        return ["monge", f"project:{self.project}", *product, f"place:{self.place}"]

    def deployment(self, row: str) -> str:
        """The name of one of the owner's deployments."""
        return "-".join(part for part in (self.project, self.product, row) if part)

    def owns(self, tags: list[str]) -> bool:
        """Tell whether what has these tags is the owner's."""
        mine = set(self.tags) - {f"place:{self.place}"}
        places = {f"place:{self.place}", f"place:{self.here}"}
        return mine <= set(tags) and bool(places & set(tags)) and not _products(tags) - mine

    def require(self, name: str, tags: list[str]) -> None:
        """Raise InputError when a deployment with these tags is another's."""
        if self.owns(tags):
            return
        other = " ".join(sorted(tag for tag in tags if tag.startswith(("project:", "place:"))))
        raise InputError(
            f"the server has a deployment called {name} that belongs to {other or 'somebody else'}."
            f" Give this project a name of its own ({PROJECT}=NAME), or remove that deployment."
        )


def owner(root: Path, product: str = "", git: str = "") -> Owner:
    """The owner of what the checkout of `root` deploys, by its git address if one is given.

    Raises InputError.
    """
    checkout = home(root)
    name = os.environ.get(PROJECT) or re.sub(r"[^A-Za-z0-9._-]+", "-", checkout.name).strip("-._")
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{PROJECT}: {name!r} cannot name a project: take up to 63 letters, digits, '.', '_' "
            "or '-', the first one a letter or a digit."
        )
    here = f"{socket.gethostname()}:{checkout}"
    return Owner(name, product, git or here, here)


def _products(tags: list[str]) -> set[str]:
    return {tag for tag in tags if tag.startswith("product:")}
