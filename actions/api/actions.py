"""Actions over HTTP: propose, look, decide, stop, settle, undo, repeat. Every verb is the gate's; nothing is decided here."""

from dataclasses import asdict
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from ninja import Header, Path, Query, Router, Status

from actions import verbs
from actions.api import listing
from actions.api.caller import access_of, correlation_of, refuse_unknown
from actions.api.patience import Patience, wait_for
from actions.api.plans import change_shown
from actions.api.reads import one, plan_shown
from actions.api.schemas import (
    AcceptIn,
    ActionOut,
    ActionPage,
    DecisionIn,
    PreviewOut,
    ProblemOut,
    ReasonIn,
    ResumeIn,
    SubmissionIn,
    TypePage,
)
from actions.intake.submit import submit
from actions.models import Action
from actions.pages.whose_turn import yours_to_accept, yours_to_decide
from actions.preview import preview as rehearse
from actions.states import State
from actions.types.registry import executors

router = Router(tags=["actions"])
REFUSALS = {code: ProblemOut for code in (401, 404)}
VERB_REFUSALS = {code: ProblemOut for code in (401, 403, 404, 409, 422)}
PREVIEWED = 50


def shown(request: HttpRequest, action: Action) -> dict[str, Any]:
    """The action as its reader may see it now; `?vocabulary=seed` as everywhere."""
    return one(access_of(request), action, request.GET.get("vocabulary", ""))


@router.post(
    "/actions", response={201: ActionOut, 200: ActionOut, **{c: ProblemOut for c in (400, 401, 403, 413, 422, 503)}},
    summary="Propose an action",
)  # fmt: skip
def propose(
    request: HttpRequest,
    body: SubmissionIn,
    idempotency_key: str = Header("", alias="Idempotency-Key", max_length=255, pattern=r"^[\x21-\x7e]*$"),
) -> Status[Any]:
    """
    201 with the new action. With an Idempotency-Key that was used before: 200 with the action it made, if the body is
    the same; 422 if it is not. Keys are per tenant and principal, and kept for seven days.
    """
    access, correlation_id = access_of(request), correlation_of(request)
    action, is_new = submit(
        access, body.submission(), idempotency_key=idempotency_key, correlation_id=correlation_id
    )  # fmt: skip
    return Status(201 if is_new else 200, shown(request, verbs.find(access, action.pk)))


@router.post("/actions/preview", response={200: PreviewOut, **VERB_REFUSALS}, summary="Try out a proposal")
def preview(request: HttpRequest, body: SubmissionIn) -> dict[str, Any]:
    """The plan, changes and verdict that this proposal would get now. Nothing is stored, nothing is touched."""
    found = rehearse(access_of(request), body.submission())
    changes = found.draft.changes
    verdict = {k: v for k, v in asdict(found.verdict).items() if k != "blast"}
    return {
        "plan": plan_shown(found.plan),
        "verdict": verdict,
        "changes": [change_shown(c) for c in changes[:PREVIEWED]],
        "more_changes": max(0, len(changes) - PREVIEWED),
    }


@router.get("/actions", response={200: ActionPage, 401: ProblemOut, 422: ProblemOut}, summary="List actions")
def actions(request: HttpRequest, asked: Query[listing.Asked]) -> dict[str, Any]:
    """Newest first. `next` is the `after` of the following page."""
    refuse_unknown(request, listing.Asked)
    return listing.list_page(access_of(request), Q(), asked)


@router.get("/actions/pending", response={200: ActionPage, 401: ProblemOut, 422: ProblemOut}, summary="What waits for people")
def pending(request: HttpRequest, asked: Query[listing.PendingAsked]) -> dict[str, Any]:
    """Actions that await approval, newest first; with `for=me` those that you could approve or accept now."""
    refuse_unknown(request, listing.PendingAsked)
    access = access_of(request)
    waiting = Q(state=State.AWAITING_APPROVAL)
    if request.GET.get("for"):
        waiting &= yours_to_decide(access) | yours_to_accept(access)
    return listing.list_page(access, waiting, asked)


