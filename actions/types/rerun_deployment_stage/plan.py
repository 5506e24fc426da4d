"""Plan a rerun from parameters, or its undo from an executed plan: one step per stage. Read-only."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from actions.types.protocol import Draft, PlanRefused, Target, error
from actions.types.rerun_deployment_stage import state
from actions.types.rerun_deployment_stage.apply import DeploymentDir
from actions.types.rerun_deployment_stage.schema import Deployment, Stage, command_digest, parse_deployment
from audit.changes.document import Change
from audit.changes.masking import mask

RUN, UNDO = "run", "undo"


@dataclass(frozen=True)
class StageChange:
    """One stage to run, or to undo: ``restores`` is the step whose before-image has the entry that comes back."""

    stage: Stage
    entry: state.Entry
    op: str = RUN
    restores: str = ""
    comes_back: state.Entry = None


def plan_rerun(parameters: dict[str, Any], target: Target) -> Draft:
    """Plan one stage, and those after it if asked. Raises PlanRefused, Unreachable."""
    deployment = find_deployment(parameters["deployment"], target)
    names = [stage.name for stage in deployment.stages]
    if parameters["stage"] not in names:
        words = f"{deployment.name} has no stage {parameters['stage']!r}. It has: {', '.join(names)}."
        raise PlanRefused([error(words, "stage")])
    first = names.index(parameters["stage"])
    chosen = deployment.stages[first:] if parameters.get("and_following") else deployment.stages[first : first + 1]
    with state.open_deployment(target, deployment.root) as place:
        stages = state.read_deployment_state(place)["stages"]
        refuse_early(deployment, names[:first], stages)
        refuse_done(chosen, stages, force=bool(parameters.get("force")))
        return build_draft(deployment, [StageChange(stage, stages.get(stage.name)) for stage in chosen], target)


def find_deployment(name: str, target: Target) -> Deployment:
    deployment, issues = parse_deployment(name, target)
    if deployment is None:
        raise PlanRefused(issues)
    return deployment


def refuse_early(deployment: Deployment, earlier: Sequence[str], stages: dict[str, Any]) -> None:
    for name in earlier:
        if not state.has_succeeded(stages.get(name)):
            found = (stages.get(name) or {}).get("result", "not run")
            words = f"The stage {name} comes before it and has not succeeded ({found}). Rerun {name} first."
            raise PlanRefused([error(words, "stage")])
    busy = next((name for name, entry in stages.items() if entry["result"] == "running"), None)
    if busy:
        words = f"The stage {busy} of {deployment.name} is running or its runner was lost. Resolve that first."
        raise PlanRefused([error(words, "stage")])


def refuse_done(chosen: Sequence[Stage], stages: dict[str, Any], *, force: bool) -> None:
    done = [] if force else [stage.name for stage in chosen if state.has_succeeded(stages.get(stage.name))]
    if done:
        field = "stage" if done[0] == chosen[0].name else "and_following"
        words = f"{', '.join(done)} has succeeded already. Set force to run it again nevertheless."
        raise PlanRefused([error(words, field)])


def plan_undo(plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]) -> Draft:
    """Plan the inverse of an executed plan, last stage first. Raises PlanRefused, Unreachable, Refused."""
    deployment = find_deployment(plan_steps[0]["spec"]["deployment"], target)
    if deployment.root != plan_steps[0]["spec"]["path"]:
        raise PlanRefused(f"{deployment.name} has moved to {deployment.root} since, so this can no longer be undone.")
    with state.open_deployment(target, deployment.root) as place:
        wanted = [invert_step(step, deployment, place, before_image) for step in reversed(plan_steps)]
        return build_draft(deployment, wanted, target)


def invert_step(
    step: dict[str, Any], deployment: Deployment, place: DeploymentDir, before_image: Callable[[str], bytes | None]
) -> StageChange:
    spec = step["spec"]
    stage, entry = deployment.stage(spec["stage"]), state.read_entry(place, spec["stage"])
    if stage is None or command_digest(deployment, stage) != spec["command_sha256"]:
        raise PlanRefused(f"The stage {spec['stage']} was redefined since, so this can no longer be undone.")
    if not is_done(step, entry):
        raise PlanRefused(f"The stage {spec['stage']} has been run again since. Propose what should happen to it now.")
    if spec["op"] == UNDO:
        return StageChange(stage, entry)
    if not stage.undo:
        raise PlanRefused(f"No command is declared that undoes the stage {stage.name}.")
    comes_back = state.parse_entry_image(before_image(step["key"]), spec["before"]["sha256"])
    return StageChange(stage, entry, UNDO, restores=step["key"], comes_back=comes_back)


def is_done(step: dict[str, Any], entry: state.Entry) -> bool:
    """Whether a stage stands as this step leaves it."""
    spec = step["spec"]
    if spec["op"] == UNDO:
        return state.entry_digest(entry) == spec["after"]["sha256"]
    return entry is not None and state.has_succeeded(entry) and entry.get("key") == step["idempotency_key"]


def build_draft(deployment: Deployment, wanted: Sequence[StageChange], target: Target) -> Draft:
    steps = [_step(n, deployment, want, target) for n, want in enumerate(wanted, 1)]
    for n, step in enumerate(steps[1:], 1):
        step["after"] = [steps[n - 1]["key"]]
    verb = {RUN: "Rerun", UNDO: "Undo"}[wanted[0].op]
    stages = ", ".join(want.stage.name for want in wanted)
    return Draft(
        resources=[{"kind": "deployment", "name": f"{target.environment}:{deployment.name}"}],
        changes=[_change(step["key"], deployment, w, target) for step, w in zip(steps, wanted, strict=True)],
        steps=steps,
        preconditions=[step["precondition"] for step in steps],
        compensations=[{"step": step["key"], **step["compensation"]} for step in steps],
        summary=f"{verb} {stages} of the deployment {deployment.name} in {target.environment}",
        before_images={s["key"]: state.entry_image(w.entry) for s, w in zip(steps, wanted, strict=True)},
    )


def _step(n: int, deployment: Deployment, want: StageChange, target: Target) -> dict[str, Any]:
    stage, before = want.stage, {"sha256": state.entry_digest(want.entry)}
    names = [each.name for each in deployment.stages]
    spec = {
        "op": want.op,
        "deployment": deployment.name,
        "stage": stage.name,
        "path": deployment.root,
        "earlier": names[: names.index(stage.name)] if want.op == RUN else [],
        "before": before,
        "after": {"sha256": state.entry_digest(want.comes_back)} if want.op == UNDO else {},
        "restores": want.restores,
        "command_sha256": command_digest(deployment, stage),
    }
    words = {RUN: f"Run the stage {stage.name} again", UNDO: f"Undo the stage {stage.name}"}
    return {
        "key": f"{n:03d}:{want.op}:{stage.name}",
        "title": words[want.op],
        "target": f"{deployment.name}/{stage.name}",
        "operation": "modify",
        "after": [],
        "precondition": {"stage": stage.name, **before},
        "compensation": build_compensation(want, target),
        "spec": spec,
    }


def build_compensation(want: StageChange, target: Target) -> dict[str, str]:
    stage = want.stage
    back = stage.undo if want.op == RUN else stage.command
    if not back:
        return {"kind": "irreversible", "title": f"Nothing is declared that undoes {stage.name}"}
    return {"kind": "reversible", "title": mask(f"Run {shlex.join(back)}"[:200], target.mask_key)}


def _change(key: str, deployment: Deployment, want: StageChange, target: Target) -> Change:
    stage = want.stage
    command = stage.command if want.op == RUN else stage.undo
    after = "succeeded" if want.op == RUN else entry_result(want.comes_back)
    lines = [f"result: {after}", "command:", *(f"  - {part}" for part in command), f"timeout_s: {stage.timeout_s}"]
    lines += ["environment:"] if deployment.environment else []
    lines += [f"  {name}: {value}" for name, value in sorted(deployment.environment.items())]
    lines += ["check:", *(f"  - {part}" for part in stage.check)] if stage.check else []
    head = f"stage: {stage.name}\n"
    return Change(
        key,
        f"{deployment.name}/{stage.name}",
        "stage",
        "modify",
        f"{head}result: {entry_result(want.entry)}\n",
        mask(head + "\n".join(lines) + "\n", target.mask_key),
        state.entry_digest(want.entry),
        command_digest(deployment, stage),
        language="yaml",
        note="The commands that run, and the deployment's state before and after.",
    )


def entry_result(entry: state.Entry) -> str:
    if entry is None:
        return "not run"
    code = entry.get("exit_code")
    return entry["result"][:50] + (f" (exit code {code})" if isinstance(code, int) and code else "")
