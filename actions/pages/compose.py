"""What the new-action form holds: a submission being written, drawn and read back."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, QueryDict
from django.utils.dateparse import parse_datetime

from actions.case import target_in
from actions.checks import check_schema
from actions.errors import BadSubmission
from actions.intake.submission import Submission
from actions.pages.changes import INLINE_LINES, shown
from actions.pages.form import Field, Schema, draw, edit, offer, parse, where
from actions.preview import preview
from actions.recovery import recovery_schema
from actions.types.protocol import Executor
from actions.types.registry import choices_of, executors
from actions.verbs import again, find
from audit.changes.render import render_change
from audit.ui import charts
from tenants.access import Access
from tenants.models import Environment

TEXT = {"type": "string"}
ABOUT: Schema = {
    "required": ["reason"],
    "properties": {
        "title": {"title": "Title", "description": "Left empty, it is made from the change.", "maxLength": 200, **TEXT},
        "reason": {
            "title": "Reason",
            "description": "Why this, and why now. Approvers and auditors read it.",
            "x-widget": "textarea",
            "maxLength": 4000,
            **TEXT,
        },
        "ticket": {"title": "Ticket", "maxLength": 120, **TEXT},
        "external_url": {"title": "Link to it", "x-widget": "url", "maxLength": 500, **TEXT},
    },
}
MORE: Schema = {
    "properties": {
        "not_before": {"title": "Not before (UTC)", "x-widget": "datetime", **TEXT},
        "timeout_s": {"title": "Time limit (s)", "type": "integer", "minimum": 1, "maximum": 86400, "default": 600},
        "security_level": {
            "title": "Security level",
            "description": "It can be raised, never lowered.",
            "enum": ["low", "medium", "high", "critical"],
        },
        "priority": {"title": "Priority", "type": "integer", "minimum": -100, "maximum": 100, "default": 0},
        "target": {
            "title": "Target",
            "type": "object",
            "properties": {
                "node": {"title": "Node", "maxLength": 200, **TEXT},
                "service": {"title": "Service", "maxLength": 200, **TEXT},
            },
        },
        "rollback": {
            "title": "Going back",
            "type": "object",
            "properties": {
                "order": {"title": "Undo steps in this order", "enum": ["reverse", "forward"], "default": "reverse"},
                "mode": {
                    "title": "If a step cannot be undone",
                    "enum": ["all-or-nothing", "best-effort"],
                    "default": "all-or-nothing",
                },
            },
        },
        "watch": {
            "title": "Watching",
            "type": "object",
            "properties": {
                "every_s": {
                    "title": "Look every (s)",
                    "description": "At checks that say `during`, while it runs.",
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 3600,
                },
                "error_rate": {
                    "title": "Stop at this share of failed tries",
                    "type": "number",
                    "minimum": 0,
                    "maximum": 1,
                },
                "then": {"title": "When it stops", "enum": ["hold", "rollback"], "default": "hold"},
            },
        },
    },
}
RECOVERY: Schema = {"properties": {"recovery": recovery_schema}}
CHECKS: Schema = {"properties": {"checks": {**check_schema, "items": {"title": "check", **check_schema["items"]}}}}
MOST_PREVIEWED = 5 * INLINE_LINES


@dataclass
class Draft:
    """A submission being written: plain values, as typed."""

    type: str
    environment: str
    parameters: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    checks: list[Any] = field(default_factory=list)
    accept: bool = False
    mode: str = "apply"
    recovery: dict[str, Any] = field(default_factory=dict)

    def submission(self) -> Submission:
        """What would be proposed. A time that is none is refused at intake, like everything else."""
        plain = {k: v for k, v in {**self.about, **self.more}.items() if k != "not_before"}
        return Submission(
            type=self.type,
            environment=self.environment,
            parameters=self.parameters,
            checks=self.checks,
            accept=self.accept,
            mode=self.mode,
            not_before=moment(self.more.get("not_before", "")),
            recovery=self.recovery,
            **plain,
        )


def moment(text: str) -> datetime | None:
    """A UTC time from the browser's datetime field. Raises BadSubmission when it is none."""
    if not text:
        return None
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None:
        raise BadSubmission(issues=[_issue("not_before", "This is not a time such as 2026-11-21T22:00.")])
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def first_draft(request: HttpRequest, access: Access, environments: list[Environment]) -> Draft:
    """What the form opens with: an earlier action's submission (`from`), or the asked type and environment."""
    if origin := request.GET.get("from"):
        s = again(find(access, origin), "")
        more = {
            "timeout_s": s.timeout_s,
            "security_level": s.security_level,
            "priority": s.priority,
            "target": s.target,
            "rollback": s.rollback,
            "watch": s.watch,
        }
        about = {"title": s.title, "ticket": s.ticket, "external_url": s.external_url}
        return Draft(s.type, s.environment, s.parameters, about, more, s.checks, mode=s.mode, recovery=s.recovery)
    slugs = [e.slug for e in environments]
    asked = request.GET.get("environment", "")
    return Draft(_type(request.GET.get("type", "")), asked if asked in slugs else next(iter(slugs), ""))


