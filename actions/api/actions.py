"""Actions over HTTP: propose, try out, list, look, wait."""

from dataclasses import asdict
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from ninja import Header, Query, Router, Status

from actions.api import listing
from actions.api.caller import access_of, correlation_of, refuse_unknown
from actions.api.patience import Patience, wait_for
from actions.api.plans import change_shown
from actions.api.reads import plan_shown, shown
from actions.api.schemas import ActionOut, ActionPage, PreviewOut, SubmissionIn, TypePage
from actions.intake.submit import submit
from actions.pages.whose_turn import yours_to_accept, yours_to_decide
from actions.preview import preview as rehearse
from actions.states import State
from actions.types.registry import executors

router = Router(tags=["actions"])
PREVIEWED = 50


@router.post(
    "/actions",
    response={201: ActionOut, 200: ActionOut},
    summary="Propose an action",
)
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
    action, is_new = submit(access, body.submission(), idempotency_key=idempotency_key, correlation_id=correlation_id)
    return Status(201 if is_new else 200, shown(request, action))


@router.post("/actions/preview", response=PreviewOut, summary="Try out a proposal")
def preview(request: HttpRequest, body: SubmissionIn) -> dict[str, Any]:
    """The plan, changes and verdict that this proposal would get now. Nothing is stored, nothing is touched."""
    found = rehearse(access_of(request), body.submission())
    changes = found.draft.changes
    verdict = {k: v for k, v in asdict(found.verdict).items() if k != "blast"}
    return {
        "plan": {**plan_shown(found.plan), "created_at": None},
        "verdict": verdict,
        "changes": [change_shown(c) for c in changes[:PREVIEWED]],
        "more_changes": max(0, len(changes) - PREVIEWED),
    }


@router.get("/actions", response=ActionPage, summary="List actions")
def actions(request: HttpRequest, asked: Query[listing.Asked]) -> dict[str, Any]:
    """Newest first. `next` is the `after` of the following page."""
    refuse_unknown(request, listing.Asked)
    return listing.list_page(access_of(request), Q(), asked)


@router.get("/actions/pending", response=ActionPage, summary="What waits for people")
def pending(request: HttpRequest, asked: Query[listing.PendingAsked]) -> dict[str, Any]:
    """Actions that await approval, newest first; with `for=me` those that you could approve or accept now."""
    refuse_unknown(request, listing.PendingAsked)
    access = access_of(request)
    waiting = Q(state=State.AWAITING_APPROVAL)
    if asked.me:
        waiting &= yours_to_decide(access) | yours_to_accept(access)
    return listing.list_page(access, waiting, asked)


@router.get(
    "/action-types",
    response=TypePage,
    summary="What can be proposed",
    tags=["types"],
    by_alias=True,
)
def action_types(request: HttpRequest) -> dict[str, Any]:
    """Every installed action type with the JSON Schema of its parameters."""
    names = ("name", "title", "description", "version", "schema", "security_level", "risk_class", "changes_something")
    return {"items": [{name: getattr(it, name) for name in names} for it in executors().values()], "next": None}


@router.get(
    "/actions/{action_id}",
    response=ActionOut,
    summary="One action",
)
async def action(request: HttpRequest, action_id: str, patience: Query[Patience]) -> dict[str, Any]:
    """
    The action now; with `wait_s` as soon as it is in one of the states of `state`, has ended, or the time is over.

    Without `state` the wait is over when no worker has the next turn.
    """
    return await wait_for(request, action_id, patience)
