"""What must hold after any fault: no effect twice, one event per move in whole chains, and everything ends."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from actions.models import Action, JournalEntry
from actions.models.states import ENDED
from audit.models import Event
from audit.verification.chain import verify_chains
from tests.actions.factory import propose
from tests.cast import Cast
from tests.support.ledger_executor import balance, doubles
from tests.support.processes import wait_for


def ledger_actions(cast: Cast, count: int, **parameters: Any) -> list[Action]:
    """Propose actions of `steps` lines each, accepted in advance: workers carry them from end to end."""
    return [propose(cast, type="ledger", parameters={"steps": 3, **parameters}, accept=True) for _ in range(count)]


def states_of(actions: Sequence[Action]) -> dict[str, int]:
    return dict(Counter(Action.objects.filter(pk__in=[a.pk for a in actions]).values_list("state", flat=True)))


def all_ended(actions: Sequence[Action]) -> Callable[[], bool]:
    return lambda: set(states_of(actions)) <= set(ENDED)


def wait_until_completed(actions: Sequence[Action], seconds: float, log: Path) -> None:
    wait_for(all_ended(actions), seconds, f"the end of {len(actions)} actions ({states_of(actions)} at first)", log)
    others = Action.objects.filter(pk__in=[a.pk for a in actions]).exclude(state="completed")
    assert states_of(actions) == {"completed": len(actions)}, list(others.values_list("error", flat=True))


def assert_each_effect_once(actions: Sequence[Action], ledger: Path) -> None:
    """Every step of every action left one line, and one receipt, after those of the steps that it comes after."""
    now = Action.objects.select_related("plan").filter(pk__in=[a.pk for a in actions])
    cells: Counter[str] = Counter()
    for action in now:
        assert action.plan is not None
        receipts = JournalEntry.objects.filter(action=action, kind="receipt").order_by("id")
        found = list(receipts.values_list("step", flat=True))
        assert sorted(found) == sorted(step["key"] for step in action.plan.steps)
        for step in action.plan.steps:
            assert all(found.index(earlier) < found.index(step["key"]) for earlier in step["after"])
        cells.update(step["target"] for step in action.plan.steps)
    assert doubles(ledger) == []
    assert balance(ledger) == cells


def assert_sound(actions: Sequence[Action]) -> None:
    """Each action stands where its own events say, one event per move, the chains hold, and nobody still has it."""
    for action in Action.objects.filter(pk__in=[a.pk for a in actions]):
        state = "queued"
        for event in Event.objects.filter(subject_id=action.pk).order_by("seq"):
            facts = json.loads(bytes(event.body))["facts"]
            if "to" in facts and event.verb.startswith("action."):
                assert facts["from"] == state, f"{event.verb} of {action.pk} leads out of {facts['from']}, not {state}"
                state = facts["to"]
        assert action.state == state
        assert action.lease_id is None
        assert action.seq == Event.objects.filter(subject_id=action.pk).count()
    report = verify_chains()
    assert report.ok, str(report)
