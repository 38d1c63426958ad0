"""Protects: an iteration does not pay for memory that the one before it had."""

import subprocess
import sys

import pytest

# As an iteration does: some tensors of megabytes that live at once, and go.
FAULTS = """
import resource, sys
import torch
from monge.training.machine.processor import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    print("not here"), sys.exit()
def iteration():
    maps = [torch.ones(6 << 20) for _ in range(4)]
    return sum(float(each[0]) for each in maps)
for turn in range(6):
    if turn == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    iteration()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_that_is_freed_is_cleared_once_and_not_in_every_iteration():
    def faults(how):
        command = [sys.executable, "-c", FAULTS, how]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    kept = faults("kept")
    if kept == "not here":
        pytest.skip("the C library is not glibc")
    assert int(kept) < 100
    assert int(faults("given back")) > 10 * max(1, int(kept))
