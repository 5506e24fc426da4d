"""A ledger whose steps fail as a test says: per cell a list of outcomes, one for each attempt, then it succeeds."""

import threading
from collections import Counter
from contextlib import contextmanager
from typing import Any

from actions.engine.runner import Runner
from actions.models import Action, JournalEntry
from actions.types import registry
from actions.types.protocol import Outcome
from tests.actions.factory import propose
from tests.actions.running import carry
from tests.support.ledger_executor import LedgerExecutor

BUSY = Outcome(False, "busy", "Somebody else is at work.", retryable=True)
QUICK = {"delay_s": 0.01, "max_delay_s": 0.02}


class Scripted(LedgerExecutor):
    """`fails` maps a step's number to its outcomes; `shape` adds to the plan's steps by number."""

    recovery = QUICK

    def __init__(self, **said: Any) -> None:
        super().__init__()
        self.fails: dict[int, list[Outcome]] = {}
        self.shape: dict[int, dict[str, Any]] = {}
        self.tries: Counter[int] = Counter()
        self.lock = threading.Lock()
        for name, value in said.items():
            setattr(self, name, value)

    def plan(self, parameters, target):
        draft = super().plan(parameters, target)
        keys = [step["key"] for step in draft.steps]
        for number, extra in self.shape.items():
            more = {**extra}
            if "fallback_for" in more:
                more["fallback_for"] = keys[more["fallback_for"] - 1]
            draft.steps[number - 1].update(more)
        return draft

    def apply(self, ctx):
        number = int(ctx.step["key"][:3])
        with self.lock:
            self.tries[number] += 1
            script = self.fails.get(number, [])
            said = script.pop(0) if len(script) > 1 else script[0] if script else None
            if said is not None and said.ok:
                said = None
        return said or super().apply(ctx)


@contextmanager
def scripted(**said):
    with registry.register_executor(Scripted(**said)) as executor:
        yield executor


def asked(cast, steps=3, recovery=None, **more) -> Action:
    parameters = {"steps": steps, **more.pop("parameters", {})}
    return propose(cast, type="ledger", parameters=parameters, recovery=recovery or {}, **{"accept": True, **more})


def run(cast, steps=3, recovery=None, **more) -> Action:
    return carry(asked(cast, steps, recovery, **more))


def states(action: Action) -> dict[int, str]:
    """The last line of each step's ledger, by the step's number."""
    lines = JournalEntry.objects.filter(action=action).order_by("id")
    return {int(line.step[:3]): str(line.kind) for line in lines}


@contextmanager
def workers(*queues: str):
    runners = [Runner(queue) for queue in queues or ("decide", "execute")]
    try:
        yield runners
    finally:
        for runner in runners:
            runner.stop()
