"""The executor of ``collect_diagnostics``: one step per section, each with bounded data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actions.types.collect_diagnostics.sections import disk, files, load, memory, mounts, processes, sockets, uptime
from actions.types.protocol import Draft, Issue, Outcome, PlanRefused, StepContext, Target, error
from actions.types.shared.executor_base import ReadOnly, outcome_if_out_of_time, read_only_step
from actions.types.shared.safe_path import Unreachable, open_root
from audit.log.canonical_json import canonical

SECTION_LIMIT = 7_500  # bytes of canonical JSON; all sections together stay below what an action's result may hold
SECTIONS: dict[str, tuple[str, Callable[[StepContext], dict[str, Any]]]] = {
    "files": ("Count the files below the root", files),
    "disk": ("Measure the disk", disk),
    "processes": ("List the processes", processes),
    "sockets": ("List the listening sockets", sockets),
    "load": ("Read the load", load),
    "memory": ("Read the memory", memory),
    "uptime": ("Read the uptime", uptime),
    "mounts": ("List the mounts", mounts),
}
NEED_ROOT = {"files", "disk"}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Collect diagnostics",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "sections": {
            "title": "Sections",
            "description": "Sections to collect; empty: all.",
            "type": "array",
            "items": {"type": "string", "enum": list(SECTIONS)},
            "minItems": 1,
            "uniqueItems": True,
            "x-widget": "checkboxes",
        }
    },
}


class CollectDiagnostics(ReadOnly):
    """Read facts about an environment's files, disk, processes, sockets and machine."""

    name = "collect_diagnostics"
    version = "1"
    title = "Collect diagnostics"
    description = "Read-only facts of an environment: files, disk, processes, listening sockets, load, memory, mounts."
    schema = SCHEMA

    def validate(self, parameters: dict[str, Any], target: Target) -> list[Issue]:
        wanted = NEED_ROOT.intersection(choose_sections(parameters, target))
        if not wanted:
            return []
        try:
            with open_root(target.root):
                return []
        except Unreachable as exc:
            return [error(f"{' and '.join(sorted(wanted))}: {exc}", "sections")]

    def plan(self, parameters: dict[str, Any], target: Target) -> Draft:
        issues = self.validate(parameters, target)
        if issues:
            raise PlanRefused(issues)
        wanted = choose_sections(parameters, target)
        steps = [
            read_only_step(f"{n:03d}:{name}", SECTIONS[name][0], name, {"section": name})
            for n, name in enumerate(wanted, 1)
        ]
        return Draft(
            resources=[{"kind": "environment", "name": target.environment}],
            changes=[],
            steps=steps,
            compensations=[{"step": step["key"], **step["compensation"]} for step in steps],
            summary=f"Look at {', '.join(wanted)} of {target.environment}; nothing is changed.",
        )

    def apply(self, ctx: StepContext) -> Outcome:
        name = ctx.step["spec"]["section"]
        try:
            data = SECTIONS[name][1](ctx)
        except Unreachable as exc:
            return Outcome(False, exc.code, str(exc))
        except OSError as exc:
            return Outcome(False, "io", f"{name} could not be read: {exc.strerror or exc}", retryable=True)
        stopped = outcome_if_out_of_time(ctx)
        if stopped is not None:
            return stopped
        data = fit_to_limit(data)
        ctx.log(f"{name}: {len(data['rows'])} rows" if "rows" in data else f"{name}: read")
        return Outcome(True, facts={"section": name, "data": data})


def choose_sections(parameters: dict[str, Any], target: Target) -> list[str]:
    """Return the sections asked for, in the order of ``SECTIONS``; by default all, less what needs a missing root."""
    asked = parameters.get("sections")
    if asked is None:
        return [name for name in SECTIONS if target.root is not None or name not in NEED_ROOT]
    return [name for name in SECTIONS if name in asked]


def fit_to_limit(data: dict[str, Any], limit: int = SECTION_LIMIT) -> dict[str, Any]:
    """Return the data with its lists cut from the end until it fits; ``left_off`` says how many rows are missing."""
    left_off = 0
    while len(canonical({**data, "left_off": left_off})) > limit:
        lists = [key for key, value in data.items() if isinstance(value, list) and value]
        longest = max(lists, key=lambda key: len(data[key]), default=None)
        if longest is None:
            return {"left_off": 1, "reason": "too much to keep"}
        keep = len(data[longest]) * 3 // 4
        left_off += len(data[longest]) - keep
        data = {**data, longest: data[longest][:keep]}
    return {**data, "left_off": left_off}
