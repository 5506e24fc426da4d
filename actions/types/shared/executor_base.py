"""Bases and outcomes that executors share: read-only executors, refused steps, the database from an effect thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from actions.types.protocol import Draft, Outcome, PlanRefused, Probe, StepContext, Target
from actions.types.shared.fs_state import Busy
from actions.types.shared.safe_path import Unreachable


class ReadOnly:
    """Base of executors that change nothing: what was looked at may be looked at again, so no crash is in doubt."""

    changes_something = False
    security_level = "low"
    risk_class = "safe"

    def level_of(self, parameters: dict[str, Any]) -> str:
        return "low"

    def plan_undo(
        self, plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]
    ) -> Draft:
        raise PlanRefused("There is nothing to undo: this action only looked.")

    def probe(self, ctx: StepContext) -> Probe:
        return Probe.NOT_DONE

    def compensate(self, ctx: StepContext) -> Outcome:
        return Outcome(True, facts={"changed": False})

    def probe_undo(self, ctx: StepContext) -> Probe:
        return Probe.DONE

    def verify(self, steps: list[dict[str, Any]], target: Target) -> list[dict[str, Any]]:
        return []


def read_only_step(key: str, title: str, target: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return a step that only looks."""
    return {
        "key": key,
        "title": title,
        "target": target,
        "operation": "read",
        "after": [],
        "precondition": {},
        "compensation": {"kind": "none", "title": "Nothing to undo"},
        "spec": spec,
    }


def outcome_if_out_of_time(ctx: StepContext) -> Outcome | None:
    """Return the outcome of a step that must not begin because the run is stopping or its time is up."""
    if ctx.stopping():
        return Outcome(False, "stopped", "The run is stopping.")
    if time.monotonic() >= ctx.deadline:
        return Outcome(False, "timeout", "The action's time ran out before this step.")
    return None


# Outcomes of steps that are refused or run out of time.


class StepRefused(Exception):
    """A step was not carried out; ``code`` is a stable word, ``str()`` says what to do."""

    def __init__(self, code: str, message: str, *, retryable: bool = False):
        self.code, self.retryable = code, retryable
        super().__init__(message)


def run_to_outcome(call: Callable[[], Outcome], what: str) -> Outcome:
    """Turn what a step on ``what`` runs into to its outcome."""
    try:
        return call()
    except StepRefused as exc:
        return Outcome(False, exc.code, str(exc), retryable=exc.retryable)
    except Busy:
        return Outcome(False, "busy", f"Another step is at work on {what}. Try again when it is done.", retryable=True)
    except Unreachable as exc:
        return Outcome(False, exc.code, str(exc), retryable=exc.code == "unstable")
    except OSError as exc:
        words = f"{what}: {exc.strerror or exc}. The disk or its rights need a look."
        return Outcome(False, "io", words, retryable=True)


def outcome_if_over(deadline: float, stopping: Callable[[], bool]) -> Outcome | None:
    """The outcome of a step that must not begin."""
    if stopping():
        return Outcome(False, "stopped", "Nothing was touched: the run is stopping.", retryable=True)
    if time.monotonic() >= deadline:
        return Outcome(False, "timeout", "Nothing was touched: the action's time ran out before this step.")
    return None


# The database, from an effect thread: for executors whose target is the database itself, the exception to the rule.


@contextmanager
def own_connection() -> Iterator[None]:
    """Use this thread's connection; close it afterwards if it was opened for this, so that idle threads keep none."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
    was_open = connection.connection is not None
    try:
        yield
    finally:
        if not was_open and not connection.in_atomic_block:
            connection.close()
