"""Separation of duties: any change in which who asked, who approved and who stepped in were not different people."""

from collections.abc import Iterator
from dataclasses import dataclass

from actions.reports.changes import people_of
from actions.reports.life import Life, lives
from audit.auditor.reports.registry import Column, Report, ReportScope, Row
from audit.changes.visible import visible
from audit.log.subjects import actor_names, agent_owners


@dataclass(frozen=True)
class Overlap:
    what: str
    who: str
    is_breach: bool


def rows(wanted: ReportScope) -> Iterator[Row | None]:
    for batch in lives(wanted):
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


def overlaps(life: Life, owners: dict[str, str]) -> list[Overlap]:
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


REPORT = Report(
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
    rows=rows,
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
