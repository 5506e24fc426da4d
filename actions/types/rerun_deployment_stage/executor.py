"""The executor of ``rerun_deployment_stage``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from actions.types.protocol import Draft, Issue, Outcome, PlanRefused, Probe, StepContext, Target, error, never
from actions.types.rerun_deployment_stage import apply, plan, state
from actions.types.rerun_deployment_stage.apply import DeploymentDir, run_check
from actions.types.rerun_deployment_stage.schema import SCHEMA, Deployment, Stage, command_digest, parse_deployment
from actions.types.shared.executor_base import StepRefused, outcome_if_over, run_to_outcome
from actions.types.shared.fs_state import Busy
from actions.types.shared.safe_path import Unreachable

SUBJECT = "this deployment"
RESULT_TEXTS = {
    "exited": "The command of {stage} ended with exit code {exit_code}. Its output is in the log of this step.",
    "timeout": "The command of {stage} did not end within its {timeout_s} s and was killed with all that it started.",
    "stopped": "The command of {stage} was stopped because the run is stopping or its time is up.",
    "not_started": "The command of {stage} cannot be started: {why}.",
}
ERROR_CODES = {"exited": "stage_failed", "timeout": "stage_timeout", "stopped": "stopped", "not_started": "not_started"}


@dataclass(frozen=True)
class StageJob:
    """One run of one command: its key, the entry that stands when it is done, and from which it may begin."""

    key: str
    command: tuple[str, ...]
    stage: Stage
    deployment: Deployment
    final: Callable[[dict[str, Any]], state.Entry]
    may_begin: Callable[[state.Entry], bool]
    is_undo: bool = False


class RerunDeploymentStage:
    """Run failed stages of a deployment again, each as declared by the environment's admin."""

    name = "rerun_deployment_stage"
    version = "1"
    title = "Rerun a deployment stage"
    description = "Run one failed stage of a deployment again, and the stages after it if asked."
    schema = SCHEMA
    security_level = "medium"
    risk_class = "guarded"
    changes_something = True
    breaks_by = ("deployment",)
    error_strategies = {
        "busy": "retry",
        "io": "retry",
        "keeper": "retry",
        "unstable": "retry",
        "stage_failed": "abort",
        "stage_timeout": "abort",
        "not_started": "abort",
        "undo_failed": "abort",
        "precondition": "abort",
        "settings": "abort",
        "in_doubt": "abort",
        "no_image": "abort",
        "stopped": "abort",
        "timeout": "abort",
    }
    """Error code → what helps: retry, fallback, skip or abort. Codes of unreachable paths are not listed: abort."""

    def level_of(self, parameters: dict[str, Any]) -> str:
        """Running what succeeded already does it twice: that is high."""
        return "high" if parameters.get("force") else "medium"

    def choices(self, parameters: dict[str, Any], target: Target) -> dict[str, list[tuple[str, str]]]:
        """The deployments of the environment, and the stages of the one that is chosen, with how each stands."""
        known = target.settings.get("deployments")
        found = {"deployment": [(name, name) for name in sorted(known)] if isinstance(known, dict) else []}
        deployment, _ = parse_deployment(str(parameters.get("deployment", "")), target)
        if deployment is not None:
            stages: dict[str, state.Entry] = {}
            with suppress(Unreachable), state.open_deployment(target, deployment.root) as place:
                stages = state.read_deployment_state(place)["stages"]
            found["stage"] = [(s.name, f"{s.name}: {plan.entry_result(stages.get(s.name))}") for s in deployment.stages]
        return found

    def validate(self, parameters: dict[str, Any], target: Target) -> list[Issue]:
        try:
            self.plan(parameters, target)
        except PlanRefused as refused:
            return refused.issues
        return []

    def plan(self, parameters: dict[str, Any], target: Target) -> Draft:
        try:
            return plan.plan_rerun(parameters, target)
        except Unreachable as exc:
            raise PlanRefused([error(str(exc), "deployment")]) from exc

    def plan_undo(
        self, plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]
    ) -> Draft:
        try:
            return plan.plan_undo(plan_steps, target, before_image)
        except (Unreachable, StepRefused) as exc:
            raise PlanRefused(str(exc)) from exc

    def apply(self, ctx: StepContext) -> Outcome:
        if stopped := outcome_if_over(ctx.deadline, ctx.stopping):
            return stopped
        return run_to_outcome(lambda: self._carry_out(ctx, apply_job), SUBJECT)

    def compensate(self, ctx: StepContext) -> Outcome:
        unstoppable = replace(ctx, stopping=never)  # an abort is why we go back: it stops nothing here
        return run_to_outcome(lambda: self._carry_out(unstoppable, undo_job), SUBJECT)

    def _carry_out(self, ctx: StepContext, job_for: Callable[[StepContext, Deployment, Stage], StageJob]) -> Outcome:
        spec = ctx.step["spec"]
        deployment, stage = stage_as_planned(ctx)
        with state.lock_deployment(ctx.target, spec["path"], ctx.stopping, ctx.deadline) as place:
            entry = state.read_entry(place, spec["stage"])
            job = job_for(ctx, deployment, stage)
            if is_final(ctx, entry, job):
                apply.remove_order(place, job.key)
                return Outcome(True, facts={"stage": stage.name, "changed": False})
            failed = entry is not None and entry.get("key") == job.key and entry["result"] != "running"
            if entry is not None and failed and entry.get("ended") != "stopped":
                return to_outcome(entry, job)  # it was run, and how it ended stands
            require_planned_state(place, entry, job, spec)
            if (
                job.key != ctx.step["idempotency_key"]
                and apply.find_order_state(place, ctx.step["idempotency_key"]) == "alive"
            ):
                raise Busy
            if apply.find_order_state(place, job.key) in ("none", "waiting"):
                state.write_entry(place, stage.name, state.new_entry("running", job.key))
            return run_job(ctx, place, job)

    def probe(self, ctx: StepContext) -> Probe:
        return self._probe(ctx, apply_job, not_done=lambda entry: matches_digest(entry, ctx.step["spec"]["before"]))

    def probe_undo(self, ctx: StepContext) -> Probe:
        return self._probe(ctx, undo_job, not_done=lambda entry: plan.is_done(ctx.step, entry))

    def _probe(
        self,
        ctx: StepContext,
        job_for: Callable[[StepContext, Deployment, Stage], StageJob],
        not_done: Callable[[state.Entry], bool],
    ) -> Probe:
        try:
            deployment, stage = stage_as_planned(ctx)
            with state.open_deployment(ctx.target, ctx.step["spec"]["path"]) as place:
                entry = state.read_entry(place, stage.name)
                job = job_for(ctx, deployment, stage)
                if is_final(ctx, entry, job):
                    return Probe.DONE
                if entry is not None and entry.get("key") == job.key:
                    return probe_in_flight(place, entry, job)
                return Probe.NOT_DONE if not_done(entry) or is_own_entry(ctx, entry) else Probe.UNKNOWN
        except (Unreachable, StepRefused, OSError):
            return Probe.UNKNOWN

    def verify(self, steps: list[dict[str, Any]], target: Target) -> list[dict[str, Any]]:
        rows = []
        for step in steps:
            try:
                ok, detail = verify_step(step, target)
            except (Unreachable, OSError) as exc:
                ok, detail = False, str(exc)
            rows.append({"name": step["title"], "ok": ok, "detail": detail})
        return rows


