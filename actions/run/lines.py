"""Lines of the step ledger, and the events that tell of them."""

from typing import Any

from actions.case import Case
from actions.lifecycle import Note
from actions.models import Checkpoint
from actions.run.attempt import Tried
from actions.run.metrics import as_facts
from actions.types.protocol import Probe

K = Checkpoint.Kind


def intent(case: Case, step: dict[str, Any], kind: K = K.INTENT) -> Checkpoint:
    record = case.ledger[step["key"]]
    attempt = (record.attempt if kind == K.INTENT else record.undo_attempt) + 1
    return line(case, step, kind, attempt)


def line(case: Case, step: dict[str, Any], kind: K, attempt: int, **more: Any) -> Checkpoint:
    return Checkpoint(
        action_id=case.action.pk,
        plan_id=case.plan.pk,
        step=step["key"],
        attempt=attempt,
        kind=kind,
        lease=case.lease,
        **more,
    )


def receipt_note(step: dict[str, Any], receipt: Checkpoint, tried: Tried, verb: str = "step.done") -> Note:
    facts: dict[str, Any] = {"step": step["key"], "attempt": receipt.attempt, "key": step["idempotency_key"]}
    facts |= as_facts(tried.metrics)
    if tried.outcome.code:
        facts["code"] = tried.outcome.code
    return Note(verb, facts)


def failure(case: Case, step: dict[str, Any], tried: Tried, kind: K = K.FAILURE) -> Checkpoint:
    record = case.ledger[step["key"]]
    facts = {
        "code": tried.outcome.code,
        "message": tried.outcome.message,
        "probe": str(tried.probe or ""),
        "effect": tried.probe == Probe.DONE,
        **tried.outcome.facts,
    }
    attempt = record.attempt if kind == K.FAILURE else record.undo_attempt
    if not tried.log:  # one that overran is still writing: keep what it has written so far
        tried.log = list(case.transcripts.get((step["key"], attempt, kind != K.FAILURE), ()))
    return line(case, step, kind, attempt, facts=facts, **kept(tried))


def kept(tried: Tried) -> dict[str, Any]:
    """What the line that ends an attempt keeps of its log and its use."""
    return {"log": "\n".join(tried.log), "metrics": tried.metrics}


def failure_note(step: dict[str, Any], failed: Checkpoint, tried: Tried, verb: str = "step.failed") -> Note:
    facts = {
        "step": step["key"],
        "attempt": failed.attempt,
        "code": tried.outcome.code,
        "probe": str(tried.probe or ""),
        **as_facts(tried.metrics),
    }
    return Note(verb, facts, {"message": tried.outcome.message}, outcome="failed")
