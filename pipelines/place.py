"""Where a run works: the checkout's own folder, or that of a product."""

from __future__ import annotations

import os
from pathlib import Path

from monge import products


def enter(product: str) -> None:
    """Work in a product's folder, with this package still to be found. Raises InputError."""
    place = products.existing(Path.cwd(), product)
    if products.write_stages(place):
        print(f"products/{product}/{products.STAGES}: written anew, for the checkout's own changed")
    searched = [str(products.home(place)), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(part for part in searched if part)
    os.chdir(place)