@router.get("/action-types", response={200: TypePage, 401: ProblemOut}, summary="What can be proposed", tags=["types"])
def action_types(request: HttpRequest) -> dict[str, Any]:
    """Every installed action type with the JSON Schema of its parameters."""
    names = ("name", "title", "description", "version", "schema", "security_level", "risk_class", "changes_something")
    return {"items": [{name: getattr(it, name) for name in names} for it in executors().values()], "next": None}


@router.get("/actions/{action_id}", response={200: ActionOut, **REFUSALS, 422: ProblemOut}, summary="One action")
async def action(request: HttpRequest, action_id: str, patience: Query[Patience]) -> dict[str, Any]:
    """
    The action now; with `wait_s` as soon as it is in one of the states of `state`, has ended, or the time is over.

    Without `state` the wait is over when no worker has the next turn.
    """
    return await wait_for(request, action_id, patience)


@router.post("/actions/{action_id}/accept", response={200: ActionOut, **VERB_REFUSALS}, summary="Accept the dry-run diff")
def accept(request: HttpRequest, action_id: str, body: AcceptIn) -> dict[str, Any]:
    """The requester accepts exactly the diff of the plan with this digest, where no seat is asked for."""
    return shown(
        request, verbs.accept(access_of(request), action_id, body.digest, correlation_id=correlation_of(request))
    )  # fmt: skip


@router.post("/actions/{action_id}/approve", response={200: ActionOut, **VERB_REFUSALS}, summary="Approve or reject")
def approve(request: HttpRequest, action_id: str, body: DecisionIn) -> dict[str, Any]:
    """Approve exactly the plan with this digest, or reject with a comment. 409 if the plan is another one by now."""
    done = verbs.approve(
        access_of(request), action_id, body.approved, body.digest, body.comment, correlation_id=correlation_of(request)
    )  # fmt: skip
    return shown(request, done)


@router.post("/actions/{action_id}/cancel", response={200: ActionOut, **VERB_REFUSALS}, summary="Withdraw")
def cancel(request: HttpRequest, action_id: str, body: ReasonIn) -> dict[str, Any]:
    """Withdraw an action that has not begun."""
    return shown(
        request, verbs.cancel(access_of(request), action_id, body.reason, correlation_id=correlation_of(request))
    )  # fmt: skip


@router.post("/actions/{action_id}/abort", response={200: ActionOut, **VERB_REFUSALS}, summary="Stop")
def abort(request: HttpRequest, action_id: str, body: ReasonIn) -> dict[str, Any]:
    """Stop at the next checkpoint and undo what was done; before it began, the same as cancel."""
    return shown(
        request, verbs.abort(access_of(request), action_id, body.reason, correlation_id=correlation_of(request))
    )  # fmt: skip


@router.post("/actions/{action_id}/resume", response={200: ActionOut, **VERB_REFUSALS}, summary="Settle a held action")
def resume(request: HttpRequest, action_id: str, body: ResumeIn) -> dict[str, Any]:
    """Continue, roll back or give up an action that is held."""
    done = verbs.resume(
        access_of(request), action_id, body.reason, how=body.how, step_done=body.step_done,
        correlation_id=correlation_of(request),
    )  # fmt: skip
    return shown(request, done)


@router.post(
    "/actions/{action_id}/rollback", response={200: ActionOut, 201: ActionOut, **VERB_REFUSALS}, summary="Undo"
)  # fmt: skip
def rollback(request: HttpRequest, action_id: str, body: ReasonIn) -> Status[Any]:
    """Roll a failed or held run back; of a completed one, propose the undo: 201 with the new action."""
    done, is_new = verbs.rollback(
        access_of(request), action_id, body.reason, correlation_id=correlation_of(request)
    )  # fmt: skip
    return Status(201 if is_new else 200, shown(request, verbs.find(access_of(request), done.pk)))


@router.post("/actions/{action_id}/retry", response={201: ActionOut, **VERB_REFUSALS}, summary="Propose again")
def retry(request: HttpRequest, action_id: str, body: ReasonIn) -> Status[Any]:
    """Propose an ended action again: 201 with the linked new action, which goes through the gate."""
    made = verbs.retry(access_of(request), action_id, body.reason, correlation_id=correlation_of(request))
    return Status(201, shown(request, verbs.find(access_of(request), made.pk)))
