"""After the way back: read the state again, and say of each step whether what was before it is there."""

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from actions.case import Case
from actions.models import Checkpoint
from actions.preflight.planning import draft_of
from actions.preflight.way_back import UNDOABLE, USUAL
from actions.quarantine import concerned
from actions.run.attempt import context
from actions.run.lines import line
from actions.storable import storable, text_of
from actions.types.protocol import PlanRefused, Probe

FORMAT = "interlock.rollback/1"
K = Checkpoint.Kind
Step = dict[str, Any]


@dataclass
class Report:
    """
    What was found. `checks` are {"name", "ok", "detail"}; `not_back` the steps that were undone and yet are not.

    `remains` names the steps whose effect is still there, `quarantined` the resources of those that would not be
    undone: what is left besides are the steps that never could be.
    """

    checks: list[dict[str, Any]] = field(default_factory=list)
    not_back: list[Step] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)

    @classmethod
    def unread(cls, case: Case, error: BaseException) -> "Report":
        """Nothing could be read: then nothing that was undone counts as back."""
        detail = text_of(f"{type(error).__name__}: {error}")
        return cls([{"name": "state before", "ok": False, "detail": detail}], undone(case)).counted(case)

    @property
    def failing(self) -> list[str]:
        return [str(c["name"]) for c in self.checks if not c["ok"]]

    def counted(self, case: Case) -> "Report":
        """The same with what remains, by the ledger and by what is not back."""
        stands = [s for s in case.ledger.with_effect(scope(case)) if s["compensation"]["kind"] != "none"]
        lost = [s["key"] for s in self.not_back]
        self.remains = [s["key"] for s in case.steps if s in stands or s["key"] in lost]
        unwilling = [s for s in stands if s["compensation"]["kind"] in UNDOABLE] + self.not_back
        named = concerned(case.facts.get("resources", []), unwilling) if unwilling else []
        self.quarantined = [f"{kind} {name}" for kind, name in named]
        return self

    def document(self, case: Case) -> dict[str, Any]:
        plan = {name: case.plan.rollback.get(name, usual) for name, usual in USUAL.items()}
        return {
            "format": FORMAT,
            "ok": not self.remains,
            **plan,
            "back_to": case.action.rollback_to,
            "checks": self.checks,
            "remains": self.remains,
            "quarantined": self.quarantined,
        }


def scope(case: Case) -> list[Step]:
    """The steps that this way back is about: all, or those behind the checkpoint that it ends at."""
    keys = [s["key"] for s in case.steps]
    to = case.action.rollback_to
    return case.steps[keys.index(to) + 1 :] if to in keys else case.steps


def undone(case: Case) -> list[Step]:
    return [s for s in scope(case) if case.ledger[s["key"]].state == "undone"]


def read_back(case: Case, images: dict[str, bytes]) -> Report:
    """
    Ask the probe of every step that was undone, and plan anew: what would be changed must be as it was. In a thread.

    `images` are what the steps kept to be undone: many a probe compares with them. A target that cannot be planned
    for just now says nothing against the probes, and what a failed step wrote of its own failure is nothing to undo.
    """
    report = Report()
    deadline = time.monotonic() + case.action.timeout_s
    before = {} if case.action.rollback_to or not undone(case) else preconditions_now(case, report)
    for step in undone(case):
        ctx, _ = context(case, step, deadline)  # a question, no attempt: it has no transcript to be shown
        ctx = replace(ctx, before_image=partial(images.get, step["key"]))
        is_back = case.executor.probe_undo(ctx) == Probe.DONE
        detail = "" if is_back else "It is not undone, though its undo said so."
        if is_back and before is not None and step["key"] in before and before[step["key"]] != step["precondition"]:
            is_back, detail = False, "What was there before is not what is there now."
        report.checks.append(storable({"name": step["title"], "ok": is_back, "detail": detail}))
        if not is_back:
            report.not_back.append(step)
    return report.counted(case)


def preconditions_now(case: Case, report: Report) -> dict[str, Any]:
    """What each step would find before it if it were planned now, by key."""
    try:
        return {s["key"]: s["precondition"] for s in draft_of(case).steps}
    except PlanRefused as refused:
        detail = text_of(f"It cannot be planned again as things stand: {refused}")
        report.checks.append({"name": "planned again", "ok": True, "detail": detail})
        return {}


def reset_lines(case: Case) -> list[Checkpoint]:
    """Ledger lines by which steps behind the checkpoint that failed, or were passed over, can be begun anew."""
    over = [s for s in scope(case) if case.ledger[s["key"]].state in ("failed", "skipped", "undo_failed")]
    facts = {"code": "reset", "effect": False}
    return [
        line(case, s, K.UNDO_RECEIPT, case.ledger[s["key"]].undo_attempt + 1, facts=facts)
        for s in over
        if not case.ledger[s["key"]].effect
    ]
