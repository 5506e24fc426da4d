"""The executor of ``redeploy_service``."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from actions.types.protocol import Draft, Issue, Outcome, PlanRefused, Probe, StepContext, Target, error, never
from actions.types.redeploy_service import apply, plan
from actions.types.redeploy_service.probe import (
    ServiceDir,
    gated_token,
    health_gate_terms,
    is_healthy,
    lock_service,
    open_service,
    run_health_gate,
    wait_until_healthy,
)
from actions.types.redeploy_service.releases import RELEASES, list_releases
from actions.types.redeploy_service.schema import NAME, SCHEMA, parse_service
from actions.types.redeploy_service.supervisor import DoesNotStart, SupervisorFailed, log_tail
from actions.types.shared.executor_base import StepRefused, outcome_if_over, run_to_outcome
from actions.types.shared.fs_state import open_directory
from actions.types.shared.safe_path import Unreachable, path_fault
from audit.changes.masking import mask

Verb = Callable[[StepContext, ServiceDir], bool]
FORWARD: dict[str, Verb] = {
    plan.COPY: apply.make_release,
    plan.DISCARD: apply.discard_release,
    plan.SWITCH: apply.switch_current,
    plan.RESTART: apply.restart_service,
    plan.PRUNE: apply.prune_releases,
    plan.UNPRUNE: apply.unprune_releases,
}
BACKWARD: dict[str, Verb] = {
    plan.COPY: apply.discard_release,
    plan.DISCARD: apply.make_release,
    plan.PRUNE: apply.unprune_releases,
    plan.UNPRUNE: apply.prune_releases,
}
SUBJECT = "this service"


class RedeployService:
    """Switch a supervised service to another release; a release that is not well gives way to the one before."""

    name = "redeploy_service"
    version = "1"
    title = "Redeploy a service"
    description = (
        "Switch a service to another release and restart it. If it is unhealthy, the previous release is restored."
    )
    schema = SCHEMA
    security_level = "high"
    risk_class = "guarded"
    changes_something = True
    breaks_by = ("service",)
    error_strategies = {
        "unhealthy": "fallback",  # to the release before, by the rollback
        "does_not_start": "fallback",
        "supervisor": "retry",
        "busy": "retry",
        "io": "retry",
        "unstable": "retry",
        "precondition": "abort",
        "content": "abort",
        "settings": "abort",
        "no_image": "abort",
        "previous_unhealthy": "abort",
        "stopped": "abort",
        "timeout": "abort",
    }
    """Error code → what helps: retry, fallback, skip or abort. Codes of unreachable paths are not listed: abort."""

    def level_of(self, parameters: dict[str, Any]) -> str:
        return "high"

    def choices(self, parameters: dict[str, Any], target: Target) -> dict[str, list[tuple[str, str]]]:
        """The services of the environment, and the releases of the one that is chosen, the newest first."""
        known = target.settings.get("services")
        found = {"service": [(name, name) for name in sorted(known)] if isinstance(known, dict) else []}
        service, _ = parse_service(str(parameters.get("service", "")), target)
        if service is not None:
            with suppress(Unreachable), open_service(target, service.root) as house:
                now, names = house.end()["current"], list_releases(house.home, RELEASES, house.manifests)
                found["release"] = [(name, f"{name}: runs now" if name == now else name) for name in names]
        return found

    def validate(self, parameters: dict[str, Any], target: Target) -> list[Issue]:
        service, issues = parse_service(parameters["service"], target)
        if service is None:
            return issues
        name = "release" if "release" in parameters else "artifact"
        try:
            if name == "artifact":
                if fault := path_fault(parameters[name]):
                    return [error(fault, name)]
                with open_directory(target.root, f"{apply.ARTIFACTS}/{parameters[name]}"):
                    return []
            if not re.fullmatch(NAME, parameters[name]):
                return [error("A release's name has letters, digits, dots, dashes and underscores.", name)]
            with open_directory(target.root, f"{service.root}/releases/{parameters[name]}"):
                return []
        except Unreachable as exc:
            return [error(str(exc), name)]

    def plan(self, parameters: dict[str, Any], target: Target) -> Draft:
        issues = self.validate(parameters, target)
        if issues:
            raise PlanRefused(issues)
        return plan.plan_deployment(parameters, target)

    def plan_undo(
        self, plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]
    ) -> Draft:
        return plan.plan_undo(plan_steps, target, before_image)

    def apply(self, ctx: StepContext) -> Outcome:
        op = ctx.step["spec"]["op"]
        if stopped := outcome_if_over(ctx.deadline, ctx.stopping):
            return stopped
        return run_to_outcome(
            lambda: run_health_gate(ctx) if op == plan.GATE else self._carry_out(ctx, FORWARD[op]), SUBJECT
        )

    def compensate(self, ctx: StepContext) -> Outcome:
        verb = BACKWARD.get(ctx.step["spec"]["op"], apply.restore_service)
        unstoppable = replace(ctx, stopping=never)  # an abort is why we go back: it stops nothing here
        return run_to_outcome(lambda: self._go_back(unstoppable, verb), SUBJECT)

    def _carry_out(self, ctx: StepContext, verb: Verb) -> Outcome:
        with lock_service(ctx.target, ctx.step["spec"]["path"], ctx.deadline, ctx.stopping) as house:
            try:
                changed = verb(ctx, house)
            except DoesNotStart as exc:
                for line in mask("\n".join(log_tail(house.control)), ctx.target.mask_key).splitlines():
                    ctx.log(f"service │ {line}")
                return Outcome(False, "does_not_start", f"{exc} Its last words are in the log of this step.")
            except SupervisorFailed as exc:
                return Outcome(False, "supervisor", str(exc), retryable=True)
        if not changed:
            ctx.log("was so already")
        return Outcome(True, facts={"changed": changed})

    def _go_back(self, ctx: StepContext, verb: Verb) -> Outcome:
        """Undo a step; where the service had passed its gate before, it must be well again."""
        outcome = self._carry_out(ctx, verb)
        if not outcome.ok or verb is not apply.restore_service or not outcome.facts["changed"]:
            return outcome
        record = apply.parse_image(ctx.before_image())["record"]
        service, _ = parse_service(ctx.step["spec"]["service"], ctx.target)
        if record is None or not record.get("passed") or service is None:
            return outcome
        with open_service(ctx.target, ctx.step["spec"]["path"]) as house:
            well = wait_until_healthy(ctx, house, record["token"], health_gate_terms(service))
        if well.ok:
            return outcome
        words = f"Release {record['release']} is restored, but also unhealthy. {well.message}"
        return Outcome(False, "previous_unhealthy", words, well.facts)

    def probe(self, ctx: StepContext) -> Probe:
        return self._probe(ctx, probe_step)

    def probe_undo(self, ctx: StepContext) -> Probe:
        return self._probe(ctx, probe_step_undo)

    def _probe(self, ctx: StepContext, question: Callable[[StepContext, ServiceDir], Probe]) -> Probe:
        try:
            with open_service(ctx.target, ctx.step["spec"]["path"]) as house:
                return question(ctx, house)
        except (Unreachable, OSError, StepRefused):
            return Probe.UNKNOWN

    def verify(self, steps: list[dict[str, Any]], target: Target) -> list[dict[str, Any]]:
        rows = []
        for step in steps:
            try:
                with open_service(target, step["spec"]["path"]) as house:
                    ok, detail = verify_step(step, house, target)
            except (Unreachable, OSError) as exc:
                ok, detail = False, str(exc)
            rows.append({"name": step["title"], "ok": ok, "detail": detail})
        return rows


def probe_step(ctx: StepContext, house: ServiceDir) -> Probe:
    """DONE, NOT_DONE or UNKNOWN, from links, digests, the record's token and the process that carries it."""
    spec, end, key = ctx.step["spec"], house.end(), ctx.step["idempotency_key"]
    op, before, after = spec["op"], spec["before"], spec["after"]
    if op in (plan.COPY, plan.DISCARD):
        return probe_release(house, spec, wanted=op == plan.COPY)
    if op in (plan.PRUNE, plan.UNPRUNE):
        there = [apply.has_release(house, name) for name in spec["releases"]]
        return Probe.DONE if all(is_there == (op == plan.UNPRUNE) for is_there in there) else Probe.NOT_DONE
    if op == plan.SWITCH:
        found = end["current"]
        known = Probe.NOT_DONE if found == before["current"] else Probe.UNKNOWN
        return Probe.DONE if found == after["current"] else known
    if op == plan.GATE:
        passed = gated_token(house, spec) is not None and (house.record() or {}).get("passed")
        return Probe.DONE if passed else Probe.NOT_DONE
    if after["release"] is None and end["token"] is None:
        return Probe.DONE if house.runs(None) else Probe.NOT_DONE
    if end["token"] == key:
        return Probe.DONE if house.runs(key) else Probe.NOT_DONE
    return Probe.NOT_DONE if apply.is_same_deployment(end, before) else Probe.UNKNOWN