def stage_as_planned(ctx: StepContext) -> tuple[Deployment, Stage]:
    """The deployment and stage of a step, if they are still declared as they were planned with."""
    spec = ctx.step["spec"]
    deployment, issues = parse_deployment(spec["deployment"], ctx.target)
    stage = deployment.stage(spec["stage"]) if deployment else None
    if deployment is None or stage is None:
        raise StepRefused("settings", issues[0].message if issues else f"There is no stage {spec['stage']} any more.")
    if command_digest(deployment, stage) != spec["command_sha256"]:
        raise StepRefused("settings", f"The stage {stage.name} was redefined since planning.")
    return deployment, stage


def apply_job(ctx: StepContext, deployment: Deployment, stage: Stage) -> StageJob:
    spec, key = ctx.step["spec"], ctx.step["idempotency_key"]

    def may_begin(entry: state.Entry) -> bool:
        return matches_digest(entry, spec["before"])

    if spec["op"] == plan.RUN:
        return StageJob(
            key, stage.command, stage, deployment, lambda e: state.new_entry("succeeded", key, e), may_begin
        )
    back = state.parse_entry_image(ctx.undone(spec["restores"]), spec["after"]["sha256"])
    return StageJob(key, stage.undo, stage, deployment, lambda e: back, may_begin, is_undo=True)


def undo_job(ctx: StepContext, deployment: Deployment, stage: Stage) -> StageJob:
    spec, key = ctx.step["spec"], f"{ctx.step['idempotency_key']}:undo"
    command = stage.undo if spec["op"] == plan.RUN else stage.command
    if not command:
        raise StepRefused("irreversible", f"Nothing is declared that undoes the stage {stage.name}.")
    back = state.parse_entry_image(ctx.before_image(), spec["before"]["sha256"])
    return StageJob(
        key, command, stage, deployment, lambda e: back, lambda entry: is_own_entry(ctx, entry), is_undo=True
    )


def is_own_entry(ctx: StepContext, entry: state.Entry) -> bool:
    """Whether a stage stands as this step left it, done or broken off."""
    return plan.is_done(ctx.step, entry) or (entry or {}).get("key") == ctx.step["idempotency_key"]


