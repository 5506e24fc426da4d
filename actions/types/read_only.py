"""What every executor that only looks has in common: nothing to undo, and safe to do again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from actions.types.protocol import Draft, Outcome, PlanRefused, Probe, StepContext, Target


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


def look_step(key: str, title: str, target: str, spec: dict[str, Any]) -> dict[str, Any]:
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


def out_of_time(ctx: StepContext) -> Outcome | None:
    """Return the outcome of a step that must not begin because the run is stopping or its time is up."""
    if ctx.stopping():
        return Outcome(False, "stopped", "The run is stopping.")
    if time.monotonic() >= ctx.deadline:
        return Outcome(False, "timeout", "The action's time ran out before this step.")
    return None