def probe_step_undo(ctx: StepContext, house: ServiceDir) -> Probe:
    spec = ctx.step["spec"]
    op = spec["op"]
    if op in (plan.COPY, plan.DISCARD):
        return probe_release(house, spec, wanted=op == plan.DISCARD)
    if op in (plan.PRUNE, plan.UNPRUNE):
        there = [apply.has_release(house, name) for name in spec["releases"]]
        return Probe.DONE if all(is_there == (op == plan.PRUNE) for is_there in there) else Probe.NOT_DONE
    end, image = house.end(), apply.parse_image(ctx.before_image())
    if end == spec["before"] and house.record() == image["record"]:
        back = house.runs(end["token"]) or (end["token"] is not None and not image["runs"])
        return Probe.DONE if back else Probe.NOT_DONE
    return Probe.NOT_DONE if apply.is_between_states(end, spec) else Probe.UNKNOWN


def probe_release(house: ServiceDir, spec: dict[str, Any], *, wanted: bool) -> Probe:
    if not apply.has_release(house, spec["release"]):
        return Probe.NOT_DONE if wanted else Probe.DONE
    if apply.release_fault(house, spec["release"], spec["digest"]):
        return Probe.UNKNOWN
    return Probe.DONE if wanted else Probe.NOT_DONE


