"""The new-action page: a submission drawn as a form, read back, and tried as a dry run."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.dateparse import parse_datetime

from actions.commands.propose import dry_run, resubmission_of
from actions.errors import BadSubmission
from actions.intake.submission import Submission
from actions.intake.submit import submit
from actions.lifecycle.allowed import find_action
from actions.lifecycle.context import target_in
from actions.pages.action.changes import INLINE_LINES, to_change_views
from actions.pages.action.json_schema_form import (
    Field,
    Schema,
    add_choices,
    draw_fields,
    edit_rows,
    field_of_issue,
    parse_fields,
)
from actions.pages.decorators import redirect_to, require_member
from actions.queries.action_list import page_url
from actions.types.protocol import Executor
from actions.types.registry import executors, fetch_choices
from actions.types.shared.checks import check_schema
from actions.types.shared.recovery_policy import recovery_schema
from audit.changes.render import render_change
from audit.errors import Forbidden
from audit.ui import charts
from audit.web import correlation_of
from tenants.access import Access, access_of
from tenants.models import Environment

TEXT = {"type": "string"}
ABOUT: Schema = {
    "required": ["reason"],
    "properties": {
        "title": {"title": "Title", "description": "Empty: generated from the change.", "maxLength": 200, **TEXT},
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
            "title": "Rollback",
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
                    "description": "Interval of checks marked `during`.",
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
MAX_DIFF_LINES = 5 * INLINE_LINES


@dataclass
class SubmissionDraft:
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
            not_before=parse_time(self.more.get("not_before", "")),
            recovery=self.recovery,
            **plain,
        )


def parse_time(text: str) -> datetime | None:
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


def first_draft(request: HttpRequest, access: Access, environments: list[Environment]) -> SubmissionDraft:
    """What the form opens with: an earlier action's submission (`from`), or the asked type and environment."""
    if origin := request.GET.get("from"):
        s = resubmission_of(find_action(access, origin), "")
        more = {
            "timeout_s": s.timeout_s,
            "security_level": s.security_level,
            "priority": s.priority,
            "target": s.target,
            "rollback": s.rollback,
            "watch": s.watch,
        }
        about = {"title": s.title, "ticket": s.ticket, "external_url": s.external_url}
        return SubmissionDraft(
            s.type, s.environment, s.parameters, about, more, s.checks, mode=s.mode, recovery=s.recovery
        )
    slugs = [e.slug for e in environments]
    asked = request.GET.get("environment", "")
    return SubmissionDraft(_known_type(request.GET.get("type", "")), asked if asked in slugs else next(iter(slugs), ""))


def posted_draft(post: QueryDict) -> SubmissionDraft:
    """What was typed, with the row added or taken away that a button asked for."""
    values = {key: str(post[key]).replace("\x00", "") for key in post}
    name = _known_type(values.get("type", ""))
    executor = executors().get(name)
    draft = SubmissionDraft(
        type=name,
        environment=values.get("environment", ""),
        parameters=parse_fields(executor.schema, values, "parameters") if executor else {},
        about=parse_fields(ABOUT, values, ""),
        more=parse_fields(MORE, values, ""),
        checks=parse_fields(CHECKS, values, "").get("checks", []),
        accept=values.get("accept") == "on",
        mode="simulate" if values.get("mode") == "simulate" else "apply",
        recovery=parse_fields(RECOVERY, values, "").get("recovery", {}),
    )
    if values.get("type_was", name) != name:
        draft.parameters = {}
    whole = {"parameters": draft.parameters, "checks": draft.checks}
    edit_rows(whole, values.get("do", ""))
    return draft


def form_context(
    draft: SubmissionDraft, environments: list[Environment], issues: list[dict[str, str]]
) -> dict[str, Any]:
    """The form's controls, with every issue beside its field and the rest on top."""
    executor = executors().get(draft.type)
    parameters = draw_fields(executor.schema, draft.parameters, "parameters", issues) if executor else []
    where_to = next((e for e in environments if e.slug == draft.environment), None)
    if executor and where_to:
        target = target_in(where_to, draft.more.get("target") or {})
        add_choices(parameters, fetch_choices(executor, draft.parameters, target), "parameters")
    about, more = draw_fields(ABOUT, draft.about, "", issues), draw_fields(MORE, draft.more, "", issues)
    checks = draw_fields(CHECKS, {"checks": draft.checks}, "", issues)
    recovery = draw_fields(RECOVERY, {"recovery": draft.recovery}, "", issues)
    named = {f.name for f in _flatten([*parameters, *about, *more, *checks, *recovery])}
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
        "more_open": any(f.issues for f in _flatten(more)),
        "recovery": recovery,
        "recovery_open": bool(draft.recovery) or any(i["field"].startswith("recovery") for i in issues),
        "checks": checks,
        "issues": issues,
        "loose": [i for i in issues if field_of_issue(i) not in named],
        "errors": sum(i["severity"] == "error" for i in issues),
    }


