"""The executor of ``rerun_healthcheck``: probe a service over HTTP or TCP, with timings."""

from __future__ import annotations

from typing import Any

from actions.types.protocol import Draft, Issue, Outcome, PlanRefused, StepContext, Target, error
from actions.types.shared.executor_base import ReadOnly, outcome_if_out_of_time, read_only_step
from actions.types.shared.net_probe import (
    HOST_NAME,
    HTTP_DETAILS,
    INTERVAL,
    PORT,
    TIMEOUT,
    TIMES,
    URL,
    ProbeResult,
    probe_faults,
    probe_repeatedly,
    to_probe_request,
)

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Rerun a healthcheck",
    "description": "Name one of the environment's healthchecks, or give a URL, or a host and a port.",
    "type": "object",
    "additionalProperties": False,
    "oneOf": [
        {"title": "Named check", "required": ["check"]},
        {"title": "URL", "required": ["url"]},
        {"title": "Host and port", "required": ["host", "port"]},
    ],
    "properties": {
        "check": {
            "title": "Healthcheck",
            "description": "A name from the environment's settings.",
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "x-widget": "healthcheck",
        },
        "url": URL,
        "host": HOST_NAME,
        "port": PORT,
        **HTTP_DETAILS,
        "timeout_s": TIMEOUT,
        "repeat": {"title": "Repeat", "description": "All must pass.", "default": 1, **TIMES},
        "interval_s": INTERVAL,
    },
}


class RerunHealthcheck(ReadOnly):
    """Probe a service as often as asked; the action succeeds when every try passes."""

    name = "rerun_healthcheck"
    version = "1"
    title = "Rerun a healthcheck"
    description = "Check the health of a service over HTTP or TCP, with timings. Changes nothing."
    schema = SCHEMA

    def validate(self, parameters: dict[str, Any], target: Target) -> list[Issue]:
        if "check" not in parameters:
            return probe_faults(parameters)
        known = target.settings.get("healthchecks") or {}
        question = known.get(parameters["check"]) if isinstance(known, dict) else None
        if question is None:
            names = ", ".join(sorted(known)) or "none yet; an admin adds them to its settings"
            return [
                error(f"{target.environment} has no healthcheck {parameters['check']!r}. It has: {names}.", "check")
            ]
        extra = [name for name in HTTP_DETAILS if name in parameters]
        issues = [error("The named health check sets this already. Omit it, or give url.", name) for name in extra]
        return issues + configured_faults(question)

    def plan(self, parameters: dict[str, Any], target: Target) -> Draft:
        issues = self.validate(parameters, target)
        if issues:
            raise PlanRefused(issues)
        question = probe_parameters(parameters, target)
        times, shown = parameters.get("repeat", 1), to_probe_request(question, target).shown
        spec = {"question": question, "repeat": times, "interval_s": parameters.get("interval_s", 1)}
        often = f" {times} times" if times > 1 else ""
        return Draft(
            resources=[{"kind": "endpoint", "name": shown}],
            changes=[],
            steps=[read_only_step("001:probe", f"Probe {shown}", shown, spec)],
            compensations=[{"step": "001:probe", "kind": "none", "title": "Nothing to undo"}],
            summary=f"Probe {shown}{often}; nothing is changed.",
        )

    def apply(self, ctx: StepContext) -> Outcome:
        spec = ctx.step["spec"]
        ask = to_probe_request(spec["question"], ctx.target)
        answers: list[ProbeResult] = []
        for answer in probe_repeatedly(ask, spec["repeat"], spec["interval_s"], ctx.stopping, ctx.deadline):
            answers.append(answer)
            ctx.log(f"try {len(answers)}: {answer.detail} in {answer.timings_us['total'] / 1000:.1f} ms")
            if answer.code == "address_refused":
                break
        return to_outcome(ask.shown, answers, spec["repeat"], outcome_if_out_of_time(ctx))


def probe_parameters(parameters: dict[str, Any], target: Target) -> dict[str, Any]:
    """Return the full question of valid parameters: the environment's, or the parameters' own."""
    asked = {k: v for k, v in parameters.items() if k not in ("check", "repeat", "interval_s")}
    if "check" not in parameters:
        return asked
    return {**target.settings["healthchecks"][parameters["check"]], **asked}


def configured_faults(question: Any) -> list[Issue]:
    """Return what is wrong with a healthcheck in an environment's settings, which no schema has seen."""
    message = "The environment's settings have this healthcheck wrong ({}). An admin corrects it."
    if not isinstance(question, dict) or not ("url" in question or {"host", "port"} <= question.keys()):
        return [error(message.format("it needs url, or host and port"), "check")]
    kinds = (("url", str), ("host", str), ("port", int), ("method", str), ("expected_status", list), ("timeout_s", int))
    wrong = [name for name, kind in kinds if name in question and not isinstance(question[name], kind)]
    if wrong:
        return [error(message.format(f"{', '.join(wrong)} of the wrong type"), "check")]
    return [error(message.format(fault.message), "check") for fault in probe_faults(question)]


def to_outcome(shown: str, answers: list[ProbeResult], wanted: int, stopped: Outcome | None) -> Outcome:
    """Return what the tries came to: ok when all of them were made and passed."""
    passed = sum(answer.ok for answer in answers)
    totals = sorted(answer.timings_us["total"] for answer in answers)
    facts: dict[str, Any] = {
        "endpoint": shown,
        "healthy": passed == wanted,
        "passed": passed,
        "tries": [answer.facts() for answer in answers],
    }
    if totals:
        facts["total_us"] = {"min": totals[0], "median": totals[len(totals) // 2], "max": totals[-1]}
    if passed == wanted:
        return Outcome(True, facts=facts)
    failed = next((answer for answer in answers if not answer.ok), None)
    if failed is None:
        code, why = (stopped.code, stopped.message) if stopped else ("stopped", "The run is stopping.")
        return Outcome(False, code, f"{why} {passed} of {wanted} tries of {shown} passed.", facts)
    return Outcome(
        False, "unhealthy", f"{shown} is unhealthy: {failed.detail} ({passed} of {wanted} tries passed).", facts
    )
