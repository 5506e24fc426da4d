"""Actions: submit, dry run, list, read, and wait for a state."""

import time
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from ninja import Field, Header, Query, Router, Schema, Status
from pydantic import field_validator

from actions.api.plan_schemas import ZonedTime, to_milliseconds
from actions.api.plans import serialize_change
from actions.api.request_context import action_response, refuse_unknown_filters
from actions.api.schemas import ActionOut, ActionPage, DryRunOut, SubmissionIn, TypePage
from actions.commands.propose import dry_run
from actions.intake.submit import submit
from actions.lifecycle.allowed import find_action
from actions.live.connection_access import ConnectionAccess
from actions.live.news import database_async, subscribe
from actions.models import Action
from actions.models.states import ACTIVE, ENDED, LIVE, SEED_VOCABULARY, State
from actions.queries.action_detail import light_actions, serialize_action, serialize_actions, serialize_plan
from actions.queries.action_list import awaiting_acceptance_by, awaiting_decision_by
from actions.types.registry import executors
from audit.database.clock import database_time
from audit.errors import Invalid, Unauthenticated
from audit.web import correlation_of
from tenants.access import Access, access_of

OLDEST_SEARCHED = timedelta(days=90)
"""How far back a text search looks unless it says `since`: without a bound it would read every action ever made."""
CLOCKS_APART_MS = 300_000
TICK = timedelta(microseconds=1)
STATE_ALIASES = {spoken: state for state, spoken in SEED_VOCABULARY.items()} | {"running": "in_progress"}
GROUPS = {"live": LIVE, "ended": ENDED}


class ActionFilters(Schema):
    """The filters of a list; all of them must hold."""

    state: str = Field("", description="States, separated by commas; also `live`, `ended`, `pending`, `running`.")
    environment: str = Field("", description="A slug.")
    type: str = ""
    requester: str = Field("", description="A username or an id.")
    mine: bool = Field(False, description="Requested by you, or by an agent of yours.")
    tier: str = ""
    q: str = Field("", max_length=200, description="Text in title or ticket. Looks 90 days back, or to `since`.")
    ticket: str = ""
    correlation_id: str = ""
    since: ZonedTime | None = Field(None, description="Created at or after.")
    until: ZonedTime | None = Field(None, description="Created before.")
    after: UUID | None = Field(None, description="The `next` of the page before.")
    limit: int = Field(50, ge=1, le=100)
    vocabulary: Literal["", "seed"] = ""

    @field_validator("*", mode="before")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        if isinstance(value, str) and "\x00" in value:
            raise ValueError("NUL characters are not accepted.")
        return value

    def condition(self, access: Access) -> Q:
        """The conditions on actions that these filters stand for. Raises Invalid for a state that there is not."""
        exact = {
            "environment__slug": self.environment,
            "type": self.type,
            "tier": self.tier,
            "ticket": self.ticket,
            "correlation_id": self.correlation_id,
        }
        found = Q(**{name: value for name, value in exact.items() if value})
        if self.state:
            found &= Q(state__in=parse_states(self.state))
        if self.requester:
            found &= _requested_by(self.requester)
        if self.mine:
            found &= Q(requester=access.principal.pk) | Q(requester__owner=access.principal.pk)
        if self.q:
            found &= Q(title__icontains=self.q) | Q(ticket__icontains=self.q)
        since = self.since or (database_time() - OLDEST_SEARCHED if self.q else None)
        return found & _created_between(since, self.until)


class PendingFilters(ActionFilters):
    """The filters of what waits for people."""

    me: Literal["", "me"] = Field("", alias="for", description="`me`: what you could approve or accept now.")


def parse_states(text: str) -> set[str]:
    """The states that a list of words means, in our words or the seeds'. Raises Invalid naming the unknown ones."""
    known = {state.value for state in State}
    found, unknown = set(), []
    for word in filter(None, (part.strip() for part in text.split(","))):
        meant = GROUPS.get(word) or {STATE_ALIASES.get(word, word)}
        found |= {str(state) for state in meant} & known
        unknown += [] if set(map(str, meant)) <= known else [word]
    if unknown:
        words = f"No such state: {', '.join(unknown)[:200]}. States are {', '.join(sorted(known))}, live and ended."
        raise Invalid(issues=[{"severity": "error", "message": words, "field": "state"}])
    return found


def list_page(access: Access, base: Q, asked: ActionFilters) -> dict[str, Any]:
    """One page, newest first, and the cursor of the next."""
    found: QuerySet[Action, Any] = light_actions(access).filter(base, asked.condition(access))
    if asked.after:
        found = found.filter(pk__lt=asked.after)
    actions = list(found.order_by("-pk")[: asked.limit + 1])
    more = str(actions[asked.limit - 1].pk) if len(actions) > asked.limit else None
    return {"items": serialize_actions(access, actions[: asked.limit], asked.vocabulary), "next": more}


def _requested_by(text: str) -> Q:
    try:
        return Q(requester=UUID(text))
    except ValueError:
        return Q(requester__username__iexact=text)


def _created_between(since: datetime | None, until: datetime | None) -> Q:
    """
    Times as times, and roughly as ids too: ids sort by time, so the keyset's own index bounds the search.

    SQLite compares times as texts, and those it writes itself have three decimals: equal is never asked for.
    """
    found = Q()
    if since:
        found &= Q(created_at__gt=since - TICK, pk__gte=_smallest_id_at(to_milliseconds(since) - CLOCKS_APART_MS))
    if until:
        found &= Q(created_at__lte=until - TICK, pk__lt=_smallest_id_at(to_milliseconds(until) + CLOCKS_APART_MS))
    return found


