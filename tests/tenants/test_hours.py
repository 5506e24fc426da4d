"""Working hours: who is there when, in the environment's own time zone; what cannot be read counts as nobody there."""

from datetime import UTC, datetime

import pytest

from tenants.models.working_hours import DAYS, parse_working_hours, working_window

OFFICE = {"timezone": "Europe/Berlin", "days": list(DAYS[:5]), "from": "08:00", "to": "18:00"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "outside"),
    [
        ("2026-11-20T07:00", False),
        ("2026-11-20T06:59", True),
        ("2026-11-20T16:59", False),
        ("2026-11-20T17:00", True),
        ("2026-11-21T10:00", True),
        ("2026-07-03T06:00", False),
        ("2026-11-22T23:30", True),
    ],
)
def test_hours_are_kept_in_their_own_time_zone(when, outside):
    window = working_window({"hours": OFFICE}, at(when))
    assert (window["declared"], window["outside"]) == (True, outside)
    assert window["words"] == "mon–fri 08:00–18:00 Europe/Berlin"


@pytest.mark.parametrize(
    ("when", "outside"), [("2026-11-20T23:00", False), ("2026-11-21T05:59", False), ("2026-11-21T23:00", True)]
)
def test_hours_may_reach_into_the_next_day(when, outside):
    night = {"timezone": "UTC", "days": ["fri"], "from": "22:00", "to": "06:00"}
    assert working_window({"hours": night}, at(when))["outside"] is outside


def test_the_same_time_twice_is_the_whole_day():
    day = {"timezone": "UTC", "days": ["fri", "sun"], "from": "00:00", "to": "00:00"}
    outside = [working_window({"hours": day}, at(f"2026-11-{n}T12:00"))["outside"] for n in (20, 21, 22)]
    assert outside == [False, True, False]
    assert parse_working_hours({"hours": day}).describe() == "fri, sun 00:00–00:00 UTC"


def test_no_declared_hours_are_no_hours():
    assert working_window({}, at("2026-11-21T03:00")) == {"declared": False, "outside": False, "words": "", "local": ""}


@pytest.mark.parametrize(
    "wrong",
    [
        "always",
        [],
        {},
        {**OFFICE, "days": []},
        {**OFFICE, "days": ["monday"]},
        {**OFFICE, "days": "mon"},
        {**OFFICE, "timezone": "Mars/Olympus"},
        {**OFFICE, "timezone": 1},
        {**OFFICE, "timezone": "../../etc/passwd"},
        {**OFFICE, "from": "8:00"},
        {**OFFICE, "to": "25:00"},
        {**OFFICE, "from": 800},
        {**OFFICE, "more": 1},
        {**OFFICE, "timezone": ""},
    ],
)
def test_hours_that_do_not_read_say_so_and_count_as_outside(wrong):
    with pytest.raises(ValueError, match=r"."):
        parse_working_hours({"hours": wrong})
    window = working_window({"hours": wrong}, at("2026-11-20T10:00"))
    assert (window["declared"], window["outside"]) == (True, True)
