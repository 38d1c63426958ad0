"""Protects: a schedule that is not what somebody meant is refused in plain words, not fired."""

from datetime import timedelta

import pytest

from monge.errors import InputError
from pipelines import timetable


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("every night", "takes five fields"),
        ("", "this has 0"),
        ("@daily", "takes five fields"),
        ("0 3 * * * *", "Six fields would have seconds"),
        ("60 3 * * *", "minute: must be from 0 to 59, got 60"),
        ("0 24 * * *", "hour: must be from 0 to 23, got 24"),
        ("0 3 0 * *", "day: must be from 1 to 31, got 0"),
        ("0 3 * 13 *", "month: must be from 1 to 12, got 13"),
        ("0 3 * * 8", "weekday: must be from 0 to 7, got 8"),
        ("0 3 * * mond", "weekday: must be from 0 to 7, got mond"),
        ("*/0 3 * * *", "'*/0' stands for nothing"),
        ("30-10 3 * * *", "'30-10' stands for nothing"),
        ("H 3 * * *", "minute: must be from 0 to 59, got H"),
        ("0 3 ? * *", "'?' is not one of"),
        ("0 3 30 2 *", "there is no such day"),
    ],
)
def test_cron_that_is_none_is_refused_in_a_line(text, told):
    with pytest.raises(InputError, match="cron") as refused:
        timetable.by_cron(text, "UTC")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["0 3 * * *", "*/15 9-17 * * mon-fri", "0 0 1,15 jan,jul *"])
def test_cron_that_is_one_is_taken_by_prefect_as_well(text):
    assert timetable.by_cron(text, "UTC").schedule().cron == text


@pytest.mark.parametrize("seconds", [0, -5, float("nan"), float("inf"), 0.5, 1e12])
def test_intervals_that_no_clock_has_are_refused(seconds):
    with pytest.raises(InputError, match="interval"):
        timetable.by_interval(seconds, "UTC")


def test_three_at_night_is_three_in_the_zone_of_the_machine_or_the_one_asked_for(monkeypatch):
    monkeypatch.delenv(timetable.ZONE, raising=False)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    here = timetable.by_cron("0 3 * * *")
    assert (here.zone, [time.hour for time in here.next()]) == ("Asia/Tokyo", [3, 3, 3])
    assert {time.utcoffset() for time in here.next()} == {timedelta(hours=9)}
    assert "03:00 JST" in here.told()
    monkeypatch.setenv(timetable.ZONE, "Europe/Paris")
    assert timetable.by_cron("0 3 * * *").zone == "Europe/Paris"
    assert timetable.by_cron("0 3 * * *", "UTC").schedule().timezone == "UTC"
    with pytest.raises(InputError, match="nobody knows it"):
        timetable.by_cron("0 3 * * *", "Middle/Earth")
