"""
Roll back a run: one compensation after another, in the order of the approved rollback plan, then verify.

Mode all or nothing: a failed undo stops the rollback and holds the action. Mode best effort: the other steps are undone
too, and what remains is named. The resource of a failed undo is quarantined.
"""

import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from actions.controls.freeze import FREEZE
from actions.controls.quarantine import (
    describe_quarantines,
    quarantines_for_steps,
    resources_of_steps,
    serialize_quarantines,
    touched_quarantines,
)
from actions.lifecycle.context import ActionContext, EffectResult, RunEffect, commit_durably, lock_requests_of
from actions.lifecycle.prediction_accuracy import measure_run
from actions.lifecycle.transitions import Note, Transition, quarantine_notes
from actions.models import JournalEntry, Quarantine
from actions.preflight.plan import make_draft, sanitize, sanitize_text
from actions.preflight.step_graph import DEFAULT_ROLLBACK, UNDOABLE, undo_order
from actions.run.attempt import (
    AttemptResult,
    failure_entry,
    failure_note,
    intent_entry,
    journal_entry,
    log_and_metrics,
    receipt_note,
    step_context,
)
from actions.run.verify import log_pack
from actions.types.protocol import Outcome, PlanRefused, Probe
from audit.log.artifacts import ArtifactRows, pack_artifact
from audit.log.canonical_json import canonical

ROLLBACK_FORMAT = "interlock.rollback/1"
Kind = JournalEntry.Kind
Step = dict[str, Any]


@dataclass
class RollbackReport:
    """
    The verification of a rollback. `checks` are {"name", "ok", "detail"}; `not_back` the steps whose undo reported
    success without being undone.

    `remains` names the steps still in effect, `quarantined` the resources of failed undos; the other remaining steps
    are irreversible.
    """

    checks: list[dict[str, Any]] = field(default_factory=list)
    not_back: list[Step] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)

    @classmethod
    def unread(cls, context: ActionContext, error: BaseException) -> "RollbackReport":
        """The report when the target could not be read: no undone step counts as restored."""
        detail = sanitize_text(f"{type(error).__name__}: {error}")
        return cls([{"name": "state before", "ok": False, "detail": detail}], undone_steps(context)).counted(context)

    @property
    def failing(self) -> list[str]:
        return [str(c["name"]) for c in self.checks if not c["ok"]]

    def counted(self, context: ActionContext) -> "RollbackReport":
        """The same report with what remains, by the journal and by `not_back`."""
        stands = [s for s in context.journal.with_effect(steps_to_undo(context)) if s["compensation"]["kind"] != "none"]
        lost = [s["key"] for s in self.not_back]
        self.remains = [s["key"] for s in context.steps if s in stands or s["key"] in lost]
        unwilling = [s for s in stands if s["compensation"]["kind"] in UNDOABLE] + self.not_back
        named = resources_of_steps(context.facts.get("resources", []), unwilling) if unwilling else []
        self.quarantined = [f"{kind} {name}" for kind, name in named]
        return self

    def document(self, context: ActionContext) -> dict[str, Any]:
        plan = {name: context.plan.rollback.get(name, usual) for name, usual in DEFAULT_ROLLBACK.items()}
        return {
            "format": ROLLBACK_FORMAT,
            "ok": not self.remains,
            **plan,
            "back_to": context.action.rollback_to,
            "checks": self.checks,
            "remains": self.remains,
            "quarantined": self.quarantined,
        }


def steps_to_undo(context: ActionContext) -> list[Step]:
    """The steps that this rollback covers: all, or those after the checkpoint that it ends at."""
    keys = [s["key"] for s in context.steps]
    to = context.action.rollback_to
    return context.steps[keys.index(to) + 1 :] if to in keys else context.steps


def undone_steps(context: ActionContext) -> list[Step]:
    return [s for s in steps_to_undo(context) if context.journal[s["key"]].state == "undone"]


def verify_rollback(context: ActionContext, images: dict[str, bytes]) -> RollbackReport:
    """
    Probe every undone step, and plan again: the target must be as it was. In a thread.

    `images` are the before-images, with which probes compare. A target that cannot be planned now does not contradict
    the probes, and what a failed step wrote about its failure need not be undone.
    """
    report = RollbackReport()
    deadline = time.monotonic() + context.action.timeout_s
    before = {} if context.action.rollback_to or not undone_steps(context) else current_preconditions(context, report)
    for step in undone_steps(context):
        ctx, _ = step_context(context, step, deadline)  # a probe only: no transcript for people
        ctx = replace(ctx, before_image=partial(images.get, step["key"]))
        is_back = context.executor.probe_undo(ctx) == Probe.DONE
        detail = "" if is_back else "Its undo reported success, but it is not undone."
        if is_back and before is not None and step["key"] in before and before[step["key"]] != step["precondition"]:
            is_back, detail = False, "The previous state is not restored."
        report.checks.append(sanitize({"name": step["title"], "ok": is_back, "detail": detail}))
        if not is_back:
            report.not_back.append(step)
    return report.counted(context)


