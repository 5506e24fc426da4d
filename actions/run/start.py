"""Before the first step: re-read the targets, judge again, and go back to the people if anything is not as approved."""

from collections.abc import Generator
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings

from actions.case import Case, Effect, Result, durably
from actions.lifecycle import Note, Write
from actions.models import Quarantine
from actions.preflight.planning import Rehearsal, rehearse_again, sealed_images, written
from actions.preflight.script import judged_again, plan_note, planned, refused, request_for, verdict_note
from actions.quarantine import in_words, told, touched
from actions.run.claims import claims_of
from actions.run.failing import counted_steps
from actions.run.lines import intent
from actions.run.no_return import may_begin
from actions.run.steps import MOST_BESIDE, ready
from approvals.models import Request
from approvals.requests.decisions import is_quorum_met
from approvals.verdict import is_stricter
from tenants.models import Principal

BY = "system:execute"
MOST_REPLANS = 3


def start(case: Case) -> Generator[Write | Effect, Any, bool]:
    """Move an approved action to in_progress if all is as approved; else leave it elsewhere and return False."""
    action = case.action
    if not answers_for_it(action.requester):
        yield from durably(case, lambda: orphaned(case))
        return False
    if shut := shut_out(case):
        yield from durably(case, lambda: quarantined(case, shut))
        return False
    result: Result = yield Effect(partial(rehearse_again, case))
    if result.error is not None:
        yield from durably(case, lambda: refused(case, result.error, by=BY))
        return False
    new: Rehearsal = result.value
    case.facts = new.facts
    drifted = new.plan.digest != case.plan.digest
    old = case.plan.verdict
    tighter = is_stricter(new.verdict, old["required_approvals"], old["outcome"])
    lapsed = (
        bool(old["required_approvals"])
        and new.verdict.outcome == "require_approval"
        and not quorum_holds(action.pk, case.plan.digest)
    )
    accepted_any_diff = new.verdict.outcome == "allow" and not tighter
    if (drifted and not accepted_any_diff) or tighter or lapsed:
        if not drifted:
            new = written(case, new, case.plan.version + 1)
        yield from durably(case, lambda: back_to_people(case, new, drifted=drifted, lapsed=lapsed))
        return False
    images = Result([])
    if new.images and not case.action.simulated:
        images = yield Effect(partial(sealed_images, case, new.images))
    if images.error is not None:
        raise images.error
    if drifted:
        yield from durably(case, lambda: renewed(case, new))
    again = judged_again(case, new.verdict, new.facts, "start")
    started = yield from durably(case, lambda: begun(case, images.value, again))
    case.has_claims = not started.is_blocked
    return case.has_claims


def answers_for_it(requester: Principal) -> bool:
    """Whether somebody still answers for an action: its requester, and an agent's owner, are active."""
    return requester.is_active and (requester.owner is None or requester.owner.is_active)


def orphaned(case: Case) -> Write:
    """Nothing runs for a requester whose account was closed after it was proposed."""
    message = "The account that proposed this, or its owner's, is no longer active. Somebody else can propose it again."
    error = {"code": "requester_inactive", "message": message, "details": {}}
    return Write(
        case.action,
        "fail",
        by=BY,
        facts={"code": "requester_inactive"},
        outcome="failed",
        sets={"error": error},
        release=True,
    )


def shut_out(case: Case) -> list[Quarantine]:
    """What is in quarantine of what a run would change; whoever changes nothing may look."""
    return touched(case.action, case.facts.get("resources", []), case.quarantines) if case.changes_something else []


def quarantined(case: Case, shut: list[Quarantine]) -> Write:
    """Nothing touches what is in quarantine, whoever approved it."""
    message = f"{in_words(shut)} Have that cleared on the page Quarantine, then propose this again."
    error = {"code": "quarantined", "message": message, "details": {"quarantines": told(shut)}}
    facts = {"code": "quarantined", "quarantines": [str(q.pk) for q in shut]}
    return Write(case.action, "fail", by=BY, facts=facts, outcome="failed", sets={"error": error}, release=True)


def quorum_holds(action_id: UUID, digest: str) -> bool:
    """Whether the people who approved exactly this plan may still do so: the newest request, counted again now."""
    request = Request.objects.filter(subject_kind="action", subject_id=action_id).order_by("-opened_at", "-id").first()
    if request is None or request.digest != digest:
        return False
    return request.state == Request.State.APPROVED and is_quorum_met(request)


def begun(case: Case, images: list[Any], notes: list[Note]) -> Write:
    """The move to in_progress, with the before-images and the intents of what comes first; `notes` tell the verdict."""
    action = case.action
    first = may_begin(case, ready(case.steps, set(), set()), 0)[:MOST_BESIDE]
    lines = [intent(case, step) for step in first]
    undoable = case.changes_something and case.plan.counts.get("changes")
    reference = f"the state before plan {case.plan.digest}" if undoable else ""
    return Write(
        action,
        "start",
        by=BY,
        facts={"digest": case.plan.digest, "steps": len(case.steps)},
        notes=list(notes),
        checkpoints=lines,
        before_images=images,
        sets={"rollback_reference": reference},
        claims=claims_of(case),
    )


def renewed(case: Case, new: Rehearsal) -> Write:
    """Replace the plan of an action whose requester accepted any diff in advance; nobody's approval is involved."""
    changed = changed_targets(case, new)
    drift = Note("preflight.drifted", {"from": case.plan.digest, "to": new.plan.digest, "changed": changed})
    return Write(
        case.action,
        by=BY,
        notes=[drift, plan_note(new.plan), verdict_note(new)],
        plan=new.plan,
        packs=new.packs,
        sets={"replans": case.action.replans + 1, "steps_total": len(counted_steps(new.plan.steps))},
    )


def back_to_people(case: Case, new: Rehearsal, *, drifted: bool, lapsed: bool) -> Write:
    """Void what was approved and ask again on the new plan; deny if the rules now deny; hold after three re-plans."""
    action, verdict = case.action, new.verdict
    if verdict.outcome == "deny":
        message = "; ".join(r["message"] for r in verdict.reasons if r["effect"] == "deny")
        error = {"code": "denied_at_start", "message": message, "details": {}}
        return planned(case, new, "fail", by=BY, error=error)
    if action.replans >= MOST_REPLANS:
        facts = {"reason": "replans", "replans": action.replans}
        return Write(action, "hold", by=BY, facts=facts, sets={"held_reason": "replans"}, release=True)
    why = "drift" if drifted else "lapsed" if lapsed else "stricter"
    request = request_for(case, new)
    w = planned(case, new, "reopen", by=BY, replans=action.replans + 1)
    w.request, w.ttl_s = request, settings.INTERLOCK.approval_ttl_s
    w.facts = {
        "because": why,
        "request": str(request.pk),
        "required_approvals": verdict.required_approvals,
        "acceptance": verdict.acceptance,
    }
    if drifted:
        facts = {"from": case.plan.digest, "to": new.plan.digest, "changed": changed_targets(case, new)}
        w.notes.insert(0, Note("preflight.drifted", facts))
    return w


def changed_targets(case: Case, new: Rehearsal) -> list[dict[str, Any]]:
    """Which targets are no longer as the approved plan saw them, by the steps' preconditions."""
    old = {s["target"]: s["precondition"] for s in case.steps}
    now = {s["target"]: s["precondition"] for s in new.plan.steps}
    return [
        {"target": target, "was": old.get(target), "now": now.get(target)}
        for target in sorted(old.keys() | now.keys())
        if old.get(target) != now.get(target)
    ]
