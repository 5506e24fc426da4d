"""An executor for tests and benchmarks: its effects are lines of a file, fsynced, so that a test can count them.

Use it through ``registry.register(LedgerExecutor())``. The ledger is ``settings["ledger"]`` of the environment, else
``.ledger`` below its root; without either there is no effect at all (the no-op of the benchmarks). A line is JSON:
``{"verb": "do"|"undo", "key": idempotency key, "cell": step's cell, "delta": 1|-1, "pid": …}``.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from actions.types.protocol import Draft, Issue, Outcome, Probe, StepContext, Target, error
from audit.changes.document import Change

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Ledger",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "steps": {"title": "Steps", "type": "integer", "minimum": 1, "maximum": 1000, "default": 3},
        "sleep_ms": {"title": "Sleep in each step", "type": "integer", "minimum": 0, "maximum": 600_000},
        "fail_at": {"title": "Step that fails (from 1)", "type": "integer", "minimum": 1},
        "fail_undo_at": {"title": "Step whose undo fails (from 1)", "type": "integer", "minimum": 1},
        "fail_verify": {"title": "Verification fails", "type": "boolean"},
        "changes": {"title": "Show changes", "type": "boolean", "default": True},
        "after": {
            "title": "Per step, the steps (from 1) that it comes after; run beside one another where that allows",
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        },
        "cells": {
            "title": "The cell of each step; the step's own number where it is left out",
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
        },
        "slow_step": {
            "title": "Step that sleeps, deaf to a stop (from 1)",
            "type": "integer",
            "minimum": 1,
        },
        "slow_ms": {"title": "How long that one sleeps", "type": "integer", "minimum": 0},
        "final": {
            "title": "Steps (from 1) that cannot be undone",
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
        },
        "exclusive": {"title": "Cells are its own while it runs", "type": "boolean"},
        "step_timeout_s": {"title": "Time of each step", "type": "number"},
        "chatter": {"title": "Write a line every 50 ms while it sleeps", "type": "boolean"},
        "log_mb": {"title": "Megabytes to log in each step", "type": "integer", "minimum": 0, "maximum": 1000},
        "deaf_s": {"title": "Seconds to stay deaf to a stop in step 1, once", "type": "integer", "minimum": 0},
        "busy": {
            "title": "A step that is busy at first",
            "type": "object",
            "required": ["step", "times"],
            "properties": {
                "step": {"title": "Step (from 1)", "type": "integer", "minimum": 1},
                "times": {"title": "Attempts, of all actions together, until it is not", "type": "integer"},
            },
        },
        "blind": {"title": "Probe cannot tell", "type": "boolean"},
        "level": {"title": "Security level", "enum": ["low", "medium", "high", "critical"]},
        "monthly_cost": {"title": "Monthly cost delta; empty: unknown", "type": "string"},
        "crash": {
            "title": "Kill the process, once",
            "type": "object",
            "additionalProperties": False,
            "required": ["step", "at"],
            "properties": {
                "step": {"title": "Step (from 1)", "type": "integer", "minimum": 1},
                "at": {"title": "Where", "enum": ["before_effect", "after_effect"]},
            },
        },
    },
}


class LedgerExecutor:
    """N steps whose effects are lines of a ledger; fails, sleeps, lies or dies where the parameters say so."""

    name = "ledger"
    version = "1"
    title = "Ledger"
    description = "Writes one line per step to a ledger. For tests."
    schema = SCHEMA
    security_level = "low"
    risk_class = "safe"
    changes_something = True

    def __init__(self, name: str = "ledger") -> None:
        self.name = name

    def level_of(self, parameters: dict[str, Any]) -> str:
        return str(parameters.get("level", "low"))

    def validate(self, parameters: dict[str, Any], target: Target) -> list[Issue]:
        steps = parameters.get("steps", 3)
        return [
            error(f"There are only {steps} steps.", name)
            for name in ("fail_at", "fail_undo_at")
            if parameters.get(name, 1) > steps
        ]

    def plan(self, parameters: dict[str, Any], target: Target) -> Draft:
        cells = [f"cell-{n}" for n in parameters.get("cells") or range(1, parameters.get("steps", 3) + 1)]
        draft = _draft([(f"{n:03d}:{cell}", cell, 1) for n, cell in enumerate(cells, 1)], target)
        if not parameters.get("changes", True):
            draft.changes = []
        for resource in draft.resources if not parameters.get("exclusive") else []:
            resource["shared"] = True
        if "after" in parameters:
            keys = [step["key"] for step in draft.steps]
            draft.order = "graph"
            for step, earlier in zip(draft.steps, parameters["after"], strict=True):
                step["after"] = [keys[n - 1] for n in earlier]
        for n in parameters.get("final", ()):
            draft.steps[n - 1]["compensation"] = {"kind": "irreversible", "title": "Cannot be undone"}
        for step in draft.steps:
            if "step_timeout_s" in parameters:
                step["timeout_s"] = parameters["step_timeout_s"]
            step["spec"]["fail_verify"] = bool(parameters.get("fail_verify"))
        if "monthly_cost" in parameters:
            draft.cost_delta = Decimal(parameters["monthly_cost"]) if parameters["monthly_cost"] else None
        return draft

    def plan_undo(
        self, plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]
    ) -> Draft:
        specs = [(step["key"].partition(":")[2], step["spec"]) for step in reversed(plan_steps)]
        return _draft(
            [(f"{n:03d}:undo-{rest}", spec["cell"], -spec["delta"]) for n, (rest, spec) in enumerate(specs, 1)], target
        )

    def apply(self, ctx: StepContext) -> Outcome:
        number, crash = int(ctx.step["key"][:3]), ctx.parameters.get("crash", {})
        if ctx.stopping():
            return Outcome(False, "stopped", "The run is stopping.", retryable=True)
        _sleep(ctx)
        for _ in range(1000 * ctx.parameters.get("log_mb", 0)):
            ctx.log("x" * 1000)
        if number == 1 and ctx.parameters.get("deaf_s") and first_time(ctx, "deaf"):
            time.sleep(ctx.parameters["deaf_s"])
        if ctx.parameters.get("slow_step") == number:
            time.sleep(ctx.parameters.get("slow_ms", 0) / 1000)
        if ctx.parameters.get("fail_at") == number:
            return Outcome(False, "told_to_fail", f"Step {number} was told to fail.")
        if ctx.parameters.get("busy", {}).get("step") == number and tries(ctx) <= ctx.parameters["busy"]["times"]:
            return Outcome(False, "busy", "Somebody else is at work.", retryable=True)
        here = crash.get("at") if crash.get("step") == number else None
        if here == "before_effect":
            die_once(ctx)
        changed = self._write(ctx, "do", ctx.step["spec"]["delta"])
        if here == "after_effect":
            die_once(ctx)
        ctx.log(f"{ctx.step['target']}: {'done' if changed else 'was done already'}")
        return Outcome(True, facts={"cell": ctx.step["spec"]["cell"], "changed": changed})

    def compensate(self, ctx: StepContext) -> Outcome:
        if ctx.parameters.get("fail_undo_at") == int(ctx.step["key"][:3]):
            return Outcome(False, "told_to_fail", "The undo was told to fail.")
        return Outcome(True, facts={"changed": self._write(ctx, "undo", -ctx.step["spec"]["delta"])})

    def _write(self, ctx: StepContext, verb: str, delta: int) -> bool:
        path, key = ledger_of(ctx.target), ctx.step["idempotency_key"]
        last = last_verb(path, key)
        if path is None or last == verb or (verb == "undo" and last is None):
            return False
        append(path, {"verb": verb, "key": key, "cell": ctx.step["spec"]["cell"], "delta": delta, "pid": os.getpid()})
        return True

    def probe(self, ctx: StepContext) -> Probe:
        if ctx.parameters.get("blind"):
            return Probe.UNKNOWN
        return Probe.DONE if last_verb(ledger_of(ctx.target), ctx.step["idempotency_key"]) == "do" else Probe.NOT_DONE

    def probe_undo(self, ctx: StepContext) -> Probe:
        if ctx.parameters.get("blind"):
            return Probe.UNKNOWN
        return Probe.NOT_DONE if last_verb(ledger_of(ctx.target), ctx.step["idempotency_key"]) == "do" else Probe.DONE

    def verify(self, steps: list[dict[str, Any]], target: Target) -> list[dict[str, Any]]:
        path = ledger_of(target)
        rows = []
        for step in steps:
            ok = path is None or last_verb(path, step["idempotency_key"]) == "do"
            ok = ok and not step["spec"].get("fail_verify")
            rows.append({"name": f"{step['target']} is in the ledger", "ok": ok, "detail": ""})
        return rows


def _draft(cells: list[tuple[str, str, int]], target: Target) -> Draft:
    steps: list[dict[str, Any]] = [
        {
            "key": key,
            "title": f"{'Add to' if delta > 0 else 'Take from'} {cell}",
            "target": cell,
            "operation": "modify",
            "after": [],
            "precondition": {},
            "compensation": {"kind": "reversible", "title": f"Put {cell} back"},
            "spec": {"cell": cell, "delta": delta},
        }
        for key, cell, delta in cells
    ]
    return Draft(
        resources=[{"kind": "cell", "name": f"{target.environment}:{cell}"} for _, cell, _ in cells],
        changes=[
            Change(key, cell, "cell", "modify", before="0\n", after=f"{delta}\n", adds=1, dels=1)
            for key, cell, delta in cells
        ],
        steps=steps,
        compensations=[{"step": step["key"], **step["compensation"]} for step in steps],
        summary=f"{len(steps)} lines in the ledger of {target.environment}",
    )


def _sleep(ctx: StepContext) -> None:
    until = min(time.monotonic() + ctx.parameters.get("sleep_ms", 0) / 1000, ctx.deadline)
    said = 0
    while (left := until - time.monotonic()) > 0 and not ctx.stopping():
        if ctx.parameters.get("chatter"):
            ctx.log(f"{'warning: ' if said % 20 == 19 else ''}line {(said := said + 1)} of {ctx.step['target']}")
        time.sleep(min(left, 0.05))


def die_once(ctx: StepContext) -> None:
    """Kill this process with SIGKILL the first time this is reached for the step's idempotency key."""
    if first_time(ctx, "crash"):
        os.kill(os.getpid(), signal.SIGKILL)