def posted_draft(post: QueryDict) -> Draft:
    """What was typed, with the row added or taken away that a button asked for."""
    values = {key: str(post[key]).replace("\x00", "") for key in post}
    name = _type(values.get("type", ""))
    executor = executors().get(name)
    draft = Draft(
        type=name,
        environment=values.get("environment", ""),
        parameters=parse(executor.schema, values, "parameters") if executor else {},
        about=parse(ABOUT, values, ""),
        more=parse(MORE, values, ""),
        checks=parse(CHECKS, values, "").get("checks", []),
        accept=values.get("accept") == "on",
        mode="simulate" if values.get("mode") == "simulate" else "apply",
        recovery=parse(RECOVERY, values, "").get("recovery", {}),
    )
    if values.get("type_was", name) != name:
        draft.parameters = {}
    whole = {"parameters": draft.parameters, "checks": draft.checks}
    edit(whole, values.get("do", ""))
    return draft


def form_context(draft: Draft, environments: list[Environment], issues: list[dict[str, str]]) -> dict[str, Any]:
    """The form's controls, with every issue beside its field and the rest on top."""
    executor = executors().get(draft.type)
    parameters = draw(executor.schema, draft.parameters, "parameters", issues) if executor else []
    where_to = next((e for e in environments if e.slug == draft.environment), None)
    if executor and where_to:
        target = target_in(where_to, draft.more.get("target") or {})
        offer(parameters, choices_of(executor, draft.parameters, target), "parameters")
    about, more = draw(ABOUT, draft.about, "", issues), draw(MORE, draft.more, "", issues)
    checks = draw(CHECKS, {"checks": draft.checks}, "", issues)
    recovery = draw(RECOVERY, {"recovery": draft.recovery}, "", issues)
    named = {f.name for f in _flat([*parameters, *about, *more, *checks, *recovery])}
    return {
        "draft": draft,
        "executor": executor,
        "types": executors(),
        "environments": environments,
        "parameters": [f for f in parameters if f.kind != "rows"],
        "lists": [f for f in parameters if f.kind == "rows"],
        "offers": hasattr(executor, "choices"),
        "about": about,
        "more": more,
        "more_open": any(f.issues for f in _flat(more)),
        "recovery": recovery,
        "recovery_open": bool(draft.recovery) or any(i["field"].startswith("recovery") for i in issues),
        "checks": checks,
        "issues": issues,
        "loose": [i for i in issues if where(i) not in named],
        "errors": sum(i["severity"] == "error" for i in issues),
    }


def tried(call: Any, *args: Any, **kwargs: Any) -> tuple[Any, list[dict[str, str]]]:
    """Call a verb; return what it gave, or every issue of a submission that it refused."""
    try:
        return call(*args, **kwargs), []
    except BadSubmission as refused:
        return None, refused.extra.get("issues", [])


def preview_context(access: Access, draft: Draft) -> dict[str, Any]:
    """The dry run of a draft: what would change, how far it reaches, who would be asked."""
    rehearsal = preview(access, draft.submission())
    lines, bodies = 0, []
    for s in shown(rehearsal.draft.changes):
        lines += s.size
        bodies.append((s, render_change(s.change, "unified") if lines <= MOST_PREVIEWED else ""))
    blast = rehearsal.verdict.blast
    return {
        "rehearsal": rehearsal,
        "plan": rehearsal.plan,
        "verdict": rehearsal.verdict,
        "blast_chart": charts.blast([f["points"] for f in blast.factors if f["points"]]),
        "previewed": bodies,
    }


def _flat(fields: list[Field]) -> list[Field]:
    return [g for f in fields for g in [f, *_flat([h for row in f.rows for h in row])]]


def _type(name: str) -> str:
    known: dict[str, Executor] = executors()
    return name if name in known else "modify_files" if "modify_files" in known else next(iter(known), "")


def _issue(name: str, message: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": name}
