"""The working hours that an environment declares in its settings: when somebody is there to see what a change does.

`"hours": {"timezone": "Europe/Berlin", "days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00"}`.
`to` before `from` reaches into the next day; the same time twice is the whole day.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
KEYS = {"timezone", "days", "from", "to"}


@dataclass(frozen=True)
class WorkingHours:
    """`days` are 0 (Monday) to 6, those on which the hours begin."""

    zone: ZoneInfo
    days: frozenset[int]
    begin: time
    end: time

    def include(self, now: datetime) -> bool:
        """Whether an aware time is within them."""
        here = now.astimezone(self.zone)
        clock, today, yesterday = here.time(), here.weekday(), (here - timedelta(days=1)).weekday()
        if self.begin < self.end:
            return today in self.days and self.begin <= clock < self.end
        return (today in self.days and clock >= self.begin) or (yesterday in self.days and clock < self.end)

    def describe(self) -> str:
        """Such as "mon, tue 08:00–18:00 Europe/Berlin"."""
        return f"{_describe_days(sorted(self.days))} {self.begin:%H:%M}–{self.end:%H:%M} {self.zone.key}"


def parse_working_hours(settings: Mapping[str, Any]) -> WorkingHours | None:
    """The hours that an environment's settings declare, None for none. Raises ValueError: what is wrong."""
    declared = settings.get("hours")
    if declared is None:
        return None
    if not isinstance(declared, Mapping) or set(declared) != KEYS:
        raise ValueError("Hours need `timezone`, `days`, `from` and `to`.")
    if (
        not isinstance(declared["days"], list)
        or not declared["days"]
        or not all(day in DAYS for day in declared["days"])
    ):
        raise ValueError(f"Hours need at least one day of {', '.join(DAYS)}.")
    return WorkingHours(
        _zone(declared["timezone"]),
        frozenset(DAYS.index(d) for d in declared["days"]),
        _time(declared["from"]),
        _time(declared["to"]),
    )


def working_window(settings: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The facts of the window: {"declared", "outside", "words", "local"}. Unreadable hours are always outside."""
    try:
        hours = parse_working_hours(settings)
    except ValueError:
        local = now.strftime("%a %H:%M UTC")
        return {"declared": True, "outside": True, "words": "declared, but not readable", "local": local}
    if hours is None:
        return {"declared": False, "outside": False, "words": "", "local": ""}
    local = now.astimezone(hours.zone).strftime("%a %H:%M")
    return {"declared": True, "outside": not hours.include(now), "words": hours.describe(), "local": local}


def _zone(name: Any) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, TypeError, ValueError, OSError):
        raise ValueError(f"{str(name)[:63]!r} is not a time zone, such as Europe/Berlin.") from None


def _time(text: Any) -> time:
    if isinstance(text, str) and len(text) == 5:
        try:
            return time.fromisoformat(text)
        except ValueError:
            pass
    raise ValueError("`from` and `to` must be times such as 08:00.")


def _describe_days(days: list[int]) -> str:
    if len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        return f"{DAYS[days[0]]}–{DAYS[days[-1]]}"
    return ", ".join(DAYS[day] for day in days)
