"""The plan for people: a sentence, a Markdown page with diffs, and the same as YAML."""

import re
from typing import Any

import yaml

from actions.models import Action, Plan
from actions.preflight.step_graph import build_rollback_plan
from actions.types.protocol import Draft
from actions.types.shared.recovery_policy import describe_policy
from audit.changes.document import Change, text_diff
from audit.changes.masking import visible

OPERATION_TEXTS = {"create": "create", "modify": "change", "delete": "delete", "replace": "replace"}


def describe_draft(draft: Draft) -> str:
    """One sentence on what a draft would do."""
    parts = []
    for operation, verb in OPERATION_TEXTS.items():
        n = sum(c.operation == operation for c in draft.changes)
        if n:
            parts.append(f"{verb} {n} {'thing' if n == 1 else 'things'}")
    return (", ".join(parts) or "change nothing").capitalize() + "."


def as_markdown(action: Action, plan: Plan, changes: list[Change]) -> str:
    """The human summary: what, how far, the verdict, the steps with their undo, and every diff, masked."""
    blast, verdict = plan.blast, plan.verdict
    lines = [
        f"# {_plain(action.title)}",
        "",
        f"- Type: `{action.type}` in `{action.environment.slug}`",
        f"- Plan: version {plan.version}, digest `{plan.digest}`",
        f"- Blast radius: {blast['score']} of 100, {verdict['tier']}",
        f"- Requested: {_required_approvals(verdict)}",
        "",
        _plain(plan.summary),
        "",
        "## Blast radius",
        "",
        "| Factor | Points | Why |",
        "|---|---|---|",
        *[f"| {f['name']} | {f['points']} of {f['max']} | {_cell(f['why'])} |" for f in blast["factors"]],
        "",
        *_lower(blast.get("lower", [])),
        "## Policies",
        "",
        *[f"- **{r['effect']}** {_plain(r['message'])} (`{r['rule']}`)" for r in verdict["reasons"]],
        "",
        "## Steps",
        "",
        "| # | Step | If it must be undone |",
        "|---|---|---|",
        *[
            f"| {n} | {_cell(s['title'])} | {s['compensation']['kind']}: {_cell(s['compensation'].get('title', ''))} |"
            for n, s in enumerate(plan.steps, 1)
        ],
        "",
        *_recovery(plan),
        *_rollback(plan),
        "## Changes",
        "",
    ]
    for change in changes:
        diff = text_diff(change)
        fence = _fence(diff)
        lines += [f"### {change.operation} {_plain(change.target)}", "", f"{fence}diff", diff.rstrip("\n"), fence, ""]
    return "\n".join(lines)


def as_yaml(action: Action, plan: Plan, changes: list[Change]) -> str:
    """The human summary as YAML: the same facts, in the same order."""
    return yaml.safe_dump(
        {
            "action": {"id": str(action.pk), "title": visible(action.title), "type": action.type},
            "environment": action.environment.slug,
            "plan": {"version": plan.version, "digest": plan.digest, "summary": plan.summary, "counts": plan.counts},
            "blast": plan.blast,
            "verdict": plan.verdict,
            "steps": [{k: s[k] for k in ("key", "title", "target", "compensation")} for s in plan.steps],
            "rollback": plan.rollback or build_rollback_plan(plan.steps, {}, {}),
            "recovery": plan.recovery,
            "changes": [
                {"operation": c.operation, "target": c.target, "adds": c.adds, "dels": c.dels, "diff": text_diff(c)}
                for c in changes
            ],
        },
        sort_keys=False,
        allow_unicode=True,
    )


def _recovery(plan: Plan) -> list[str]:
    """The section about failing steps."""
    lines = [f"- {_plain(sentence)}" for sentence in describe_policy(plan.recovery)]
    return ["## If a step fails", "", *lines, ""] if lines else []


def _rollback(plan: Plan) -> list[str]:
    """The rollback section: order, mode, and point of no return."""
    back = plan.rollback or build_rollback_plan(plan.steps, {}, {})
    ways = {
        "all-or-nothing": "if an undo fails, the rollback stops until a person resolves it",
        "best-effort": "if an undo fails, its resource is quarantined and the rollback continues",
    }
    number = {s["key"]: n for n, s in enumerate(plan.steps, 1)}
    lines = [f"- Order: {back['order']}, {len(back['steps'])} of {len(plan.steps)} steps can be undone"]
    lines += [f"- Mode: {back['mode']}; {ways[back['mode']]}"]
    if back["no_return"]:
        steps = ", ".join(f"step {number[key]}" for key in back["no_return"])
        lines += [f"- **Point of no return:** {steps}. It starts only if the checks of all earlier steps pass."]
    return ["## Rollback", "", *lines, ""]


def _lower(advice: list[dict[str, Any]]) -> list[str]:
    if not advice:
        return []
    lines = [f"- {_plain(a['what'])} It would then be {a['tier']}, {a['score']} of 100." for a in advice]
    return ["### What would lower it", "", *lines, ""]


def _required_approvals(verdict: dict[str, Any]) -> str:
    if verdict["outcome"] == "deny":
        return "nothing, it is denied"
    if verdict["acceptance"]:
        return "the requester's acceptance of this diff"
    required_approvals = [f"{s['count']} × {s['role']}" for s in verdict["required_approvals"]]
    return ", ".join(required_approvals) or "nobody"


def _plain(text: str) -> str:
    """One line in which nothing is markup, a link or hidden."""
    return " ".join(visible(text).split()).replace("<", "&lt;").replace("[", "\\[")


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _fence(text: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    return "`" * max(3, longest + 1)