def current_preconditions(context: ActionContext, report: RollbackReport) -> dict[str, Any]:
    """The precondition of each step in a new plan, by key."""
    try:
        return {s["key"]: s["precondition"] for s in make_draft(context).steps}
    except PlanRefused as refused:
        detail = sanitize_text(f"It cannot be planned again: {refused}")
        report.checks.append({"name": "planned again", "ok": True, "detail": detail})
        return {}


def reset_entries(context: ActionContext) -> list[JournalEntry]:
    """Journal entries that let failed or skipped steps after the checkpoint start again."""
    over = [
        s for s in steps_to_undo(context) if context.journal[s["key"]].state in ("failed", "skipped", "undo_failed")
    ]
    facts = {"code": "reset", "effect": False}
    return [
        journal_entry(context, s, Kind.UNDO_RECEIPT, context.journal[s["key"]].undo_attempt + 1, facts=facts)
        for s in over
        if not context.journal[s["key"]].effect
    ]


# Compensations, each with intent and receipt, in the approved order.


ACTOR = "system:execute"
UNDO_FAILED = "undo_failed"


def roll_back(context: ActionContext) -> Generator[Transition | RunEffect, Any, None]:
    """
    Undo every effect in the journal, or those after the checkpoint that a person named.

    Ends rolled_back; failed if something remains; or held, at the checkpoint or after a failed undo.
    """
    if not context.has_locks and touched_quarantines(
        context.action, context.facts.get("resources", []), context.quarantines
    ):
        yield from commit_durably(context, partial(_quarantined_transition, context))
        return
    if not context.has_locks and lock_requests_of(context):
        claimed = yield from commit_durably(context, partial(_relock_transition, context))
        if claimed.is_blocked:
            return
    images = context.before_images(context.action.pk)
    for step in undo_order(context.journal.with_effect(steps_to_undo(context)), context.plan.rollback):
        if step["compensation"]["kind"] not in UNDOABLE:
            continue
        resumed = context.journal[step["key"]].state == "undoing" and step["key"] in context.opened_earlier
        if not resumed:
            yield from commit_durably(context, partial(_undo_intent_transition, context, step))
            if context.action.state != "rolling_back":
                return
        result: EffectResult = yield RunEffect(partial(undo_step, context, step, images, resumed))
        attempted: AttemptResult = result.value if result.error is None else crash_result(result.error)
        yield from commit_durably(context, partial(_undo_result_transition, context, step, attempted))
        if context.action.state != "rolling_back":
            return
    found: EffectResult = yield RunEffect(partial(verify_rollback, context, images))
    report = found.value if found.error is None else RollbackReport.unread(context, found.error)
    yield from commit_durably(context, partial(_finish_transition, context, report))


def undo_step(context: ActionContext, step: Step, images: dict[str, bytes], resumed: bool) -> AttemptResult:
    """Compensate one step, in a thread, unless a probe says that it is already undone."""
    ctx, log = step_context(context, step, time.monotonic() + context.action.timeout_s, images)
    try:
        if resumed and context.executor.probe_undo(ctx) == Probe.DONE:
            return AttemptResult(Outcome(True, "recovered"), Probe.DONE, log)
        outcome = context.executor.compensate(ctx)
        found = context.executor.probe_undo(ctx)
    except Exception as exc:  # an executor is third-party code: whatever it raises is this step's outcome
        return AttemptResult(Outcome(False, "executor_error", f"{type(exc).__name__}: {exc}"), Probe.UNKNOWN, log)
    if outcome.ok and found != Probe.DONE:
        outcome = Outcome(False, "undo_not_verified", "The compensation ran, but the previous state is not restored.")
    return AttemptResult(outcome, found, log)


def crash_result(error: BaseException) -> AttemptResult:
    return AttemptResult(Outcome(False, "executor_error", f"{type(error).__name__}: {error}"), Probe.UNKNOWN)


def is_best_effort(context: ActionContext) -> bool:
    """Whether a failed undo is skipped. Never on the way to a checkpoint, because the run may continue from there."""
    return bool(context.plan.rollback.get("mode") == "best-effort") and not context.action.rollback_to


def new_quarantines(context: ActionContext, steps: list[Step]) -> list[Quarantine]:
    """The quarantines of the resources of these steps, except those already quarantined at dequeue."""
    found = quarantines_for_steps(context.action, context.facts.get("resources", []), steps, UNDO_FAILED)
    return [q for q in found if q.key not in context.quarantines]


def _relock_transition(context: ActionContext) -> Transition:
    """Lock the resources again that were released at the end of the run."""
    return Transition(
        context.action, by=ACTOR, notes=[Note("rollback.started")], lock_requests=lock_requests_of(context)
    )


