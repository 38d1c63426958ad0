"""Protects: a service takes no more connections than the system lets it have files."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

_ASKED = """
import json, logging, os, resource, sys
logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, (200, int(sys.argv[1])))
from monge.server.open_files import room
most, backlog = room(1024)
open_files = len(os.listdir("/proc/self/fd"))
print(json.dumps([most, backlog, open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[0]]))
"""


def asked(hard: int) -> tuple[list[int], str]:
    done = subprocess.run(
        [sys.executable, "-c", _ASKED, str(hard)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout), done.stderr


def test_under_ulimit_n_200_connections_and_what_waits_for_one_have_files_to_spare() -> None:
    (most, backlog, open_files, soft), told = asked(200)
    assert soft == 200
    assert most > 50
    assert backlog > 50
    assert most + backlog + open_files < 190, "as many files are left for models and pictures"
    (line,) = told.splitlines()
    assert line == f"at most {most} connections, as only 200 files may be open (ulimit -n)"


def test_a_low_limit_is_raised_where_it_may_be() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip(f"this machine allows {hard} open files")
    (most, backlog, open_files, soft), told = asked(4096)
    assert (most, told) == (1024, "")
    assert most + backlog + open_files < soft <= 4096
