"""Quick tests first, so that a wrong line is found soon; then the slow files, the longest first.

The tests of a file stay in one process: begun last, a long file would leave the other without work.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Half a minute and more on two quiet cores.
SLOW: tuple[str, ...] = (
    "tests/pipeline/test_default_chain.py",
    "tests/pipeline/test_killed_chain.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the order within a file, and of the files that are not slow."""
    items.sort(key=place)


def place(item: pytest.Item) -> int:
    """Where a test's file stands: all quick ones before the first slow one."""
    name = item.path.relative_to(ROOT).as_posix() if item.path.is_relative_to(ROOT) else ""
    return SLOW.index(name) if name in SLOW else -1