def matches_digest(entry: state.Entry, end: dict[str, str]) -> bool:
    return state.entry_digest(entry) == end["sha256"]


def is_final(ctx: StepContext, entry: state.Entry, job: StageJob) -> bool:
    if job.key != ctx.step["idempotency_key"]:
        return matches_digest(entry, ctx.step["spec"]["before"])
    return plan.is_done(ctx.step, entry)


def require_planned_state(place: DeploymentDir, entry: state.Entry, job: StageJob, spec: dict[str, Any]) -> None:
    """Raise Refused unless the deployment is as the plan saw it. Nothing was run."""
    ours = (entry or {}).get("key") == job.key
    if not ours and not job.may_begin(entry):
        raise StepRefused(
            "precondition", f"The stage {spec['stage']} was changed since this was planned. Nothing was run."
        )
    stages = state.read_deployment_state(place)["stages"]
    late = [name for name in spec["earlier"] if not state.has_succeeded(stages.get(name))]
    busy = [n for n, e in stages.items() if e["result"] == "running" and n != spec["stage"]]
    if late or busy:
        why = f"{late[0]} has not succeeded any more" if late else f"{busy[0]} is running"
        raise StepRefused("precondition", f"The stage {why}, so {spec['stage']} was not run. Propose it again.")


def run_job(ctx: StepContext, place: DeploymentDir, job: StageJob) -> Outcome:
    """Have the command run once for the job's key, and write down what came of it."""
    try:
        ended = apply.run_command(ctx, place, job.key, job.command, job.stage, job.deployment)
    except StepRefused as refused:
        if refused.code != "in_doubt" or job.is_undo or not job.stage.check:
            raise
        ended = resolve_by_check(ctx, place, job, refused)
    if ended["ended"] == "exited" and ended["exit_code"] == 0:
        entry: state.Entry = job.final(ended)
        state.write_entry(place, job.stage.name, entry)
        apply.remove_order(place, job.key)
        facts = {"stage": job.stage.name, "changed": True, "duration_ms": ended["duration_ms"], "exit_code": 0}
        return Outcome(True, facts=facts)
    broken = state.new_entry("undo_failed" if job.is_undo else "failed", job.key, ended) | {"why": ended["why"]}
    state.write_entry(place, job.stage.name, broken)
    apply.remove_order(place, job.key)
    return to_outcome(broken, job)


def resolve_by_check(ctx: StepContext, place: DeploymentDir, job: StageJob, refused: StepRefused) -> dict[str, Any]:
    """Nobody knows how the command ended: ask the stage's check, and run the command again if it was not done."""
    says = run_check(place, job.stage, job.deployment)
    if says is None:
        raise refused
    ctx.log(f"outcome of the command unknown; its check reports {'done' if says else 'not done'}")
    if says:
        return {"ended": "exited", "exit_code": 0, "why": "", "duration_ms": 0}
    apply.remove_order(place, job.key)
    return apply.run_command(ctx, place, job.key, job.command, job.stage, job.deployment)


def to_outcome(entry: dict[str, Any], job: StageJob) -> Outcome:
    ended = entry.get("ended", "exited")
    words = RESULT_TEXTS[ended].format(
        stage=job.stage.name, exit_code=entry.get("exit_code"), timeout_s=job.stage.timeout_s, why=entry.get("why", "")
    )
    facts = {"stage": job.stage.name, "ended": ended, "exit_code": entry.get("exit_code")}
    code = "undo_failed" if job.is_undo and ended != "stopped" else ERROR_CODES[ended]
    return Outcome(False, code, words, facts)


def probe_in_flight(place: DeploymentDir, entry: dict[str, Any], job: StageJob) -> Probe:
    """NOT_DONE where ``apply`` knows how to go on without running anything twice; UNKNOWN where only a person does."""
    if entry["result"] != "running" or apply.find_order_state(place, job.key) != "lost":
        return Probe.NOT_DONE
    if job.is_undo or not job.stage.check:
        return Probe.UNKNOWN
    return Probe.UNKNOWN if run_check(place, job.stage, job.deployment) is None else Probe.NOT_DONE


def verify_step(step: dict[str, Any], target: Target) -> tuple[bool, str]:
    spec = step["spec"]
    with state.open_deployment(target, spec["path"]) as place:
        entry = state.read_entry(place, spec["stage"])
        detail = f"its state says {plan.entry_result(entry)}"
        if not plan.is_done(step, entry):
            return False, detail
        deployment, _ = parse_deployment(spec["deployment"], target)
        stage = deployment.stage(spec["stage"]) if deployment else None
        if deployment is None or stage is None or not stage.check or spec["op"] == plan.UNDO:
            return True, detail
        says = run_check(place, stage, deployment)
        return says is True, f"{detail}, and its check {'agrees' if says else 'does not agree'}"
