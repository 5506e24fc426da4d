"""The report of a pack as PDF: what happened, who decided, what was changed."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from audit.changes.document import Change, compare_lines, group_hunks
from audit.evidence.collect import PackContents
from audit.evidence.contents import HeadProof
from audit.log.events import Subject
from audit.log.subjects import describe_subject
from audit.ui.typesetting import Prepared, TypesettingFailed, printable, render_pdf

log = structlog.get_logger(__name__)
MAX_FILES_LISTED = 60
TYPESETTING_FAILED = (
    "This report could not be typeset. The evidence is complete: it is in the pack, and attached to this page."
)
DECISION_LABELS = {
    "approval.granted": "approved",
    "approval.rejected": "rejected",
    "approval.refused": "was refused",
    "approval.accepted": "accepted the diff",
    "approval.requested": "requested approval",
    "approval.expired": "expired",
    "approval.withdrawn": "withdrew",
    "approval.asked": "requested changes",
}
TONES = {
    "completed": "ok",
    "failed": "bad",
    "rolled_back": "warn",
    "held": "hold",
    "rejected": "bad",
    "denied": "bad",
    "in_progress": "run",
    "verifying": "run",
    "awaiting_approval": "hold",
}


def report_pdf(
    tenant: UUID, found: PackContents, seal: HeadProof, about: Mapping[str, Any], key_id: str, attached: bytes | None
) -> bytes:
    """Typeset the report; `attached` is the pack that it is about, if it is small enough to be inside."""
    subject = describe_subject(tenant, about["subject"]["kind"], UUID(about["subject"]["id"]))
    at = datetime.fromisoformat(about["created_at"])
    data = report_data(found, seal, about, key_id, _title(found, subject), attached is not None)
    files = [("evidence.zip", attached, "application/zip")] if attached is not None else []
    heading = f"Evidence of {subject.kind} {subject.id}"
    try:
        return render_pdf("evidence", data, files, heading, at)
    except TypesettingFailed:  # what somebody wrote must not keep the evidence from being given
        log.exception("report_typesetting_failed", subject=str(subject.id))
        return render_pdf("plain", {"heading": heading, "lead": TYPESETTING_FAILED}, files, heading, at)


def report_data(
    found: PackContents, seal: HeadProof, about: Mapping[str, Any], key_id: str, title: str, is_attached: bool
) -> dict[str, Any]:
    timeline, head = found.timeline, about["head"]
    facts = [("Subject", f"{about['subject']['kind']} {about['subject']['id']}"), *found.facts]
    if timeline.state:
        facts.append(("State", timeline.state.replace("_", " ")))
    facts += [
        ("Events", f"#1 to #{head['seq']}"),
        ("As of", format_time(about["created_at"])),
        ("Audience", about["audience"]),
    ]
    return {
        "title": title,
        "tone": TONES.get(timeline.state, "idle"),
        "state": timeline.state.replace("_", " "),
        "facts": [list(pair) for pair in facts],
        "reason": _opened_value(found, "reason"),
        "head": head["hash"],
        "key": key_id,
        "is_attached": is_attached,
        "sealed": seal.upto,
        "log_size": seal.size,
        "seq": head["seq"],
        "root": _root(seal),
        "withheld": {"private": found.closed, "artifacts": len(found.withheld)},
        "people": [
            [found.people.get(actor, ""), actor, _count_verbs(found, actor)] for actor in sorted(timeline.actors)
        ],
        "decisions": [_decision(row, found) for row in timeline.decisions],
        "verdicts": [_verdict(row) for row in timeline.verdicts[-3:]],
        "timeline": [_event(row, found) for row in timeline.head],
        "tail": [_event(row, found) for row in timeline.tail],
        "left_out": timeline.left_out,
        "changes": paper_changes(found),
        "checks": _checks(found),
        "files": [[m.path, m.size, m.sha256] for m in sorted(found.members, key=lambda m: m.path)[:MAX_FILES_LISTED]],
        "more_files": max(0, len(found.members) - MAX_FILES_LISTED),
    }


def format_time(stamp: str) -> str:
    """`2026-02-03 04:05:06 UTC`."""
    return f"{stamp[:10]} {stamp[11:19]} UTC"


def actor_label(actor: str, found: PackContents) -> str:
    name = found.people.get(actor)
    return name or (actor.replace("system:", "Interlock: ") if actor.startswith("system:") else f"…{actor[-8:]}")


def _title(found: PackContents, subject: Subject) -> str:
    """The recorded title where it may be shown; never one that is only known from elsewhere."""
    return _opened_value(found, "title") or f"{subject.kind.replace('_', ' ').capitalize()} {str(subject.id)[:8]}"


def _opened_value(found: PackContents, name: str) -> str:
    first = found.timeline.head[0]["values"] if found.timeline.head else {}
    return first.get(name) or ""


def _root(seal: HeadProof) -> str:
    return seal.note.split("\n")[2] if seal.note else ""


def _count_verbs(found: PackContents, actor: str) -> str:
    counts = found.timeline.did[actor].most_common(6)
    return ", ".join(verb if n == 1 else f"{verb} ×{n}" for verb, n in counts)


def _decision(row: dict[str, Any], found: PackContents) -> dict[str, Any]:
    facts = row["facts"]
    role = next(
        (str(facts[name]) for name in ("role", "required approval", "attempted") if isinstance(facts.get(name), str)),
        "",
    )
    return {
        "at": format_time(row["at"]),
        "who": actor_label(row["actor"], found),
        "outcome": row["outcome"],
        "role": role,
        "did": DECISION_LABELS.get(row["verb"], row["verb"].partition(".")[2].replace("_", " ")),
        "why": str(facts.get("why", "")),
        "comment": row["values"].get("comment") or "",
        "is_closed": "comment" in row["values"] and row["values"]["comment"] is None,
        "digest": str(facts.get("digest", ""))[:16],
    }


def _verdict(row: dict[str, Any]) -> dict[str, Any]:
    """The verdict of the policies and the matrix, as the event contains it."""
    facts = row["facts"]
    blast = facts.get("blast") if isinstance(facts.get("blast"), dict) else {}
    reasons = [r for r in facts.get("reasons", []) if isinstance(r, dict)]
    required_approvals = [s for s in facts.get("required_approvals", []) if isinstance(s, dict)]
    return {
        "seq": row["seq"],
        "at": format_time(row["at"]),
        "outcome": str(facts.get("outcome", "")),
        "score": str(blast.get("score", "")),
        "tier": str(facts.get("tier", blast.get("tier", ""))),
        "digest": str(facts.get("digest", ""))[:16],
        "required_approvals": ", ".join(f"{s.get('count', 1)} × {s.get('role', '?')}" for s in required_approvals),
        "reasons": [[str(r.get("effect", "")), str(r.get("rule", "")), str(r.get("message", ""))] for r in reasons],
    }


def _event(row: dict[str, Any], found: PackContents) -> list[Any]:
    said = row["said"]
    if row["values"]:
        said = " · ".join([*([said] if said else []), f"private: {', '.join(row['values'])}"])
    return [
        row["seq"],
        row["at"][:10],
        row["at"][11:19],
        row["verb"],
        row["outcome"],
        actor_label(row["actor"], found),
        said,
    ]


def _checks(found: PackContents) -> list[list[Any]]:
    """The checks of the verification reports."""
    rows: list[list[Any]] = []
    for data in found.reports.values():
        report = json.loads(data)
        for check in report.get("checks", [])[:200] if isinstance(report, dict) else []:
            if isinstance(check, dict):
                rows.append([bool(check.get("ok")), *(str(check.get(name, "")) for name in ("kind", "name", "detail"))])
    return rows[:400]


# Change documents as lines for paper: numbered, marked, cut to the width of the page.


LINE_CHARS = 88
MAX_LINES = 3_000  # of one report; about 40 pages
MAX_CUTS = 40  # pieces of one very long line
Line = list[Any]  # old number or "", new number or "", sign, text


def paper_changes(found: PackContents) -> list[dict[str, Any]]:
    """Each change document, with the plans that name it and their approvals, as far as there is room."""
    left, out = MAX_LINES, []
    for digest, changes in found.changes.items():
        plans = [row for row in found.timeline.plans if digest in row["artifacts"]]
        files = []
        for change in changes:
            lines, rest = _diff_lines(change, left)
            left -= len(lines)
            files.append({**_change_facts(change), "lines": lines, "left_out": rest})
            if left <= 0:
                break
        out.append(
            {
                "digest": digest,
                "plans": [_approved_plan(row, found) for row in plans],
                "files": files,
                "more": len(changes) - len(files),
                "count": len(changes),
                "adds": sum(c.adds for c in changes),
                "dels": sum(c.dels for c in changes),
            }
        )
    return out


def _approved_plan(row: dict[str, Any], found: PackContents) -> dict[str, Any]:
    digest = str(row["facts"].get("digest", ""))
    by = [d for d in found.timeline.decisions if d["facts"].get("digest") == digest and d["outcome"] == "ok"]
    names = [
        found.people.get(d["actor"], f"…{d['actor'][-8:]}")
        for d in by
        if d["verb"] in ("approval.granted", "approval.accepted")
    ]
    return {
        "seq": row["seq"],
        "version": str(row["facts"].get("version", "")),
        "digest": digest[:16],
        "by": sorted(set(names)),
    }


def _change_facts(change: Change) -> dict[str, Any]:
    modes = change.before_mode != change.after_mode and change.before_mode and change.after_mode
    return {
        "target": change.target,
        "operation": change.operation,
        "adds": change.adds,
        "dels": change.dels,
        "note": change.note,
        "mode": f"{change.before_mode} → {change.after_mode}" if modes else "",
    }


def _diff_lines(change: Change, most: int) -> tuple[list[Line], int]:
    """At most about `most` lines of the unified diff, and how many changed lines are left out."""
    old, new = change.lines()
    out: list[Line] = []
    shown = 0
    for line in _unified(old, new):
        if len(out) >= most:
            break
        shown += line[2] in "+-" and line[2] != ""
        out.extend(_wrap_line(line))
    return out, max(0, change.adds + change.dels - shown)


def _unified(old: list[str], new: list[str]) -> Iterator[Line]:
    for n, hunk in enumerate(group_hunks(compare_lines(old, new), 3)):
        if n or hunk[0][1]:
            yield ["", "", "@", f"line {hunk[0][3] + 1}"]
        for tag, i1, i2, j1, j2 in hunk:
            if tag == "equal":
                yield from ([i1 + k + 1, j1 + k + 1, "", new[j1 + k]] for k in range(i2 - i1))
            else:
                yield from ([i + 1, "", "-", old[i]] for i in range(i1, i2))
                yield from (["", j + 1, "+", new[j]] for j in range(j1, j2))


def _wrap_line(line: Line) -> Iterator[Line]:
    """One line as rows of the page's width; what follows the first is marked as belonging to it."""
    before, after, sign, text = line
    whole = printable(text.removesuffix("\n"), words=False)
    if sign in ("+", "-") and not text.endswith("\n"):
        whole += " ‹no newline at the end›"
    pieces = [whole[n : n + LINE_CHARS] for n in range(0, len(whole), LINE_CHARS)] or [""]
    yield [before, after, sign, Prepared(pieces[0])]
    for piece in pieces[1:MAX_CUTS]:
        yield ["", "↳" if sign != "-" else "", sign, Prepared(piece)]
    if len(pieces) > MAX_CUTS:
        yield ["", "", sign, f"‹{(len(pieces) - MAX_CUTS) * LINE_CHARS} more characters of this line›"]
