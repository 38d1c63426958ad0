"""Times as people say them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Write a time in seconds, minutes or hours, two of them where both say something.

    `54 s`, `9 min 24 s`, `31 min`, `3 h 05 min`, `52 h`.
    """
    if not seconds < float("inf"):
        return "an unknown time"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes < 24 * 60 else f"{hours} h"
