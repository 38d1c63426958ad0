"""What is asserted of every study: at its quick size its claim holds, over seeds, and in time."""

from __future__ import annotations

import time

from studies import catalogue
from studies.study import Conditions

SEEDS = (0, 1)
LONGEST_S = 20.0


def hold(name: str) -> None:
    """Run a study for each seed; every number that decides is where the claim wants it."""
    work = catalogue.work_of(name)
    for seed in SEEDS:
        began = time.process_time()
        found = work(Conditions("quick", seed))
        outside = {n.name: (n.value, n.low, n.high) for n in found.numbers if not n.within}
        assert not outside, f"{name}, seed {seed}"
        assert time.process_time() - began < LONGEST_S, f"{name} is not quick"
        assert found.figure.axes, f"{name} draws nothing"
