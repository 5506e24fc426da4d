"""Evidence for a period: every change proposed in it, with its approvals and whatever was out of the ordinary."""

from collections.abc import Iterator
from typing import Any

from actions.reports.life import Life, lives
from audit.auditor.reports.registry import Column, Report, ReportScope, Row
from audit.changes.visible import visible
from audit.log.subjects import actor_names

COLUMNS = (
    Column("requested_at", "Asked at", 3),
    Column("title", "Change", 6),
    Column("type", "Type", 3),
    Column("environment", "Where", 2),
    Column("tier", "Tier", 2),
    Column("requested_by", "Asked by", 3),
    Column("answers_for", "Its owner", 3),
    Column("approved_by", "Approved by", 5),
    Column("exceptions", "Exceptions", 5),
    Column("state", "Ended as", 3),
    Column("ended_at", "Ended at", 3),
    Column("plan", "Plan", 3),
    Column("events", "#", 1),
    Column("head", "Hash of the last", 3),
    Column("id", "Id", 4),
)


def rows(wanted: ReportScope) -> Iterator[Row | None]:
    for batch in lives(wanted):
        people = {who for life in batch for who in people_of(life)}
        names = actor_names(wanted.tenant, people)
        for life in batch:
            yield None
            yield _row(life, names)


def people_of(life: Life) -> set[str]:
    found = {life.requester, *(one.who for one in life.decided), *(who for who, _ in life.hands)}
    return found | ({life.owner} if life.owner else set())


def _row(life: Life, names: dict[str, str]) -> dict[str, Any]:
    action = life.action
    return {
        "id": str(action.pk),
        "requested_at": action.created_at,
        "title": visible(action.title),
        "type": action.type,
        "environment": action.environment.slug,
        "tier": action.tier,
        "requested_by": visible(names[life.requester]),
        "answers_for": visible(names[life.owner]) if life.owner else "",
        "approved_by": [said(one.what, names[one.who], one.role, one.at) for one in life.approvals],
        "exceptions": [visible(what) for what, *_ in life.exceptions],
        "state": action.state,
        "ended_at": action.completed_at,
        "plan": life.digest[:16],
        "events": life.events,
        "head": life.head[:16],
    }


def said(what: str, name: str, role: str, at: Any) -> str:
    """“Ann as approver, 2026-07-03 09:12” for an approval; with the word for anything else."""
    word = "" if what == "approved" else f" {what}"
    return f"{visible(name)}{word}{f' as {visible(role)}' if role else ''}, {at:%Y-%m-%d %H:%M}"


REPORT = Report(
    kind="changes",
    title="Evidence for a period",
    question="Which changes were proposed in these days, who approved exactly what, and what was out of the ordinary?",
    columns=COLUMNS,
    rows=rows,
    looked_at="changes",
    shows="Every change proposed in the period, whatever became of it: who asked (and who answers for an agent), each "
    "approval that stood at the end with its role and time, every exception, the digest of the plan that was approved, "
    "and the hash of its last event, which its evidence pack ends in.",
    shows_not="The diffs and texts themselves: they are in the evidence pack of each change. Changes made around "
    "Interlock. What was still under way when this was made is shown as it stood then.",
    controls=("CC8.1", "A.8.32", "CM-3", "6.5"),
)
