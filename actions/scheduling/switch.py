"""
The operator's switch of an environment: while it is set nothing starts there, and what runs is held.

Setting it asks every run there to stop; each is held at its next checkpoint, with the reason `switch`. Whatever begins
looks at the switch in the very statement that makes it durable, so a run that starts in the moment in which the switch
is thrown is held before its next step. Lifting it lets exactly those go on that it held, each the way it was going.
"""

import json
from collections.abc import Iterable
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from actions.errors import NotAllowed, WrongState
from actions.lifecycle import Note, Write, advance, write
from actions.models import Action, EnvironmentHold
from actions.nudge import nudge
from actions.scheduling.standing import SWITCH
from actions.states import State
from audit.errors import Invalid, NotFound
from audit.log.events import NewEvent, Subject, record
from audit.models import Event
from tenants.access import Access
from tenants.models import Environment

BY = "system:switch"
MOST_REASON = 2_000
BATCH = 200


def find_place(access: Access, slug: str) -> Environment:
    """An environment that the caller may view, with its tenant. Raises NotFound."""
    found = Environment.objects.select_related("tenant").filter(tenant=access.tenant, slug=slug).first()
    if found is None or not access.can("view", found.pk):
        raise NotFound
    return found


def hold_of(environment: Environment) -> EnvironmentHold | None:
    """The switch of an environment, while it is set."""
    return holds_in([environment.pk]).get(environment.pk)


def holds_in(environment_ids: Iterable[UUID]) -> dict[UUID, EnvironmentHold]:
    """The switches that are set, by environment. One query."""
    found = EnvironmentHold.objects.filter(environment__in=list(environment_ids), lifted_at=None)
    return {hold.environment_id: hold for hold in found.select_related("environment", "set_by")}


def throw(access: Access, slug: str, reason: str, *, correlation_id: str = "") -> EnvironmentHold:
    """
    Set the switch, and ask what runs there to stop. Event `environment.held`. Raises NotFound, NotAllowed, Invalid, and
    WrongState where it is set already.
    """
    place = _permitted(access, slug)
    _must_say_why(reason)
    by = str(access.principal.pk)
    try:
        with transaction.atomic():
            made = EnvironmentHold.objects.create(
                tenant=place.tenant, environment=place, reason=reason.strip(), set_by=access.principal
            )
            entry = _told(place, "environment.held", by, correlation_id, {"hold": str(made.pk)}, reason)
            record(entry)
    except IntegrityError:
        raise WrongState(
            f"{place.name} is held already.", remedies=["Lift the switch first to set it for another reason."]
        ) from None
    ask_to_stop([place.tenant_id], [place.pk], by)
    return EnvironmentHold.objects.select_related("environment", "set_by").get(pk=made.pk)


def lift(access: Access, slug: str, reason: str, *, correlation_id: str = "") -> int:
    """
    Lift the switch, and let go on what it held; return how many do at once. Event `environment.released`.

    What a cap has no room for, or a worker was just about to hold, follows with the sweep. Raises NotFound, NotAllowed,
    Invalid, and WrongState where it is not set.
    """
    place = _permitted(access, slug)
    _must_say_why(reason)
    by = str(access.principal.pk)
    with transaction.atomic():
        now = EnvironmentHold.objects.filter(environment=place, lifted_at=None)
        lifted = list(now.values_list("pk", flat=True))
        if not now.update(lifted_at=Now(), lifted_by=access.principal):
            raise WrongState(f"{place.name} is not held; there is nothing to lift.")
        record(_told(place, "environment.released", by, correlation_id, {"hold": str(lifted[0])}, reason))
    resumed = let_go_on(by, [place.pk])
    nudge("execute")
    return resumed


def ask_to_stop(tenant_ids: Iterable[UUID], environment_ids: Iterable[UUID], by: str = BY) -> int:
    """Ask runs in these environments to stop at their next checkpoint, unless somebody has asked; return how many."""
    running = Action.objects.filter(
        tenant__in=set(tenant_ids),
        environment__in=list(environment_ids),
        state=State.IN_PROGRESS,
        stop_requested_at=None,
    )
    asked = [
        Write(
            action,
            by=by,
            notes=[Note("action.hold_requested", {"reason": SWITCH})],
            stop=True,
            sets={"stop_why": SWITCH},
        )
        for action in running
    ]
    return len(write(asked)) if asked else 0


def let_go_on(by: str = BY, environment_ids: Iterable[UUID] | None = None) -> int:
    """
    Let go on what a switch held that is not set any more: forward, or backward what was rolling back.

    Two queries where nothing is held; a person's word is not needed, for the cause is gone.
    """
    waiting = Action.objects.filter(state=State.HELD, held_reason=SWITCH).exclude(
        environment__in=EnvironmentHold.objects.filter(lifted_at=None).values("environment")
    )
    if environment_ids is not None:
        waiting = waiting.filter(environment__in=list(environment_ids))
    ids = list(waiting.order_by("turn_at", "pk").values_list("pk", flat=True)[:BATCH])
    if not ids:
        return 0
    back = were_rolling_back(ids)
    facts = {"because": "the switch was lifted"}
    moved = advance([pk for pk in ids if pk not in back], "resume", by=by, facts=facts)
    moved += advance(back, "roll_back", by=by, facts=facts) if back else []
    return len(moved)


def repair() -> None:
    """The sweep's part: ask runs to stop that nobody could ask, and let go on what is held by no switch any more."""
    held = list(EnvironmentHold.objects.filter(lifted_at=None).values_list("tenant", "environment"))
    if held:
        ask_to_stop({tenant for tenant, _ in held}, {place for _, place in held})
    let_go_on()


def were_rolling_back(action_ids: Iterable[UUID]) -> set[UUID]:
    """Those of these held actions that were on their way back, by the newest event that held each. One query."""
    held = Event.objects.filter(subject_kind="action", subject_id__in=list(action_ids), verb="action.hold")
    newest: dict[UUID, str] = {}
    for subject_id, body in held.order_by("seq").values_list("subject_id", "body"):
        newest[subject_id] = json.loads(bytes(body))["facts"].get("from", "")
    return {pk for pk, before in newest.items() if before == State.ROLLING_BACK}


def _permitted(access: Access, slug: str) -> Environment:
    place = find_place(access, slug)
    if not (access.can("operate", place.pk) or access.can("administer", place.pk)):
        raise NotAllowed(
            f"Only an operator of {place.name} may hold it or release it.",
            remedies=["Ask a tenant admin for a role that may operate there."],
        )
    return place


def _must_say_why(reason: str) -> None:
    words = "Say why: operators and auditors read it." if not reason.strip() else ""
    if len(reason) > MOST_REASON:
        words = f"At most {MOST_REASON:,} characters."
    if words:
        raise Invalid(words, issues=[{"severity": "error", "message": words, "field": "reason"}])


def _told(place: Environment, verb: str, by: str, via: str, facts: dict[str, str], reason: str) -> NewEvent:
    subject = Subject("environment", place.pk, place.name, f"/environments/{place.slug}/")
    return NewEvent(place.tenant_id, subject, verb, by, "ok", via, facts, {"reason": reason.strip()})
