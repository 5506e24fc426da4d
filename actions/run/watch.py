"""
What is watched while a run goes on: checks that must hold all the time, and the share of attempts that fail.

A spike asks the run to stop, as a person would: what runs is told through `stopping()`, nothing new begins, and the run
is then held or goes back, as its submission says. Where nothing is watched, nothing of this costs anything.
"""

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

from actions.case import Asked, Case, Launch, Result, durably
from actions.checks import run_checks, while_running
from actions.lifecycle import Note, Write
from actions.run.endings import GAVE_UP
from actions.run.stopping import SPIKE
from actions.storable import storable, text_of

BY = "system:execute"
WATCH = "\x00watch"
"""What the asking is called among the effects of a run; no step is called so."""
EVERY_S = 15
LEAST_ATTEMPTS = 4
"""Fewer say nothing about a share."""


def watching(case: Case) -> Generator[Asked, Any, None]:
    """Have the checks asked after the next interval, if there are any to be asked."""
    checks = while_running(case.action.checks)
    if checks and not case.action.simulated and not case.action.stop_requested_at:
        every_s = float(case.action.watch.get("every_s", EVERY_S))
        yield Launch(WATCH, partial(ask, case, checks, every_s), delay_s=every_s)


def ask(case: Case, checks: list[dict[str, Any]], every_s: float) -> list[dict[str, Any]]:
    """Run the checks once, in a thread; return those that do not hold."""
    return [c for c in storable(run_checks(checks, case.target)) if not c["ok"]]


def heed(case: Case, ended: Sequence[tuple[str, Result]], outcomes: Sequence[Any]) -> Generator[Asked, Any, None]:
    """Take note of what the watch found and of how attempts ended; on a spike, ask the run to stop."""
    count(case, outcomes)
    facts = too_many_failures(case)
    for key, result in ended:
        if key != WATCH:
            continue
        bad = [{"name": "watch", "detail": text_of(str(result.error))}] if result.error else result.value
        if bad:
            facts = facts or {"why": "checks", "checks": [str(c["name"]) for c in bad]}
        else:
            yield from watching(case)
    if facts and not case.action.stop_requested_at:
        yield from durably(case, partial(spiked, case, facts))


def count(case: Case, outcomes: Sequence[Any]) -> None:
    """Add attempts that ended by themselves; those that were told to end say nothing."""
    own = [o for o in outcomes if o.code != GAVE_UP]
    case.attempts += len(own)
    case.failures += sum(not o.ok for o in own)


def too_many_failures(case: Case) -> dict[str, Any]:
    """The facts of an error rate above what the submission allows; empty while it is not."""
    most = case.action.watch.get("error_rate")
    if most is None or case.attempts < LEAST_ATTEMPTS or case.failures <= most * case.attempts:
        return {}
    return {"why": "error_rate", "attempts": case.attempts, "failures": case.failures}


def spiked(case: Case, facts: dict[str, Any]) -> Write:
    """The wish to stop, unless somebody else had one meanwhile."""
    spike = Note("risk.spiked", facts, outcome="failed")
    if case.action.stop_requested_at:
        return Write(case.action, by=BY, notes=[spike])
    error = {"code": SPIKE, "message": in_words(facts), "details": facts}
    return Write(case.action, by=BY, notes=[spike], stop=True, sets={"stop_why": SPIKE, "error": error})


def in_words(facts: dict[str, Any]) -> str:
    if facts["why"] == "error_rate":
        return f"{facts['failures']} of {facts['attempts']} attempts at its steps failed, more than it may be."
    return f"While it ran, these ceased to hold: {', '.join(facts['checks'])}."
