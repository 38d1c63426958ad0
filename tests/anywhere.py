"""Runs the tests as other processors would, and on a busy machine. `make test-anywhere TIMES=3`.

    python tests/anywhere.py TIMES COMMAND...

Runs COMMAND under each setting TIMES times in a row. The settings take the place of processors:
kernels with other instructions give other last bits. Goes on after a failure, and ends by saying
how often each setting passed; its exit code is 1 unless all did.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

SETTINGS = (
    "ATEN_CPU_CAPABILITY=default",
    "ATEN_CPU_CAPABILITY=avx2",
    "ONEDNN_MAX_CPU_ISA=AVX2",
    "OPENBLAS_CORETYPE=Haswell",
    "MKL_CBWR=COMPATIBLE",  # torch's matrix products
)
BUSY = "four busy processes beside it"
# Ends with its parent, however that ended.
SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(10**6))"


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many cores busy meanwhile."""
    started = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def passes(setting: str, command: list[str]) -> bool:
    """Run the command under a setting; whether it passed."""
    environment = dict(os.environ)
    if setting != BUSY:
        name, _, value = setting.partition("=")
        environment[name] = value
    with busy(4 if setting == BUSY else 0):
        return subprocess.run(command, env=environment).returncode == 0


def main() -> int:
    """Check what was asked for, and run it."""
    times, command = sys.argv[1:2], sys.argv[2:]
    if not (command and times[0].isdecimal() and int(times[0])):
        sys.exit("anywhere: TIMES is a whole number from 1 on, as in make test-anywhere TIMES=3")
    return _everywhere(int(times[0]), command)


def _everywhere(times: int, command: list[str]) -> int:
    """Run the command under every setting, and say how often it passed."""
    told = []
    for setting in (*SETTINGS, BUSY):
        began_s, passed = time.monotonic(), 0
        for turn in range(1, times + 1):
            print(f"\n== {setting}, {turn} of {times}", flush=True)
            passed += passes(setting, command)
        minutes = (time.monotonic() - began_s) / 60
        verdict = "passed" if passed == times else "FAILED"
        told.append(f"{verdict} {passed} of {times}  {setting} ({minutes:.0f} min)")
    print("\n== the tests elsewhere", *told, sep="\n", flush=True)
    return any(line.startswith("FAILED") for line in told)


if __name__ == "__main__":
    sys.exit(main())
