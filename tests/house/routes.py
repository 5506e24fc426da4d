"""
What every route and every socket is about: the tables that the walks go by.

A route that is in none of them fails the walk: say here what it is about.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from django.urls import URLResolver, get_resolver

from config.http.api import api

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
FORM = ("GET", "POST")
MethodsOf = Callable[[str], tuple[str, ...]]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
DIGEST = "0" * 64

OPEN = {
    "healthz",
    "readyz",
    "metrics",
    "api/openapi.json",
    "api/docs",
    "api/",
    "account/sign-in/",
    "account/password/reset/",
    "account/password/reset/sent/",
    "verify/",
}
"""About no tenant, and for everybody."""
API = {
    "api/actions",
    "api/actions/dry-run",
    "api/actions/pending",
    "api/action-types",
    "api/chat",
    "api/models/switch",
    "api/workflows",
    "api/tokens",
    "api/audit-logs",
    "api/evidence/audiences",
    "api/matrix",
    "api/matrix/drafts",
    "api/prediction-accuracy",
    "api/blast/weights",
    "api/breakers",
    "api/concurrency-limits",
    "api/quarantines",
    "api/streams",
    "api/retention",
    "api/legal-holds",
    "api/erasures",
    "api/audit-logs/facets",
    "api/audit-logs/search",
    "api/audit-logs/heads",
    "api/audit-logs/keys",
    "api/audit-logs/consistency",
    "api/audit-logs/integrity",
    "api/audit-logs/verifications",
    "api/audit-logs/head-targets",
    "api/audit-searches",
    "api/reports",
    "api/reports/runs",
    "api/reports/controls",
    "api/reports/schedules",
    "api/approvals",
    "api/approvals/bulk",
    "api/incidents",
    "api/policies",
    "api/policies/facts",
    "api/policies/check",
}
"""About the caller's own tenant; 401 for a stranger."""
PAGES = {
    "approvals/",
    "approvals/bulk/",
    "incidents/",
    "",
    "queue/live/",
    "system/",
    "prediction-accuracy/",
    "quarantine/",
    "actions/new/",
    "account/tokens/",
    "account/password/",
    "audit/",
    "audit/streams/",
    "audit/searches/",
    "audit/reports/",
    "audit/controls/",
    "audit/retention/",
    "audit/retention/change/",
    "audit/verification/",
    "audit/verification/targets/",
    "account/tenant/",
    "account/sign-out/",
    "policies/",
    "policies/check/",
    "policies/new/",
    "policies/matrix/",
}
"""About the caller's own tenant; a stranger is sent to sign in."""


@dataclass(frozen=True)
class About:
    """What a route's parameter names, what to send it, and what it may answer to an outsider."""

    what: str
    body: dict[str, Any] = field(default_factory=dict)
    answers: frozenset[int] = frozenset({404, 405})
    opens: bool = True
    """Whether its own people get through with this body (else the body alone cannot show it)."""