def call_or_issues(call: Any, *args: Any, **kwargs: Any) -> tuple[Any, list[dict[str, str]]]:
    """Call a verb; return what it gave, or every issue of a submission that it refused."""
    try:
        return call(*args, **kwargs), []
    except BadSubmission as refused:
        return None, refused.extra.get("issues", [])


def dry_run_context(access: Access, draft: SubmissionDraft) -> dict[str, Any]:
    """The dry run of a draft: what would change, how far it reaches, who would be asked."""
    tried = dry_run(access, draft.submission())
    lines, bodies = 0, []
    for s in to_change_views(tried.draft.changes):
        lines += s.size
        bodies.append((s, render_change(s.change, "unified") if lines <= MAX_DIFF_LINES else ""))
    blast = tried.verdict.blast
    return {
        "tried": tried,
        "plan": tried.plan,
        "verdict": tried.verdict,
        "blast_chart": charts.blast([f["points"] for f in blast.factors if f["points"]]),
        "previewed": bodies,
    }


def _flatten(fields: list[Field]) -> list[Field]:
    return [g for f in fields for g in [f, *_flatten([h for row in f.rows for h in row])]]


def _known_type(name: str) -> str:
    known: dict[str, Executor] = executors()
    return name if name in known else "modify_files" if "modify_files" in known else next(iter(known), "")


def _issue(name: str, message: str) -> dict[str, str]:
    return {"severity": "error", "message": message, "field": name}


# The page itself, and the dry run.


@require_member
def new_action(request: HttpRequest) -> HttpResponse:
    """The form; posting it adds or removes a row, previews, or proposes, by the button that sent it."""
    access = access_of(request)
    environments = proposable_environments(access)
    if request.method != "POST":
        draft = first_draft(request, access, environments)
        return render(request, "actions/new/new.html", _context(draft, environments, [], key=uuid4().hex))
    draft, do = posted_draft(request.POST), request.POST.get("do", "")
    if do == "submit":
        made, issues = call_or_issues(_propose, request, access, draft)
        return redirect_to(request, page_url(made)) if made else _render_again(request, draft, environments, issues)
    found, issues = call_or_issues(dry_run_context, access, draft) if do == "preview" else (None, [])
    return _render_again(request, draft, environments, issues, found)


def _propose(request: HttpRequest, access: Access, draft: SubmissionDraft) -> Any:
    """Submit; the same form sent twice with the same contents is one action."""
    submission = draft.submission()
    key = f"form-{request.POST.get('key', '')[:32]}-{submission.body_digest()[:24]}"
    return submit(access, submission, idempotency_key=key, correlation_id=correlation_of(request))[0]


def _render_again(
    request: HttpRequest,
    draft: SubmissionDraft,
    environments: list[Environment],
    issues: Any,
    preview: dict[str, Any] | None = None,
) -> HttpResponse:
    context = _context(draft, environments, issues, key=request.POST.get("key", "")[:32]) | (preview or {})
    template = "actions/new/_form.html" if request.headers.get("HX-Request") else "actions/new/new.html"
    return render(request, template, context, status=422 if context["errors"] else 200)


def _context(
    draft: SubmissionDraft, environments: list[Environment], issues: list[dict[str, str]], key: str
) -> dict[str, Any]:
    return {"here": "new", "key": key, **form_context(draft, environments, issues)}


def proposable_environments(access: Access) -> list[Environment]:
    """Where the reader may propose, gentlest first. Raises Forbidden when that is nowhere."""
    found = list(Environment.objects.select_related("tenant").filter(pk__in=access.environments_where("propose")))
    if not found:
        raise Forbidden(
            "You may look here, but not propose actions.", remedies=["Ask a tenant admin for a role that may propose."]
        )
    return sorted(found, key=lambda e: (["safe", "guarded", "dangerous"].index(e.risk_class), e.slug))
