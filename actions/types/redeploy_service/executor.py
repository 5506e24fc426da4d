"""``redeploy_service`` as the engine sees it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from actions.types.durable import directory
from actions.types.outcomes import Refused, over, told
from actions.types.protocol import Draft, Issue, Outcome, PlanRefused, Probe, StepContext, Target, error, never
from actions.types.redeploy_service import carrying, planning, wishing
from actions.types.redeploy_service.gate import gated_token, is_well, pass_through, passes, terms
from actions.types.redeploy_service.releases import RELEASES, listed
from actions.types.redeploy_service.rules import NAME, SCHEMA, declared
from actions.types.redeploy_service.standing import House, held, seen
from actions.types.redeploy_service.supervising import DoesNotStart, SupervisorFailed, log_tail
from actions.types.tree import Unreachable, path_fault
from audit.changes.masking import mask

Verb = Callable[[StepContext, House], bool]
FORWARD: dict[str, Verb] = {
    planning.COPY: carrying.make_release,
    planning.DISCARD: carrying.discard_release,
    planning.SWITCH: carrying.switch,
    planning.RESTART: carrying.restart,
    planning.PRUNE: carrying.prune,
    planning.UNPRUNE: carrying.unprune,
}
BACKWARD: dict[str, Verb] = {
    planning.COPY: carrying.discard_release,
    planning.DISCARD: carrying.make_release,
    planning.PRUNE: carrying.unprune,
    planning.UNPRUNE: carrying.prune,
}
WHAT = "this service"


class RedeployService:
    """Switch a supervised service to another release; a release that is not well gives way to the one before."""

    name = "redeploy_service"
    version = "1"
    title = "Redeploy a service"
    description = (
        "Switch a service to another release and restart it. If it is not well, the release before comes back."
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
        service, _ = declared(str(parameters.get("service", "")), target)
        if service is not None:
            with suppress(Unreachable), seen(target, service.root) as house:
                now, names = house.end()["current"], listed(house.home, RELEASES, house.manifests)
                found["release"] = [(name, f"{name}: runs now" if name == now else name) for name in names]
        return found

    def validate(self, parameters: dict[str, Any], target: Target) -> list[Issue]:
        service, issues = declared(parameters["service"], target)
        if service is None:
            return issues
        name = "release" if "release" in parameters else "artifact"
        try:
            if name == "artifact":
                if fault := path_fault(parameters[name]):
                    return [error(fault, name)]
                with directory(target.root, f"{carrying.ARTIFACTS}/{parameters[name]}"):
                    return []
            if not re.fullmatch(NAME, parameters[name]):
                return [error("A release's name has letters, digits, dots, dashes and underscores.", name)]
            with directory(target.root, f"{service.root}/releases/{parameters[name]}"):
                return []
        except Unreachable as exc:
            return [error(str(exc), name)]

    def plan(self, parameters: dict[str, Any], target: Target) -> Draft:
        issues = self.validate(parameters, target)
        if issues:
            raise PlanRefused(issues)
        return wishing.planned(parameters, target)

    def plan_undo(
        self, plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]
    ) -> Draft:
        return wishing.undoing(plan_steps, target, before_image)

    def apply(self, ctx: StepContext) -> Outcome:
        op = ctx.step["spec"]["op"]
        if stopped := over(ctx.deadline, ctx.stopping):
            return stopped
        return told(lambda: pass_through(ctx) if op == planning.GATE else self._carry_out(ctx, FORWARD[op]), WHAT)

    def compensate(self, ctx: StepContext) -> Outcome:
        verb = BACKWARD.get(ctx.step["spec"]["op"], carrying.restore)
        unstoppable = replace(ctx, stopping=never)  # an abort is why we go back: it stops nothing here
        return told(lambda: self._go_back(unstoppable, verb), WHAT)

    def _carry_out(self, ctx: StepContext, verb: Verb) -> Outcome:
        with held(ctx.target, ctx.step["spec"]["path"], ctx.deadline, ctx.stopping) as house:
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
        if not outcome.ok or verb is not carrying.restore or not outcome.facts["changed"]:
            return outcome
        record = carrying.image_of(ctx.before_image())["record"]
        service, _ = declared(ctx.step["spec"]["service"], ctx.target)
        if record is None or not record.get("passed") or service is None:
            return outcome
        with seen(ctx.target, ctx.step["spec"]["path"]) as house:
            well = passes(ctx, house, record["token"], terms(service))
        if well.ok:
            return outcome
        words = f"Release {record['release']} is back, but it is not well either. {well.message}"
        return Outcome(False, "previous_unhealthy", words, well.facts)

    def probe(self, ctx: StepContext) -> Probe:
        return self._probe(ctx, probed)

    def probe_undo(self, ctx: StepContext) -> Probe:
        return self._probe(ctx, probed_undo)

    def _probe(self, ctx: StepContext, question: Callable[[StepContext, House], Probe]) -> Probe:
        try:
            with seen(ctx.target, ctx.step["spec"]["path"]) as house:
                return question(ctx, house)
        except (Unreachable, OSError, Refused):
            return Probe.UNKNOWN

    def verify(self, steps: list[dict[str, Any]], target: Target) -> list[dict[str, Any]]:
        rows = []
        for step in steps:
            try:
                with seen(target, step["spec"]["path"]) as house:
                    ok, detail = verified(step, house, target)
            except (Unreachable, OSError) as exc:
                ok, detail = False, str(exc)
            rows.append({"name": step["title"], "ok": ok, "detail": detail})
        return rows


def probed(ctx: StepContext, house: House) -> Probe:
    """DONE, NOT_DONE or UNKNOWN, from links, digests, the record's token and the process that carries it."""
    spec, end, key = ctx.step["spec"], house.end(), ctx.step["idempotency_key"]
    op, before, after = spec["op"], spec["before"], spec["after"]
    if op in (planning.COPY, planning.DISCARD):
        return release_probe(house, spec, wanted=op == planning.COPY)
    if op in (planning.PRUNE, planning.UNPRUNE):
        there = [carrying.has_release(house, name) for name in spec["releases"]]
        return Probe.DONE if all(is_there == (op == planning.UNPRUNE) for is_there in there) else Probe.NOT_DONE
    if op == planning.SWITCH:
        found = end["current"]
        known = Probe.NOT_DONE if found == before["current"] else Probe.UNKNOWN
        return Probe.DONE if found == after["current"] else known
    if op == planning.GATE:
        passed = gated_token(house, spec) is not None and (house.record() or {}).get("passed")
        return Probe.DONE if passed else Probe.NOT_DONE
    if after["release"] is None and end["token"] is None:
        return Probe.DONE if house.runs(None) else Probe.NOT_DONE
    if end["token"] == key:
        return Probe.DONE if house.runs(key) else Probe.NOT_DONE
    return Probe.NOT_DONE if carrying.same(end, before) else Probe.UNKNOWN


