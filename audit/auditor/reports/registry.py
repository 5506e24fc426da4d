"""Kinds of reports, the controls they support, and the scope of a report: period and environment."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from audit.database.clock import database_time
from audit.errors import Invalid, NotFound
from audit.log.subjects import environment_names

Row = dict[str, Any]


@dataclass(frozen=True)
class ReportScope:
    """The scope of a run. `since` and `until` are None where the report is of now; no environment means all."""

    tenant: UUID
    since: datetime | None = None
    until: datetime | None = None
    environment: UUID | None = None


@dataclass(frozen=True)
class Column:
    """`share` is its part of a page's width. Values are strings, numbers, None, or lists of strings."""

    name: str
    title: str
    share: int = 2


@dataclass(frozen=True)
class Report:
    """
    One kind of report.

    `rows(wanted)` gives rows in an order that the same records always give, and None for each thing that was looked at,
    with rows or without: that is the progress, and what an empty report has checked. It reads in batches and keeps
    nothing. `looked_at` names those things.
    """

    kind: str
    title: str
    question: str
    columns: tuple[Column, ...]
    rows: Callable[[ReportScope], Iterator[Row | None]]
    looked_at: str
    shows: str
    shows_not: str
    controls: tuple[str, ...] = ()
    is_of_period: bool = True
    has_environment: bool = True


_reports: dict[str, Report] = {}


def register_report(report: Report) -> None:
    """Offer a report. A kind that is registered again is replaced."""
    _reports[report.kind] = report


def registered_reports() -> list[Report]:
    """All of them, by title."""
    return sorted(_reports.values(), key=lambda report: report.title)


def find_report(kind: str) -> Report:
    """Raises NotFound."""
    if kind not in _reports:
        raise NotFound
    return _reports[kind]


# Controls of four frameworks, and what of each Interlock's records show: a reading aid, not a certificate.


@dataclass(frozen=True)
class Control:
    """`asks` is our short reading of the control; `shows` and `shows_not` what the records here say about it."""

    id: str
    framework: str
    title: str
    asks: str
    shows: str
    shows_not: str


CONTROLS = (
    Control(
        "CC8.1",
        "SOC 2 (Trust Services Criteria 2017)",
        "Change management",
        "Changes are authorised, designed, tested, approved and documented before they are put in place.",
        "For each change: who requested it, its exact content, the verdict of the policies, who approved exactly "
        "that plan, how it ran, and how it was verified. Also each exception to that.",
        "Changes made outside Interlock; how changes were designed and tested before they were proposed.",
    ),
    Control(
        "A.8.32",
        "ISO/IEC 27001:2022, Annex A",
        "Change management",
        "Changes to information processing facilities and systems follow change management procedures.",
        "The procedure as it was in force (policies and matrix, with every change of them) and each change under it, "
        "with its assessed risk, its approval, its rollback plan and its verification.",
        "Whether the procedure fits the organisation; systems that Interlock does not reach.",
    ),
    Control(
        "CM-3",
        "NIST SP 800-53 Rev. 5",
        "Configuration change control",
        "Configuration-controlled changes are reviewed, approved with their impact considered, documented, retained "
        "and monitored.",
        "Blast radius and verdict of every plan, the decisions on exactly that plan, and the retained, signed record.",
        "Membership and meetings of a change board outside Interlock.",
    ),
    Control(
        "6.5",
        "PCI DSS 4.0",
        "Changes to all system components are managed securely",
        "Changes have a reason, a documented impact, an approval by authorised parties, a test and a rollback plan "
        "(6.5.1); roles are separated (6.5.4).",
        "Reason, impact, approvals, verification and rollback of each change; any overlap of requester, approver and "
        "operator, also through the owner of an agent.",
        "Whether a component is in scope of PCI DSS; separation of test and production networks (6.5.3); use of live "
        "card numbers (6.5.5).",
    ),
)
CONTROL_BY_ID = {control.id: control for control in CONTROLS}


# The scope of a report: a period of whole days (UTC) and an environment; checked, and stored as JSON.


MAX_DAYS = 366 * 2
DAY = timedelta(days=1)


def check_parameters(tenant: UUID, report: Report, values: Mapping[str, Any]) -> dict[str, str]:
    """The parameters to keep: {"since", "until"} days, the last one included, and {"environment"}. Raises Invalid."""
    parameters: dict[str, str] = {}
    issues: list[dict[str, str]] = []
    if report.is_of_period:
        usual = last_quarter(database_time().date())
        for name, otherwise in zip(("since", "until"), usual, strict=True):
            text = str(values.get(name) or otherwise.isoformat())
            if (day := parse_day(text)) is None:
                issues.append(_issue(name, f"{text[:40]!r} is not a date. Write it as 2026-07-01."))
            else:
                parameters[name] = day.isoformat()
        issues += _issues_of_period(parameters) if len(parameters) == 2 else []
    if report.has_environment and (text := str(values.get("environment") or "")):
        places = {str(pk) for pk in environment_names(tenant)} | set(environment_names(tenant).values())
        named = {name: str(pk) for pk, name in environment_names(tenant).items()}
        if text in places:
            parameters["environment"] = named.get(text, text)
        else:
            issues.append(_issue("environment", "No such environment."))
    if issues:
        raise Invalid(issues[0]["message"], issues=issues)
    return parameters


def build_scope(tenant: UUID, parameters: Mapping[str, str]) -> ReportScope:
    """The scope that stored parameters stand for: from the first day's beginning until the last day's end."""
    since, until = (parse_day(parameters.get(name, "")) for name in ("since", "until"))
    environment = parameters.get("environment")
    return ReportScope(
        tenant,
        _start_of_day(since) if since else None,
        _start_of_day(until) + DAY if until else None,
        UUID(environment) if environment else None,
    )


def describe_parameters(tenant: UUID, parameters: Mapping[str, str]) -> str:
    """“1 Jul 2026 to 30 Sep 2026, prod”."""
    days = [day for name in ("since", "until") if (day := parse_day(parameters.get(name, "")))]
    period = " to ".join(f"{day.day} {day:%b %Y}" for day in days) or "as of now"
    place = parameters.get("environment")
    names = {str(pk): name for pk, name in environment_names(tenant).items()} if place else {}
    return f"{period}, {names.get(place, place) if place else 'all environments'}"


def last_quarter(today: date) -> tuple[date, date]:
    """First and last day of the quarter before this one."""
    first = date(today.year, 3 * ((today.month - 1) // 3) + 1, 1)
    last = first - DAY
    return date(last.year, last.month - 2, 1), last


def parse_day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 2000 <= found.year <= 8999 else None


def _issues_of_period(parameters: Mapping[str, str]) -> list[dict[str, str]]:
    since, until = date.fromisoformat(parameters["since"]), date.fromisoformat(parameters["until"])
    if since > until:
        return [_issue("until", "The period must end on or after its first day.")]
    if (until - since).days >= MAX_DAYS:
        return [_issue("since", "A report covers two years at most. Request several reports.")]
    return []


def _start_of_day(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _issue(field: str, message: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": field}


MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson", "pdf": "application/pdf"}
