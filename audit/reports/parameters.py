"""What a report is asked for: a period of whole days (UTC) and an environment, checked, kept as JSON, said in words."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from audit.clock import database_time
from audit.errors import Invalid
from audit.reports.registry import Report, Wanted
from audit.subjects import names_of_places

LONGEST_DAYS = 366 * 2
DAY = timedelta(days=1)


def checked(tenant: UUID, report: Report, asked: Mapping[str, Any]) -> dict[str, str]:
    """The parameters to keep: {"since", "until"} days, the last one included, and {"environment"}. Raises Invalid."""
    kept: dict[str, str] = {}
    issues: list[dict[str, str]] = []
    if report.is_of_period:
        usual = last_quarter(database_time().date())
        for name, otherwise in zip(("since", "until"), usual, strict=True):
            text = str(asked.get(name) or otherwise.isoformat())
            if (day := day_of(text)) is None:
                issues.append(_issue(name, f"{text[:40]!r} is no day. Write it as 2026-07-01."))
            else:
                kept[name] = day.isoformat()
        issues += _issues_of_period(kept) if len(kept) == 2 else []
    if report.has_environment and (text := str(asked.get("environment") or "")):
        places = {str(pk) for pk in names_of_places(tenant)} | set(names_of_places(tenant).values())
        named = {name: str(pk) for pk, name in names_of_places(tenant).items()}
        if text in places:
            kept["environment"] = named.get(text, text)
        else:
            issues.append(_issue("environment", "There is no such environment."))
    if issues:
        raise Invalid(issues[0]["message"], issues=issues)
    return kept


def wanted(tenant: UUID, parameters: Mapping[str, str]) -> Wanted:
    """What the kept parameters mean: from the first day's beginning until the last day's end."""
    since, until = (day_of(parameters.get(name, "")) for name in ("since", "until"))
    environment = parameters.get("environment")
    return Wanted(
        tenant, _moment(since) if since else None, _moment(until) + DAY if until else None,
        UUID(environment) if environment else None,
    )  # fmt: skip


def in_words(tenant: UUID, parameters: Mapping[str, str]) -> str:
    """“1 Jul 2026 to 30 Sep 2026, prod”."""
    days = [day for name in ("since", "until") if (day := day_of(parameters.get(name, "")))]
    period = " to ".join(f"{day.day} {day:%b %Y}" for day in days) or "as of now"
    place = parameters.get("environment")
    names = {str(pk): name for pk, name in names_of_places(tenant).items()} if place else {}
    return f"{period}, {names.get(place, place) if place else 'all environments'}"


def last_quarter(today: date) -> tuple[date, date]:
    """First and last day of the quarter before this one."""
    first = date(today.year, 3 * ((today.month - 1) // 3) + 1, 1)
    last = first - DAY
    return date(last.year, last.month - 2, 1), last


def day_of(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 2000 <= found.year <= 8999 else None


def _issues_of_period(kept: Mapping[str, str]) -> list[dict[str, str]]:
    since, until = date.fromisoformat(kept["since"]), date.fromisoformat(kept["until"])
    if since > until:
        return [_issue("until", "A period ends on the day it begins, or later.")]
    if (until - since).days >= LONGEST_DAYS:
        return [_issue("since", "A report covers two years at most. Ask for several.")]
    return []


def _moment(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _issue(field: str, message: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}
