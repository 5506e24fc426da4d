"""The report of a pack: what happened, who decided, what was changed, for reading on paper."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from audit.events import Subject
from audit.evidence.collect import Collected
from audit.evidence.paper_diff import paper_changes
from audit.evidence.proofs import Seal
from audit.evidence.typesetting import NotSet, pdf
from audit.subjects import described

log = structlog.get_logger(__name__)
MAX_FILES_LISTED = 60
NOT_SET = "This report could not be set. The evidence is whole: it is in the pack, and attached to this page."
WORDS = {
    "approval.granted": "approved", "approval.rejected": "rejected", "approval.refused": "was refused",
    "approval.accepted": "accepted the dry run", "approval.requested": "asked for approval",
    "approval.expired": "expired", "approval.withdrawn": "withdrew", "approval.asked": "asked for changes",
}  # fmt: skip
TONES = {"completed": "ok", "failed": "bad", "rolled_back": "warn", "held": "hold", "rejected": "bad", "denied": "bad",
         "in_progress": "run", "verifying": "run", "awaiting_approval": "hold"}  # fmt: skip


def report_pdf(
    tenant: UUID, found: Collected, seal: Seal, about: Mapping[str, Any], key_id: str, attached: bytes | None
) -> bytes:
    """Set the report; `attached` is the pack that it is about, if it is small enough to be inside."""
    subject = described(tenant, about["subject"]["kind"], UUID(about["subject"]["id"]))
    at = datetime.fromisoformat(about["created_at"])
    data = report_data(found, seal, about, key_id, _title(found, subject), attached is not None)
    files = [("evidence.zip", attached, "application/zip")] if attached is not None else []
    heading = f"Evidence of {subject.kind} {subject.id}"
    try:
        return pdf("evidence", data, files, heading, at)
    except NotSet:  # what somebody wrote must not keep the evidence from being given
        log.exception("report_not_set", subject=str(subject.id))
        return pdf("plain", {"heading": heading, "lead": NOT_SET}, files, heading, at)


def report_data(
    found: Collected, seal: Seal, about: Mapping[str, Any], key_id: str, title: str, is_attached: bool
) -> dict[str, Any]:
    story, head = found.story, about["head"]
    facts = [("Subject", f"{about['subject']['kind']} {about['subject']['id']}"), *found.facts]
    if story.state:
        facts.append(("State", story.state.replace("_", " ")))
    facts += [
        ("Events", f"#1 to #{head['seq']}"),
        ("As of", moment(about["created_at"])),
        ("Made for", about["audience"]),
    ]
    return {
        "title": title, "tone": TONES.get(story.state, "idle"), "state": story.state.replace("_", " "),
        "facts": [list(pair) for pair in facts], "reason": _private(found, "reason"),
        "head": head["hash"], "key": key_id, "is_attached": is_attached,
        "sealed": seal.upto, "log_size": seal.size, "seq": head["seq"], "root": _root(seal),
        "withheld": {"private": found.closed, "artifacts": len(found.withheld)},
        "people": [[found.people.get(actor, ""), actor, _did(found, actor)] for actor in sorted(story.actors)],
        "decisions": [_decision(row, found) for row in story.decisions],
        "verdicts": [_verdict(row) for row in story.verdicts[-3:]],
        "timeline": [_event(row, found) for row in story.head], "tail": [_event(row, found) for row in story.tail],
        "left_out": story.left_out,
        "changes": paper_changes(found), "checks": _checks(found),
        "files": [[m.path, m.size, m.sha256] for m in sorted(found.members, key=lambda m: m.path)[:MAX_FILES_LISTED]],
        "more_files": max(0, len(found.members) - MAX_FILES_LISTED),
    }  # fmt: skip


def moment(stamp: str) -> str:
    """`2026-02-03 04:05:06 UTC`."""
    return f"{stamp[:10]} {stamp[11:19]} UTC"


def who(actor: str, found: Collected) -> str:
    name = found.people.get(actor)
    return name or (actor.replace("system:", "Interlock: ") if actor.startswith("system:") else f"…{actor[-8:]}")


def _title(found: Collected, subject: Subject) -> str:
    """The recorded title where it may be shown; never one that is only known from elsewhere."""
    return _private(found, "title") or f"{subject.kind.replace('_', ' ').capitalize()} {str(subject.id)[:8]}"


def _private(found: Collected, name: str) -> str:
    first = found.story.head[0]["values"] if found.story.head else {}
    return first.get(name) or ""


def _root(seal: Seal) -> str:
    return seal.note.split("\n")[2] if seal.note else ""


def _did(found: Collected, actor: str) -> str:
    counts = found.story.did[actor].most_common(6)
    return ", ".join(verb if n == 1 else f"{verb} ×{n}" for verb, n in counts)


def _decision(row: dict[str, Any], found: Collected) -> dict[str, Any]:
    facts = row["facts"]
    seat = next((str(facts[name]) for name in ("role", "seat", "attempted") if isinstance(facts.get(name), str)), "")
    return {
        "at": moment(row["at"]), "who": who(row["actor"], found), "outcome": row["outcome"], "seat": seat,
        "did": WORDS.get(row["verb"], row["verb"].partition(".")[2].replace("_", " ")),
        "why": str(facts.get("why", "")), "comment": row["values"].get("comment") or "",
        "is_closed": "comment" in row["values"] and row["values"]["comment"] is None,
        "digest": str(facts.get("digest", ""))[:16],
    }  # fmt: skip


def _verdict(row: dict[str, Any]) -> dict[str, Any]:
    """What the policies and the matrix said, as the event holds it."""
    facts = row["facts"]
    blast = facts.get("blast") if isinstance(facts.get("blast"), dict) else {}
    reasons = [r for r in facts.get("reasons", []) if isinstance(r, dict)]
    seats = [s for s in facts.get("seats", []) if isinstance(s, dict)]
    return {
        "seq": row["seq"], "at": moment(row["at"]), "outcome": str(facts.get("outcome", "")),
        "score": str(blast.get("score", "")), "tier": str(facts.get("tier", blast.get("tier", ""))),
        "digest": str(facts.get("digest", ""))[:16],
        "seats": ", ".join(f"{s.get('count', 1)} × {s.get('role', '?')}" for s in seats),
        "reasons": [[str(r.get("effect", "")), str(r.get("rule", "")), str(r.get("message", ""))]
                    for r in reasons],
    }  # fmt: skip


def _event(row: dict[str, Any], found: Collected) -> list[Any]:
    said = row["said"]
    if row["values"]:
        said = " · ".join([*([said] if said else []), f"private: {', '.join(row['values'])}"])
    return [row["seq"], row["at"][:10], row["at"][11:19], row["verb"], row["outcome"], who(row["actor"], found), said]


def _checks(found: Collected) -> list[list[Any]]:
    """The checks of the verification reports."""
    rows: list[list[Any]] = []
    for data in found.reports.values():
        report = json.loads(data)
        for check in report.get("checks", [])[:200] if isinstance(report, dict) else []:
            if isinstance(check, dict):
                rows.append([bool(check.get("ok")), *(str(check.get(name, "")) for name in ("kind", "name", "detail"))])
    return rows[:400]
