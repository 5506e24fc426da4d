"""The executor of ``modify_files``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from actions.types.modify_files import plan
from actions.types.modify_files import schema as modify_files_schema
from actions.types.modify_files.apply import WriteRefused, apply_state, has_empty
from actions.types.protocol import Draft, Issue, Outcome, PlanRefused, Probe, StepContext, Target, error
from actions.types.shared.safe_path import Unreachable, open_root

MEDIUM_FROM = 11  # files
HIGH_FROM = 101


class ModifyFiles:
    """Create, replace and delete text files below the environment's root, one step per file."""

    name = "modify_files"
    version = "1"
    title = "Modify files"
    description = "Create, replace or delete text files below the environment's root. Every change can be undone."
    schema = modify_files_schema.SCHEMA
    security_level = "low"
    risk_class = "guarded"
    changes_something = True

    def level_of(self, parameters: dict[str, Any]) -> str:
        """Deleting is high; otherwise the number of files decides (see docs/executor_authors.md for why)."""
        changes = parameters.get("changes") or []
        if any(change.get("operation") == "delete" for change in changes) or len(changes) >= HIGH_FROM:
            return "high"
        return "medium" if len(changes) >= MEDIUM_FROM else "low"

    def validate(self, parameters: dict[str, Any], target: Target) -> list[Issue]:
        changes = parameters["changes"]
        issues = modify_files_schema.change_faults(changes)
        bad = {issue.field.rpartition(".")[0] for issue in issues if issue.severity == "error"}
        if "" in bad:
            return issues  # too much altogether: looking at every file would be a waste
        try:
            with open_root(target.root) as root_fd:
                for n, change in enumerate(changes):
                    if f"changes.{n}" not in bad:
                        issues += plan.inspect_change(root_fd, n, change)[1]
        except Unreachable as exc:
            issues.append(error(str(exc), "environment"))
        return issues

    def plan(self, parameters: dict[str, Any], target: Target) -> Draft:
        changes = parameters["changes"]
        raise_on_errors([issue for issue in modify_files_schema.change_faults(changes) if issue.severity == "error"])
        wanted, faults = [], []
        with reachable_root(target) as root_fd:
            for n, change in enumerate(changes):
                here, issues = plan.inspect_change(root_fd, n, change)
                faults += issues
                if here is None:
                    continue
                after = None if change["operation"] == "delete" else change["content"].encode()
                wanted.append(plan.FileChange(here, change["operation"], after, index=n))
            raise_on_errors(faults)
            return plan.build_draft(wanted, target, plan.read_free_bytes(root_fd))

    def plan_undo(
        self, plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]
    ) -> Draft:
        wanted, faults = [], []
        with reachable_root(target) as root_fd:
            for step in reversed(plan_steps):
                try:
                    here = plan.inspect_target(root_fd, step["spec"]["path"])
                    wanted.append(plan.invert_step(step, here, before_image))
                except Unreachable as exc:
                    faults.append(error(str(exc), step["spec"]["path"]))
                except PlanRefused as exc:
                    faults += exc.issues
            raise_on_errors(faults)
            return plan.build_draft(wanted, target, plan.read_free_bytes(root_fd))

    def apply(self, ctx: StepContext) -> Outcome:
        spec = ctx.step["spec"]
        return self._carry_out(ctx, spec["before"], spec["after"], self._content(ctx), spec["make"], spec["sweep"])

    def compensate(self, ctx: StepContext) -> Outcome:
        spec = ctx.step["spec"]
        make, sweep = tuple(reversed(spec["sweep"])), tuple(reversed(spec["make"]))

        def content() -> bytes | None:
            return ctx.before_image() if spec["before"]["exists"] else None

        return self._carry_out(ctx, spec["after"], spec["before"], content, make, sweep)

    def _content(self, ctx: StepContext) -> Callable[[], bytes | None]:
        spec = ctx.step["spec"]
        if not spec["after"]["exists"]:
            return lambda: None
        if spec["restores"]:
            return lambda: ctx.undone(spec["restores"])
        return lambda: ctx.parameters["changes"][spec["index"]]["content"].encode()

    def _carry_out(
        self,
        ctx: StepContext,
        frm: dict[str, Any],
        to: dict[str, Any],
        content: Callable[[], bytes | None],
        make: Any,
        sweep: Any,
    ) -> Outcome:
        path = ctx.step["spec"]["path"]
        if ctx.stopping() or time.monotonic() > ctx.deadline:
            return Outcome(False, "stopped", f"{path} was not touched: the run is stopping.", retryable=True)
        key = ctx.step.get("idempotency_key") or ctx.idempotency_key
        try:
            data = content()
            if to["exists"] and data is None:
                raise WriteRefused("no_image", f"The content of {path} before the change is not kept any more.")
            with open_root(ctx.target.root) as root_fd:
                changed = apply_state(root_fd, path, frm, to, data, key, make=make, sweep=sweep)
        except (WriteRefused, Unreachable) as exc:
            return Outcome(False, exc.code, str(exc), retryable=exc.code == "unstable")
        except OSError as exc:
            why = f"{path}: {exc.strerror or exc}. The disk or its rights need a look."
            return Outcome(False, "io", why, retryable=True)
        ctx.log(f"{path}: {'written' if to['exists'] else 'deleted'}" if changed else f"{path}: was so already")
        return Outcome(True, facts={"path": path, "changed": changed, "sha256": to.get("sha256", "")})

    def probe(self, ctx: StepContext) -> Probe:
        spec = ctx.step["spec"]
        return self._probe(ctx, spec["before"], spec["after"], spec["sweep"])

    def probe_undo(self, ctx: StepContext) -> Probe:
        spec = ctx.step["spec"]
        return self._probe(ctx, spec["after"], spec["before"], tuple(reversed(spec["make"])))

    def _probe(self, ctx: StepContext, frm: dict[str, Any], to: dict[str, Any], sweep: Any) -> Probe:
        """DONE in the state ``to`` with nothing left to sweep, NOT_DONE in ``frm`` or half swept, else UNKNOWN."""
        try:
            with open_root(ctx.target.root) as root_fd:
                here = plan.inspect_target(root_fd, ctx.step["spec"]["path"])
                if plan.matches_state(to, here.seen):
                    return Probe.NOT_DONE if has_empty(root_fd, sweep) else Probe.DONE
        except (Unreachable, OSError):
            return Probe.UNKNOWN
        return Probe.NOT_DONE if plan.matches_state(frm, here.seen) else Probe.UNKNOWN

    def verify(self, steps: list[dict[str, Any]], target: Target) -> list[dict[str, Any]]:
        rows = []
        for step in steps:
            path, after = step["spec"]["path"], step["spec"]["after"]
            try:
                with open_root(target.root) as root_fd:
                    seen = plan.inspect_target(root_fd, path).seen
                ok = plan.matches_state(after, seen)
                detail = "as planned" if ok else plan.describe_drift(path, after, seen)
            except (Unreachable, OSError) as exc:
                ok, detail = False, str(exc)
            rows.append({"name": f"{path} is as planned", "ok": ok, "detail": detail})
        return rows


@contextmanager
def reachable_root(target: Target) -> Iterator[int]:
    """Yield a descriptor of the environment's root; raises PlanRefused when there is none."""
    try:
        with open_root(target.root) as root_fd:
            yield root_fd
    except Unreachable as exc:
        raise PlanRefused([error(str(exc), "environment")]) from exc


def raise_on_errors(issues: list[Issue]) -> None:
    """Raise PlanRefused if there are issues."""
    if issues:
        raise PlanRefused(issues)