def first_time(ctx: StepContext, what: str) -> bool:
    """Whether this is the first time, for the step's idempotency key; a file beside the ledger remembers."""
    path = ledger_of(ctx.target)
    assert path is not None, "what happened once is remembered beside the ledger"
    try:
        path.with_name(f"{path.name}.{what}-{ctx.step['idempotency_key']}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def tries(ctx: StepContext) -> int:
    """How often the busy step was tried, by whatever action and process, this time included."""
    path = ledger_of(ctx.target)
    assert path is not None, "attempts are counted beside the ledger"
    append(beside := path.with_name(f"{path.name}.tries"), {"pid": os.getpid(), "key": ctx.step["idempotency_key"]})
    return len(read_ledger(beside))


def ledger_of(target: Target) -> Path | None:
    """The ledger of an environment; None where it has none."""
    if "ledger" in target.settings:
        return Path(target.settings["ledger"])
    return target.root / ".ledger" if target.root else None


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line in one write, and have it on disk before returning."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


def read_ledger(path: Path | None) -> list[dict[str, Any]]:
    """Every line, oldest first, but one that somebody is just writing."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def last_verb(path: Path | None, key: str) -> str | None:
    return next((line["verb"] for line in reversed(read_ledger(path)) if line["key"] == key), None)


def doubles(path: Path) -> list[str]:
    """The idempotency keys with more than one effect that was not undone in between. Empty is what a test hopes for."""
    verbs: dict[str, list[str]] = {}
    for line in read_ledger(path):
        verbs.setdefault(line["key"], []).append(line["verb"])
    return [key for key, seen in verbs.items() if any(a == b for a, b in zip(seen, seen[1:], strict=False))]


def balance(path: Path | None) -> dict[str, int]:
    """What the ledger comes to per cell; cells at zero are left out."""
    sums: Counter[str] = Counter()
    for line in read_ledger(path):
        sums[line["cell"]] += line["delta"]
    return {cell: total for cell, total in sums.items() if total}


class Hooked(LedgerExecutor):
    """A ledger that calls `before(ctx)` in each attempt; what that returns, if anything, is the outcome."""

    before = staticmethod(lambda ctx: None)

    def apply(self, ctx):
        return self.before(ctx) or super().apply(ctx)
