"""Runners driven by the test itself, without messages: what waits is carried until nobody but a person has the turn."""

from collections.abc import Callable
from typing import Any

from django.db import connection

from actions.engine.runner import Runner
from actions.models import Action
from audit.models import Event


def carry(action: Action) -> Action:
    """Drain both queues until nothing moves; return the action as it is now, with its plan."""
    runners = [Runner("decide"), Runner("execute")]
    try:
        while sum(r.drain() for r in runners):
            pass
    finally:
        for r in runners:
            r.stop()
    return Action.objects.select_related("plan", "environment", "requester").get(pk=action.pk)


def called(verb: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Call a verb from inside an effect, whose thread must not keep the connection."""
    try:
        verb(*args, **kwargs)
    finally:
        connection.close()


def verbs_of(action: Action) -> list[str]:
    return list(Event.objects.filter(subject_id=action.pk).order_by("seq").values_list("verb", flat=True))
