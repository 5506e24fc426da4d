"""Reports on changes: every change with its approvals, and the separation of duties."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from actions.audit_hooks.change_history import ChangeHistory, change_histories
from actions.audit_hooks.exception_reports import EXCEPTIONS_REPORT, VERIFICATIONS_REPORT
from audit.auditor.reports.registry import Column, Report, ReportScope, Row, register_report
from audit.changes.visible import visible
from audit.log.subjects import actor_names, agent_owners

CHANGES_COLUMNS = (
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


def change_rows(wanted: ReportScope) -> Iterator[Row | None]:
    for batch in change_histories(wanted):
        people = {who for life in batch for who in people_of(life)}
        names = actor_names(wanted.tenant, people)
        for life in batch:
            yield None
            yield _change_row(life, names)


def people_of(life: ChangeHistory) -> set[str]:
    found = {life.requester, *(one.who for one in life.decided), *(who for who, _ in life.hands)}
    return found | ({life.owner} if life.owner else set())


def _change_row(life: ChangeHistory, names: dict[str, str]) -> dict[str, Any]:
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
        "approved_by": [describe_decision(one.what, names[one.who], one.role, one.at) for one in life.approvals],
        "exceptions": [visible(what) for what, *_ in life.exceptions],
        "state": action.state,
        "ended_at": action.completed_at,
        "plan": life.digest[:16],
        "events": life.events,
        "head": life.head[:16],
    }


def describe_decision(what: str, name: str, role: str, at: Any) -> str:
    """“Ann as approver, 2026-07-03 09:12” for an approval; with the word for anything else."""
    word = "" if what == "approved" else f" {what}"
    return f"{visible(name)}{word}{f' as {visible(role)}' if role else ''}, {at:%Y-%m-%d %H:%M}"


CHANGES_REPORT = Report(
    kind="changes",
    title="Evidence for a period",
    question="Which changes were proposed in these days, who approved exactly what, and what was out of the ordinary?",
    columns=CHANGES_COLUMNS,
    rows=change_rows,
    looked_at="changes",
    shows="Every change proposed in the period, whatever became of it: who asked (and who answers for an agent), each "
    "approval that stood at the end with its role and time, every exception, the digest of the plan that was approved, "
    "and the hash of its last event, which its evidence pack ends in.",
    shows_not="The diffs and texts themselves: they are in the evidence pack of each change. Changes made around "
    "Interlock. What was still under way when this was made is shown as it stood then.",
    controls=("CC8.1", "A.8.32", "CM-3", "6.5"),
)


# Separation of duties: any change in which who asked, who approved and who stepped in were not different people.


@dataclass(frozen=True)
class Overlap:
    what: str
    who: str
    is_breach: bool


def overlap_rows(wanted: ReportScope) -> Iterator[Row | None]:
    for batch in change_histories(wanted):
        people = {who for life in batch for who in people_of(life)}
        names, owners = actor_names(wanted.tenant, people), agent_owners(wanted.tenant, people)
        for life in batch:
            yield None
            for overlap in overlaps(life, owners):
                yield {
                    "requested_at": life.action.created_at,
                    "title": visible(life.action.title),
                    "environment": life.action.environment.slug,
                    "tier": life.action.tier,
                    "what": overlap.what,
                    "who": visible(names.get(overlap.who, overlap.who)),
                    "weight": "breach" if overlap.is_breach else "to look at",
                    "state": life.action.state,
                    "id": str(life.action.pk),
                }


def overlaps(life: ChangeHistory, owners: dict[str, str]) -> list[Overlap]:
    """Who filled two parts, the worst first. `owners`: who answers for an agent counts as the agent. Pure."""
    asked = {life.requester, *_chain(life.requester, owners)} | ({life.owner} if life.owner else set())
    approved = {one.who for one in life.decided if one.what == "approved"}
    hands = dict(life.hands)
    found = [
        Overlap("approved what they, or an agent of theirs, asked for", who, True) for who in sorted(approved & asked)
    ]
    found += [Overlap("an agent approved", who, True) for who in sorted(approved & owners.keys())]
    together = sorted({owner for who, owner in owners.items() if who in hands} & approved)
    found += [Overlap("approved, and an agent of theirs stepped in", who, False) for who in together]
    both = sorted(approved & hands.keys())
    found += [Overlap(f"approved it and stepped in ({hands[who]})", who, False) for who in both]
    if not approved:
        found += [
            Overlap(f"asked for it and stepped in, and nobody else approved ({hands[who]})", who, False)
            for who in sorted(asked & hands.keys())
        ]
    return found


def _chain(who: str, owners: dict[str, str]) -> list[str]:
    """Whom an agent answers to, and so on; an owner is met once."""
    found: list[str] = []
    while (who := owners.get(who, "")) and who not in found:
        found.append(who)
    return found


DUTIES_REPORT = Report(
    kind="separation_of_duties",
    title="Separation of duties",
    question="Was there any change in which who asked, who approved and who stepped in were not different people?",
    columns=(
        Column("requested_at", "Asked at", 3),
        Column("title", "Change", 6),
        Column("environment", "Where", 2),
        Column("tier", "Tier", 2),
        Column("who", "Who", 3),
        Column("what", "Did what", 6),
        Column("weight", "Weight", 2),
        Column("state", "Ended as", 3),
        Column("id", "Id", 5),
    ),
    rows=overlap_rows,
    looked_at="changes",
    shows="For every change proposed in the period, its requester, whoever answers for a requesting agent, everybody "
    "whose approval stood, and every person who stepped in while it ran (resume, roll back, abort, settle a doubt), "
    "held against each other. A breach is an approval by the requesting side or by an agent; Interlock refuses "
    "those, so one would mean that its gate was passed. Steps themselves are carried out by workers, which are "
    "nobody.",
    shows_not="Two accounts of one person. Agreements between people. Who reviewed code or configuration before it was "
    "proposed. Owners are those of now.",
    controls=("CC8.1", "A.8.32", "CM-3", "6.5"),
)


# What this floor adds to the auditor's reports.


def register_reports() -> None:
    for report in (CHANGES_REPORT, DUTIES_REPORT, EXCEPTIONS_REPORT, VERIFICATIONS_REPORT):
        register_report(report)
