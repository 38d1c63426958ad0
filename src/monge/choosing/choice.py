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
        shown = self.value
        if isinstance(shown, list):  # of conditions, each on a figure
            shown = ", ".join(str(condition["metric"]) for condition in shown)
        return f"{self.key:<28} {shown!s:<10} {self.reason}"
