"""Marks the runs that somebody starts at a shell, beside a server: whose they are, and watched.

Runs of deployments have the owner's tags, by which the server's automation finds those that fall
silent. These have the same ones, so that a run whose machine dies does not stay for ever.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import tags

from monge.errors import MongeError
from monge.products import FOLDER, home
from pipelines import automations
from pipelines.embedded import EMBEDDED
from pipelines.project import Owner, owner


@contextmanager
def begun() -> Iterator[None]:
    """Tag the flows that begin meanwhile, and see that a server looks after them.

    A folder whose name cannot name a project is no reason not to run: its runs have no tags.
    """
    # A server that lives for this run alone would not outlive it to mark it. It has the database of
    # those that stay, and their automations: with tags it would only be busier.
    stays = os.environ.get("PREFECT_API_URL") and not os.environ.get(EMBEDDED)
    whose = _owner() if stays else None
    if whose is None:
        yield
        return
    warning = automations.require(whose)
    if warning:
        print(f"{whose.project}: {warning}", file=sys.stderr)
    with tags(*whose.tags):
        yield


def _owner() -> Owner | None:
    here = Path.cwd().resolve()
    product = here.name if here.parent.name == FOLDER and home(here) != here else ""
    try:
        return owner(here, product)
    except (MongeError, OSError):
        return None