def probed_undo(ctx: StepContext, house: House) -> Probe:
    spec = ctx.step["spec"]
    op = spec["op"]
    if op in (planning.COPY, planning.DISCARD):
        return release_probe(house, spec, wanted=op == planning.DISCARD)
    if op in (planning.PRUNE, planning.UNPRUNE):
        there = [carrying.has_release(house, name) for name in spec["releases"]]
        return Probe.DONE if all(is_there == (op == planning.PRUNE) for is_there in there) else Probe.NOT_DONE
    end, image = house.end(), carrying.image_of(ctx.before_image())
    if end == spec["before"] and house.record() == image["record"]:
        back = house.runs(end["token"]) or (end["token"] is not None and not image["runs"])
        return Probe.DONE if back else Probe.NOT_DONE
    return Probe.NOT_DONE if carrying.ours(end, spec) else Probe.UNKNOWN


def release_probe(house: House, spec: dict[str, Any], *, wanted: bool) -> Probe:
    if not carrying.has_release(house, spec["release"]):
        return Probe.NOT_DONE if wanted else Probe.DONE
    if carrying.fault_of(house, spec["release"], spec["digest"]):
        return Probe.UNKNOWN
    return Probe.DONE if wanted else Probe.NOT_DONE


def verified(step: dict[str, Any], house: House, target: Target) -> tuple[bool, str]:
    """Whether a step's effect still stands after the run, and in words what was found."""
    spec, end = step["spec"], house.end()
    op, after = spec["op"], spec["after"]
    if op == planning.COPY:
        fault = carrying.fault_of(house, spec["release"], spec["digest"])
        return not fault, fault or "every file is as planned"
    if op in (planning.DISCARD, planning.PRUNE, planning.UNPRUNE):
        names = spec.get("releases") or [spec["release"]]
        there = [name for name in names if carrying.has_release(house, name)]
        return len(there) == (len(names) if op == planning.UNPRUNE else 0), f"there: {', '.join(there) or 'none'}"
    if op == planning.SWITCH:
        fault = carrying.fault_of(house, after["current"], spec["digest"]) if after["current"] else ""
        return end["current"] == after["current"] and not fault, fault or f"current: {end['current'] or 'nothing'}"
    if op == planning.GATE:
        return is_well(house, target, spec["gate"])
    if after["release"] is None:
        return end["token"] is None and house.runs(None), "stopped" if house.runs(None) else "still running"
    runs = end["token"] == step["idempotency_key"] and house.runs(end["token"])
    return runs, f"release {end['release'] or 'none'} {'runs' if house.runs(end['token']) else 'does not run'}"