REFUSED = frozenset({403, 404, 405})
UNBUILT = frozenset({405, 501})
ANY = frozenset({200, 302, 404, 405})
WHY = {"reason": "because"}
WORDING = {"expression": "true", "effect": "warn", "message": "because"}
DECISION = {"approved": True, "digest": DIGEST, "comment": ""}
TICKET_VERBS: dict[str, dict[str, Any]] = {
    "": {},
    "/diagnostics": {},
    "/assign": {"assignee": "acmes-own"},
    "/acknowledge": {},
    "/decline": WHY,
    "/resolve": {},
    "/comment": {"text": "hello"},
}
OBJECTS: dict[str, About] = {
    "api/actions/<action_id>": About("action"),
    "api/breakers/<breaker_id>/reset": About("breaker", WHY),
    "system/breakers/<uuid:breaker_id>/reset/": About("breaker", WHY),
    **{
        f"api/actions/<action_id>/{part}": About("action")
        for part in ("plan", "plan.json", "plan.md", "plan.yaml", "changes", "log", "events", "evidence", "explain")
    },
    "api/actions/<action_id>/accept": About("action", {"digest": DIGEST}),
    "api/actions/<action_id>/approve": About("action", DECISION),
    "api/actions/<action_id>/comments": About("action", {"text": "hello"}),
    "api/actions/<action_id>/comments/<comment_id>/resolve": About("action", {"resolved": True}, opens=False),
    "actions/<uuid:action_id>/comments/": About("action", {"text": "hello"}),
    "actions/<uuid:action_id>/comments/<uuid:comment_id>/resolve/": About("action", {"resolved": "yes"}, opens=False),
    **{
        f"api/actions/<action_id>/{verb}": About("action", {"comment": "because"})
        for verb in ("request-changes", "withdraw-change-request", "withdraw")
    },
    "api/actions/<action_id>/cancel": About("action", WHY),
    "api/actions/<action_id>/abort": About("action", WHY),
    "api/actions/<action_id>/resume": About("action", {**WHY, "how": "continue"}),
    "api/actions/<action_id>/rollback": About("action", WHY),
    "api/actions/<action_id>/retry": About("action", WHY),
    "api/actions/<action_id>/break-glass": About("action", WHY, UNBUILT),
    "api/workflows/<workflow_id>": About("workflow", {}, UNBUILT),
    "api/tokens/<uuidstr:token_id>": About("token"),
    "quarantine/<uuid:quarantine_id>/clear/": About("quarantine", {"found": "it is well"}),
    "policies/policy/<uuid:draft_id>/propose/": About("draft", WHY),
    "policies/retire/<uuid:draft_id>/propose/": About("draft", WHY),
    "policies/matrix/<uuid:draft_id>/propose/": About("matrix_draft", WHY),
    "policies/<uuid:policy_id>/": About("policy"),
    "policies/drafts/<uuid:draft_id>/": About("draft", WORDING),
    "policies/drafts/<uuid:draft_id>/abandon/": About("draft"),
    "policies/matrix/<slug:environment>/edit/": About("place", {"low": "denied"}),
    "policies/matrix/drafts/<uuid:draft_id>/": About("matrix_draft", {"low": "denied"}),
    "policies/matrix/drafts/<uuid:draft_id>/abandon/": About("matrix_draft"),
    "api/policies/<uuidstr:policy_id>": About("policy"),
    "api/policies/<uuidstr:policy_id>/drafts": About("policy", WORDING),
    "api/policies/<uuidstr:policy_id>/retire": About("policy", {**WHY, "environment": "prod"}),
    "api/policies/drafts/<uuidstr:draft_id>": About("draft", WORDING, opens=False),
    "api/policies/drafts/<uuidstr:draft_id>/abandon": About("draft"),
    "api/policies/drafts/<uuidstr:draft_id>/propose": About("draft", {**WHY, "environment": "prod"}),
    "api/matrix/drafts/<uuidstr:draft_id>": About("matrix_draft", {"rows": {}}, opens=False),
    "api/matrix/drafts/<uuidstr:draft_id>/abandon": About("matrix_draft"),
    "api/matrix/drafts/<uuidstr:draft_id>/propose": About("matrix_draft", WHY),
    "api/policies/drafts/<uuidstr:draft_id>/backtest": About("draft"),
    "api/policies/drafts/<uuidstr:draft_id>/evaluate": About("draft", {"action": DIGEST[:32]}, opens=False),
    "api/matrix/drafts/<uuidstr:draft_id>/backtest": About("matrix_draft"),
    "api/matrix/drafts/<uuidstr:draft_id>/evaluate": About("matrix_draft", {"action": DIGEST[:32]}, opens=False),
    **{
        f"policies/{kind}/<uuid:draft_id>/{part}": About(
            "matrix_draft" if kind == "matrix" else "draft", opens=kind != "retire"
        )
        for kind in ("policy", "retire", "matrix")
        for part in ("evaluate/", "backtest/", "backtest/live/", "backtest/cancel/")
    },
    **{f"api/backtests/<uuidstr:backtest_id>{part}": About("backtest") for part in ("", "/differences", "/cancel")},
    **{f"api/incidents/<incident_id>{part}": About("incident", body) for part, body in TICKET_VERBS.items()},
    **{
        f"incidents/<uuid:incident_id>/{part.lstrip('/')}{'/' if part else ''}": About("incident", body)
        for part, body in TICKET_VERBS.items()
        if part not in ("/diagnostics", "/comment")
    },
    "incidents/<uuid:incident_id>/diagnostics.json": About("incident", opens=False),
    "incidents/<uuid:incident_id>/comments/": About("incident", {"text": "hello"}),
    "incidents/<uuid:incident_id>/deliveries/<uuid:delivery_id>/": About("incident", opens=False),
    "api/incidents/<incident_id>/deliveries/<delivery_id>/send": About("incident", opens=False),
    "audit/verification/heads/<int:number>/": About("head"),
    "audit/verification/targets/<int:target_id>/remove/": About("head_target", opens=False),
    "api/audit-logs/verifications/<uuidstr:job_id>": About("verification"),
    "api/audit-logs/head-targets/<int:target_id>": About("head_target", opens=False),
    "audit/subjects/<uuid:subject_id>/": About("action"),
    "audit/events/<int:event_id>/": About("event"),
    "audit/searches/<uuid:search_id>/": About("saved_search", {"name": "x"}, opens=False),
    "audit/searches/<uuid:search_id>/delete/": About("saved_search", opens=False),
    "api/audit-searches/<uuidstr:search_id>": About("saved_search", {"name": "x"}, opens=False),
    **{
        f"audit/reports/runs/<uuid:run_id>/{part}": About("report_run", opens=not part)
        for part in ("", "file/", "cancel/")
    },
    **{
        f"api/reports/runs/<uuidstr:run_id>{part}": About("report_run", opens=not part)
        for part in ("", "/file", "/cancel")
    },
    "audit/reports/schedules/<uuid:schedule_id>/delete/": About("report_schedule", opens=False),
    "api/reports/schedules/<uuidstr:schedule_id>": About("report_schedule", opens=False),
    **{
        f"audit/reports/<slug:kind>/{part}": About("group", {"format": "csv"}, ANY, opens=False)
        for part in ("", "request/", "schedule/")
    },
    "api/reports/<slug:kind>/runs": About("group", {"format": "csv"}, ANY, opens=False),
    "api/audit-logs/<uuidstr:subject_id>/verify": About("action"),
    "api/audit-logs/<uuidstr:subject_id>/evidence": About("action"),
    "audit/<uuid:subject_id>/verify/": About("action"),
    "audit/<uuid:subject_id>/evidence/": About("action"),
    **{
        f"audit/<uuid:subject_id>/export/{part}": About("action", {"form": "zip", "name": "x"}, opens=False)
        for part in ("", "live/", "audience/", "<uuid:job_id>/")
    },
    **{
        f"actions/<uuid:action_id>/evidence/{part}": About("action", {"form": "zip"}, opens=False)
        for part in ("", "live/", "<uuid:job_id>/")
    },
    **{f"api/actions/<action_id>/evidence/<job_id>{part}": About("action", opens=False) for part in ("", "/file")},
    **{
        f"api/audit-logs/<uuidstr:subject_id>/evidence/<uuidstr:job_id>{part}": About("action", opens=False)
        for part in ("", "/file")
    },
    "api/evidence/audiences/<slug:name>": About("group", {"withheld": []}, ANY, opens=False),
    "account/tokens/<uuid:token_id>/revoke/": About("token"),
    "api/legal-holds/<uuidstr:hold_id>/lift": About("hold", {}, REFUSED),
    "api/archives/<uuidstr:archive_id>": About("archive", {}, REFUSED),
    "audit/archives/<uuid:archive_id>/": About("archive", {}, REFUSED),
    **{
        f"api/streams/<uuidstr:stream_id>{verb}": About("stream", {}, REFUSED)
        for verb in ("", "/pause", "/resume", "/resend", "/renew-secret")
    },
    "audit/streams/<uuid:stream_id>/<stream_verb:name>/": About("stream", {}, REFUSED),
    "account/password/set/<uidb64>/<token>/": About("person", {}, ANY, opens=False),
    "queue/more/<slug:group>/": About("group", {}, ANY, opens=False),
    "actions/<uuid:action_id>/": About("action"),
    **{
        f"actions/<uuid:action_id>/{part}": About("action", {**WHY, "digest": DIGEST, "verdict": "approve"})
        for part in (
            "preview/",
            "live/",
            "changes/",
            "decide/",
            "withdraw/",
            "withdraw-change-request/",
            "accept/",
            "cancel/",
            "abort/",
            "resume/",
            "rollback/",
            "retry/",
            "run/",
            "run/live/",
            "log",
            "log.txt",
            "explain/",
        )
    },
    "actions/<uuid:action_id>/changes/<int:n>/": About("action"),
    **{f"api/environments/<slug>/{part}": About("place", WHY) for part in ("freeze", "unfreeze")},
    **{f"environments/<slug:slug>/{part}": About("place", WHY) for part in ("", "freeze/", "unfreeze/")},
}
SOCKETS = {"ws/queue/": None, "ws/actions/<uuid:action_id>/": "action", "": None}


def routes() -> list[str]:
    def walk(patterns: Any, prefix: str = "") -> Iterator[str]:
        for it in patterns:
            here = prefix + str(it.pattern)
            yield from walk(it.url_patterns, here) if isinstance(it, URLResolver) else [here]

    return sorted(set(walk(get_resolver().url_patterns)))


def every_method(route: str) -> tuple[str, ...]:
    return METHODS


@cache
def documented_paths() -> dict[str, Any]:
    """The calls of the API's own document, by path. Made once: it takes a third of a second."""
    return dict(api.get_openapi_schema()["paths"])


def answered_methods(route: str) -> tuple[str, ...]:
    """The methods that do something: those of the API's document, GET and POST of a page. The others answer 405."""
    path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
    calls = documented_paths().get(path)
    if calls is None:
        return METHODS if route.startswith("api/") else FORM
    return tuple(method for method in METHODS if method.lower() in calls)


BY_METHODS = pytest.mark.parametrize(
    "methods_of", [answered_methods, pytest.param(every_method, marks=pytest.mark.slow)], ids=lambda it: it.__name__
)
"""A walk by what each route answers, and by every method there is, which takes long."""
