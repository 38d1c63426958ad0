"""Runs a command that must not outlive the flow: `python -I -S guard.py GRACE_S COMMAND...`.

The flow holds the other end of this process's standard input. When that closes, the flow is gone,
however it went (also by SIGKILL, which nobody can handle), and the command's whole process group is
told to save its work and end: SIGTERM, then SIGKILL. It ends as the command ends, by the same exit
code or the same signal. It needs nothing but Python, and starts in a few milliseconds.
"""

import os
import signal
import subprocess
import sys
import threading
import time


def main(grace_s: float, command: list[str]) -> int:
    """Run the command to its end, as the leader of its process group."""
    # A handler and not SIG_IGN, which the command would inherit.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    # What is open here beside the standard streams was handed over for the command.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
    threading.Thread(target=_end_with_flow, args=(grace_s,), daemon=True).start()
    code = child.wait()
    if code < 0:
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _end_with_flow(grace_s: float) -> None:
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(grace_s)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