def _quarantined_transition(context: ActionContext) -> Transition:
    """The transition if another action or person quarantined a resource of the undo: hold until it is cleared."""
    blocking = touched_quarantines(context.action, context.facts.get("resources", []), context.quarantines)
    error = {
        "code": "quarantined",
        "message": describe_quarantines(blocking),
        "details": {"quarantines": serialize_quarantines(blocking)},
    }
    return Transition(
        context.action,
        "hold",
        by=ACTOR,
        facts={"reason": "quarantine", "quarantines": [str(q.pk) for q in blocking]},
        sets={"held_reason": "quarantine", "error": error},
        release=True,
    )


def _undo_intent_transition(context: ActionContext, step: Step) -> Transition:
    """Start the undo of a step, unless the environment is frozen."""
    if context.action.stop_reason == FREEZE:
        facts = {"reason": FREEZE, "step": step["key"]}
        return Transition(context.action, "hold", by=ACTOR, facts=facts, sets={"held_reason": FREEZE}, release=True)
    begun = Note("step.undo_started", {"step": step["key"]})
    return Transition(
        context.action, by=ACTOR, notes=[begun], journal_entries=[intent_entry(context, step, Kind.UNDO_INTENT)]
    )


def _undo_result_transition(context: ActionContext, step: Step, attempted: AttemptResult) -> Transition:
    if attempted.outcome.ok:
        attempt = context.journal[step["key"]].undo_attempt
        receipt = journal_entry(
            context, step, Kind.UNDO_RECEIPT, attempt, facts=attempted.outcome.facts, **log_and_metrics(attempted)
        )
        return Transition(
            context.action,
            by=ACTOR,
            notes=[receipt_note(step, receipt, attempted, "step.undone")],
            journal_entries=[receipt],
            sets={"steps_done": max(0, context.action.steps_done - 1)},
        )
    failed = failure_entry(context, step, attempted, Kind.UNDO_FAILURE)
    blocking = new_quarantines(context, [step])
    transition = Transition(
        context.action,
        by=ACTOR,
        notes=[failure_note(step, failed, attempted, "step.undo_failed"), *quarantine_notes(blocking)],
        journal_entries=[failed],
        quarantines=blocking,
    )
    if not is_best_effort(context):
        transition.verb, transition.release = "hold", True
        transition.facts, transition.sets = (
            {"reason": "rollback_failed", "step": step["key"]},
            {"held_reason": "rollback_failed"},
        )
    return transition


def _finish_transition(context: ActionContext, report: RollbackReport) -> Transition:
    """The transition that ends a rollback, with its verification report."""
    packs = [*report_pack(context, report), *log_pack(context)]
    named = tuple(p.digest for p in packs)
    blocking = new_quarantines(context, report.not_back)
    notes = quarantine_notes(blocking)
    if report.not_back and not is_best_effort(context):
        facts = {"reason": "rollback_failed", "step": report.not_back[0]["key"], "checks": report.failing}
        return Transition(
            context.action,
            "hold",
            by=ACTOR,
            facts=facts,
            notes=notes,
            quarantines=blocking,
            packs=packs,
            artifacts=named,
            sets={"held_reason": "rollback_failed"},
            release=True,
        )
    if context.action.rollback_to:
        facts = {"reason": "checkpoint", "back_to": context.action.rollback_to, "remains": report.remains}
        return Transition(
            context.action,
            "hold",
            by=ACTOR,
            facts=facts,
            notes=notes,
            journal_entries=reset_entries(context),
            packs=packs,
            artifacts=named,
            sets={"held_reason": "checkpoint", "rollback_to": ""},
            release=True,
        )
    return _end_transition(context, report, packs, blocking, notes)


def _end_transition(
    context: ActionContext,
    report: RollbackReport,
    packs: list[ArtifactRows],
    blocking: list[Quarantine],
    notes: list[Note],
) -> Transition:
    """The transition to rolled_back, or to failed if an effect remains."""
    error = context.action.error or {"code": "rolled_back", "message": "A person rolled the run back.", "details": {}}
    facts: dict[str, Any] = {}
    if report.remains:
        facts = {"remains": report.remains, "quarantined": report.quarantined}
        error = {**error, "details": {**error.get("details", {}), **facts}}
    result = {"success": False, "data": None, "error": error}
    return Transition(
        context.action,
        "fail" if report.remains else "finish_rollback",
        by=ACTOR,
        facts=facts,
        notes=notes,
        packs=packs,
        quarantines=blocking,
        artifacts=tuple(p.digest for p in packs),
        sets={"result": result, "error": error, "rollback_to": ""},
        release=True,
        accuracy=measure_run(context.plan, context.journal),
    )


def report_pack(context: ActionContext, report: RollbackReport) -> list[ArtifactRows]:
    return [pack_artifact(context.action.tenant_id, canonical(report.document(context)), "application/json")]
