"""Tells when a schedule fires: cron in our own words, the time zone, and the next times."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, available_timezones

from monge.errors import InputError

if TYPE_CHECKING:
    from prefect.schedules import Schedule

ZONE = "MONGE_TIMEZONE"
"""The environment variable with the time zone of schedules; by default the machine's own."""

SHOWN = 3
SHORTEST_S = 1.0
LONGEST_S = 366 * 86400.0
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    ("minute", 0, 59, ()), ("hour", 0, 23, ()), ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS), ("weekday", 0, 7, _DAYS),
)  # fmt: skip


@dataclass(frozen=True)
class When:
    """A schedule: five fields of cron in a time zone, or seconds from one start to the next."""

    cron: str = ""
    interval_s: float = 0.0
    zone: str = "UTC"

    def __str__(self) -> str:
        return f"{self.cron} ({self.zone})" if self.cron else f"every {self.interval_s:g} s"

    def schedule(self) -> Schedule:
        """The same as Prefect takes it."""
        from prefect.schedules import Cron, Interval

        if self.cron:
            return Cron(self.cron, timezone=self.zone)
        return Interval(timedelta(seconds=self.interval_s), timezone=self.zone)

    def next(self, n: int = SHOWN) -> list[datetime]:
        """The next times at which it fires, by Prefect's own reckoning, in its zone."""
        import asyncio

        from prefect.server.schemas.schedules import CronSchedule

        here = ZoneInfo(self.zone)
        if not self.cron:
            now = datetime.now(UTC).astimezone(here)
            return [now + timedelta(seconds=self.interval_s * k) for k in range(1, n + 1)]
        found: list[Any] = asyncio.run(
            CronSchedule(cron=self.cron, timezone=self.zone).get_dates(n)
        )
        return [date.astimezone(here) for date in found]

    def told(self) -> str:
        """The next times in a line."""
        return "next: " + ", ".join(f"{time:%a %Y-%m-%d %H:%M %Z}" for time in self.next())


def by_cron(text: str, zone: str = "") -> When:
    """A schedule from five fields of cron. Raises InputError in plain words."""
    fields = text.split()
    if len(fields) != len(_FIELDS):
        six = " Six fields would have seconds; there are none here." if len(fields) == 6 else ""
        raise InputError(
            f"cron {text!r}: takes five fields, minute hour day month weekday, as in "
            f"'0 3 * * *' for every night at three; this has {len(fields)}.{six}"
        )
    values = [_values(field, *of) for field, of in zip(fields, _FIELDS, strict=True)]
    days, months = values[2], values[3]
    if fields[4] == "*" and min(days) > max(_longest(month) for month in months):
        raise InputError(f"cron {text!r}: there is no such day, so that it would never run.")
    return When(cron=" ".join(fields), zone=time_zone(zone))


def by_interval(seconds: float, zone: str = "") -> When:
    """A schedule from seconds between two starts. Raises InputError."""
    if not math.isfinite(seconds) or not SHORTEST_S <= seconds <= LONGEST_S:
        raise InputError(
            f"interval {seconds:g}: must be a number of seconds from {SHORTEST_S:g} to "
            f"{LONGEST_S:,.0f}."
        )
    return When(interval_s=seconds, zone=time_zone(zone))


def time_zone(asked: str = "") -> str:
    """The name of a time zone: that asked for, that of MONGE_TIMEZONE, or this machine's.

    Raises InputError for one that nobody knows.
    """
    name = asked or os.environ.get(ZONE, "")
    if name:
        if name not in available_timezones():
            raise InputError(
                f"time zone {name!r}: nobody knows it. Take a name such as Europe/Paris or UTC."
            )
        return name
    known = available_timezones()
    for found in (os.environ.get("TZ", "").lstrip(":"), _linked(), _written()):
        if found in known:
            return found
    return "UTC"


def _linked() -> str:
    return os.path.realpath("/etc/localtime").rpartition("zoneinfo/")[2]


def _written() -> str:
    try:
        return Path("/etc/timezone").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _longest(month: int) -> int:
    return 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31


def _values(field: str, name: str, first: int, last: int, words: tuple[str, ...]) -> list[int]:
    """The values that a field of cron stands for. Raises InputError."""
    values: list[int] = []
    for part in field.split(","):
        match = re.fullmatch(r"(\*|([A-Za-z0-9]+)(?:-([A-Za-z0-9]+))?)(?:/(\d+))?", part)
        if match is None:
            raise InputError(f"cron, {name}: {part!r} is not one of *, 5, 1-5, */15, 1,15.")
        whole, low, high, step = match.groups()
        begin = first if whole == "*" else _value(low, name, first, last, words)
        alone = begin if step is None else last
        end = last if whole == "*" else _value(high, name, first, last, words) if high else alone
        if begin > end or step == "0" or (step is not None and int(step) > last - first + 1):
            raise InputError(f"cron, {name}: {part!r} stands for nothing.")
        values += range(begin, end + 1, int(step or 1))
    return values


def _value(text: str, name: str, first: int, last: int, words: tuple[str, ...]) -> int:
    if text.lower() in words:
        return words.index(text.lower()) + (1 if words is _MONTHS else 0)
    if not text.isdigit() or not first <= int(text) <= last:
        raise InputError(f"cron, {name}: must be from {first} to {last}, got {text}.")
    return int(text)