def verify_step(step: dict[str, Any], house: ServiceDir, target: Target) -> tuple[bool, str]:
    """Whether a step's effect still stands after the run, and in words what was found."""
    spec, end = step["spec"], house.end()
    op, after = spec["op"], spec["after"]
    if op == plan.COPY:
        fault = apply.release_fault(house, spec["release"], spec["digest"])
        return not fault, fault or "every file is as planned"
    if op in (plan.DISCARD, plan.PRUNE, plan.UNPRUNE):
        names = spec.get("releases") or [spec["release"]]
        there = [name for name in names if apply.has_release(house, name)]
        return len(there) == (len(names) if op == plan.UNPRUNE else 0), f"there: {', '.join(there) or 'none'}"
    if op == plan.SWITCH:
        fault = apply.release_fault(house, after["current"], spec["digest"]) if after["current"] else ""
        return end["current"] == after["current"] and not fault, fault or f"current: {end['current'] or 'nothing'}"
    if op == plan.GATE:
        return is_healthy(house, target, spec["gate"])
    if after["release"] is None:
        return end["token"] is None and house.runs(None), "stopped" if house.runs(None) else "still running"
    runs = end["token"] == step["idempotency_key"] and house.runs(end["token"])
    return runs, f"release {end['release'] or 'none'} {'runs' if house.runs(end['token']) else 'does not run'}"
