"""One value that was chosen, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A parameter by its dotted key, its value, and the reason in a few words."""

    key: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.key:<28} {self.value!s:<10} {self.reason}"
