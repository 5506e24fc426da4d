"""
What a group of writes has to have before it is made, and what it leaves: places under caps, and resources.

Called by `actions.lifecycle` inside its transaction. Caps are locked first, then actions, then claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import transaction

from actions.locks import CLAIMING, in_the_way, let_go, step_aside, take
from actions.models import Action
from actions.nudge import nudge
from actions.scheduling.caps import admitted, as_facts
from actions.scheduling.rules import RUNNING

if TYPE_CHECKING:
    from actions.lifecycle import Write

MOST_NAMED = 20


def admit(writes: Sequence[Write]) -> None:
    """
    Count who is about to run against the caps. A worker's that is too many is turned back; a person's does not stick.

    No statement where the workers know of no cap: the guard of the write sees whether somebody has set one since.
    """
    asked = [w for w in writes if w.enters and w.capped is not False]
    if not asked:
        return
    let, kept = admitted([w.action for w in asked])
    for w in asked:
        w.admitted = w.action.pk in let
        if not w.admitted and w.lease is not None:
            w.turn_back({"caps": as_facts(kept[w.action.pk])})
    if any(w.is_blocked for w in asked):
        wake_others()  # who was counted may have ended by now: nobody else would call


def claim(writes: Sequence[Write]) -> list[Write]:
    """
    Take what these writes need for themselves; turn back those that have to wait for somebody else.

    Return those that got what they need, or are turned back: their guard matches but for the switch and the caps.
    """
    wanting = [w for w in writes if w.claims and not w.is_blocked]
    if not wanting:
        return []
    ours = _locked(wanting)
    granted = take([(w.action, w.claims) for w in ours]) if ours else set()
    blocked = [w for w in ours if w.action.pk not in granted]
    behind = in_the_way([w.action.pk for w in blocked]) if blocked else {}
    for w in blocked:
        first = behind.get(w.action.pk, [])[:MOST_NAMED]
        w.turn_back({"behind": [{"kind": c.kind, "name": c.name, "action": str(c.action_id)} for c in first]})
    if any(w.action.pk not in behind for w in blocked):
        wake_others()  # who was in the way has just let go: nobody else would call
    return ours


def _locked(writes: Sequence[Write]) -> list[Write]:
    """
    Lock the actions of these writes; return those whose guard will match.

    The others' claims are not ours to touch: somebody else may be running the action on them. Rows of actions are
    locked before claims by everybody.
    """
    rows = Action.objects.select_for_update(no_key=True).filter(pk__in=[w.action.pk for w in writes]).order_by("pk")
    found = {pk: rest for pk, *rest in rows.values_list("pk", "state", "seq", "lease")}
    return [
        w
        for w in writes
        if w.action.pk in found
        and found[w.action.pk][:2] == [w.action.state, w.action.seq]
        and w.lease in (None, found[w.action.pk][2])
    ]


def give_back(refused: Sequence[Write]) -> None:
    """Drop what was taken for writes that the switch or a new cap refused. They queue up again where they were."""
    if refused and let_go([w.action.pk for w in refused]):
        wake_others()


def leave(stuck: Sequence[Write]) -> None:
    """Drop the claims of actions that end with these writes; one that is held for a person waits in no queue."""
    ended = [w.action.pk for w in stuck if w.action.state in CLAIMING and w.target not in CLAIMING]
    held = [w.action.pk for w in stuck if w.verb == "hold"]
    makes_room = any(w.capped and w.action.state in RUNNING and w.target not in RUNNING for w in stuck)
    if let_go(ended) | step_aside(held) | makes_room:
        wake_others()


def wake_others() -> None:
    transaction.on_commit(lambda: nudge("execute"))