def _smallest_id_at(milliseconds: int) -> UUID:
    """The smallest UUIDv7 of a moment."""
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62))


# Read an action, and wait for a state if asked to.


MAX_WAIT_BETWEEN_READS_S = 5.0
"""The longest that a wait goes without a look, whatever is said or lost."""


class LongPoll(Schema):
    """How long to wait for what."""

    wait_s: float = Field(0, ge=0, le=25)
    state: str = Field(
        "", max_length=300, description="States, separated by commas; also `live`, `ended`, `pending`, `running`."
    )
    vocabulary: Literal["", "seed"] = ""

    def is_over(self, state: str) -> bool:
        """Whether an action in this state is where the caller wants it, or can no longer get there."""
        if self.state:
            return state in parse_states(self.state) or state in ENDED
        return state not in ACTIVE


async def wait_for_state(request: HttpRequest, action_id: str, patience: LongPoll) -> dict[str, Any]:
    """The action as it stands when the wait is over. Holds no database connection while it waits."""
    refuse_unknown_filters(request, LongPoll)
    parse_states(patience.state)
    access = access_of(request)
    action = await _find_action(access, action_id)
    if patience.wait_s and not patience.is_over(action.state):
        await _wait_until(patience, access, action)
        access = await database_async(_recheck_access)(ConnectionAccess.of_request(request))
        action = await _find_action(access, action_id)
    return await database_async(serialize_action)(access, action, patience.vocabulary)


async def _wait_until(patience: LongPoll, access: Access, action: Action) -> None:
    deadline = time.monotonic() + patience.wait_s
    async with subscribe(action.pk, action.environment_id, access.principal.pk) as subscription:
        while not patience.is_over(await _read_state(action.pk)):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            await subscription.wait(min(left, MAX_WAIT_BETWEEN_READS_S))


def _recheck_access(standing: ConnectionAccess) -> Access:
    """Who waited may have been signed out meanwhile, or have lost a role."""
    access = standing.access()
    if access is None:
        raise Unauthenticated
    return access


@database_async
def _find_action(access: Access, action_id: str) -> Action:
    return find_action(access, action_id)


@database_async
def _read_state(action_id: UUID) -> str:
    return Action.objects.values_list("state", flat=True).get(pk=action_id)


# The routes.


router = Router(tags=["actions"])
MAX_DRY_RUN_CHANGES = 50


@router.post(
    "/actions",
    response={201: ActionOut, 200: ActionOut},
    summary="Propose an action",
)
def submit_action(
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
    return Status(201 if is_new else 200, action_response(request, action))


@router.post("/actions/dry-run", response=DryRunOut, summary="Try out a proposal")
def dry_run_action(request: HttpRequest, body: SubmissionIn) -> dict[str, Any]:
    """The plan, changes and verdict that this proposal would get now. Nothing is stored, nothing is touched."""
    found = dry_run(access_of(request), body.submission())
    changes = found.draft.changes
    verdict = {k: v for k, v in asdict(found.verdict).items() if k != "blast"}
    return {
        "plan": {**serialize_plan(found.plan), "created_at": None},
        "verdict": verdict,
        "changes": [serialize_change(c) for c in changes[:MAX_DRY_RUN_CHANGES]],
        "more_changes": max(0, len(changes) - MAX_DRY_RUN_CHANGES),
    }


@router.get("/actions", response=ActionPage, summary="List actions")
def list_actions(request: HttpRequest, asked: Query[ActionFilters]) -> dict[str, Any]:
    """Newest first. `next` is the `after` of the following page."""
    refuse_unknown_filters(request, ActionFilters)
    return list_page(access_of(request), Q(), asked)


@router.get("/actions/pending", response=ActionPage, summary="What waits for people")
def list_pending(request: HttpRequest, asked: Query[PendingFilters]) -> dict[str, Any]:
    """Actions that await approval, newest first; with `for=me` those that you could approve or accept now."""
    refuse_unknown_filters(request, PendingFilters)
    access = access_of(request)
    waiting = Q(state=State.AWAITING_APPROVAL)
    if asked.me:
        waiting &= awaiting_decision_by(access) | awaiting_acceptance_by(access)
    return list_page(access, waiting, asked)


@router.get(
    "/action-types",
    response=TypePage,
    summary="What can be proposed",
    tags=["types"],
    by_alias=True,
)
def list_action_types(request: HttpRequest) -> dict[str, Any]:
    """Every installed action type with the JSON Schema of its parameters."""
    names = ("name", "title", "description", "version", "schema", "security_level", "risk_class", "changes_something")
    return {"items": [{name: getattr(it, name) for name in names} for it in executors().values()], "next": None}


@router.get(
    "/actions/{action_id}",
    response=ActionOut,
    summary="One action",
)
async def read_action(request: HttpRequest, action_id: str, patience: Query[LongPoll]) -> dict[str, Any]:
    """
    The action now; with `wait_s` as soon as it is in one of the states of `state`, has ended, or the time is over.

    Without `state` the wait is over when no worker has the next turn.
    """
    return await wait_for_state(request, action_id, patience)
