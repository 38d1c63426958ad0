"""Finds where a run works: the checkout's own folder, a product's, or a checkout that is kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from monge import products

PRODUCT = "MONGE_PRODUCT"
"""The environment variable with the product that a worker's run is for."""

STATE = "MONGE_STATE"
"""The environment variable with a folder that outlives the folder that a worker runs in."""

_entered: set[Path] = set()


def enter(product: str) -> None:
    """Work in a product's folder, with this package still to be found. Raises InputError."""
    place = products.existing(Path.cwd(), product)
    if products.write_stages(place):
        print(f"products/{product}/{products.STAGES}: written anew, for the checkout's own changed")
    find_first(products.home(place))
    os.chdir(place)


@contextmanager
def entered(log: Callable[[str], None]) -> Iterator[None]:
    """Go where a run is to work, by MONGE_STATE and MONGE_PRODUCT, and come back from there.

    With neither that is where it is, and for a flow within a flow, which is there already. A run in
    a kept checkout waits until no other is in there. Raises MongeError.
    """
    from pipelines import kept, turn

    before, state = Path.cwd(), os.environ.get(STATE)
    if before in _entered:
        yield
        return
    if not state:
        if os.environ.get(PRODUCT):
            enter(os.environ[PRODUCT])
        with _from(before):
            yield
        return
    root = Path(state).expanduser().resolve()
    root.mkdir(parents=True, exist_ok=True)
    with turn.taken(root, log, turn.KEPT):
        kept.follow(before, root, log)
        os.chdir(root)
        find_first(root, root / "src")
        kept.fetch_data(root, log)
        if os.environ.get(PRODUCT):
            enter(os.environ[PRODUCT])
        with _from(before):
            yield


@contextmanager
def _from(before: Path) -> Iterator[None]:
    """Work where we are, and come back to where we were, if that is still there."""
    here = Path.cwd()
    _entered.add(here)
    try:
        yield
    finally:
        _entered.discard(here)
        os.chdir(before if before.exists() else Path("/"))


def find_first(*folders: Path) -> None:
    """Have child processes look for packages in these folders first."""
    searched = [*map(str, folders), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(part for part in searched if part)
