"""The editor of policies: what is typed is checked as it is typed, kept when it is refused, and never in force."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from actions.pages.entry import access_of, correlation_of, page
from actions.pages.rules_list import examples
from actions.pages.rules_tested import tested
from actions.pages.rules_typed import Typed, excerpts, number, preview, tried, typed, typed_from
from approvals.errors import MayNotChangeRules, NotADraft
from approvals.models import PolicyVersion
from approvals.policies import drafts
from approvals.policies.fact_schema import FACTS
from approvals.policies.permissions import administers_every_tenant, find_version, require_may_change_policies
from approvals.policies.policy_text import (
    EFFECT_MEANINGS,
    EFFECT_TITLES,
    MAX_MESSAGE,
    MODE_MEANINGS,
    faults_of_expression,
    fingerprint,
    policy_text_of,
)
from audit.changes.document import Change
from audit.changes.render import render_change as diff
from audit.errors import NotFound
from tenants.access import Access
from tenants.roles import approving_roles_in_tenant

THEN = ("rehearse", "backtest", "propose")
"""What may follow a save, each a page about the draft."""


@page
def new(request: HttpRequest) -> HttpResponse:
    """An empty editor, or one that starts from an example or an earlier version; on POST the draft it makes."""
    access = access_of(request)
    require_may_change_policies(access, access.tenant)
    if request.method != "POST":
        it, source = _start(access, request)
        return render(request, "rules/policy_editor.html", context_of(access, it, source))
    it, source = typed(request.POST), _source(access, request.POST.get("from", ""))
    everywhere = source.policy.is_global if source else it.everywhere
    made, issues, _ = tried(
        drafts.draft_policy,
        access.tenant,
        source.policy.slug if source else it.slug,
        it.policy_text(),
        by=access,
        everywhere=everywhere,
        correlation_id=correlation_of(request),
    )
    if made:
        return _saved(request, made)
    return render(request, "rules/policy_editor.html", context_of(access, it, source, issues=issues), status=422)


@page
def edit(request: HttpRequest, draft_id: UUID) -> HttpResponse:
    """A draft: to edit for who administers, to read for the others. What is no draft any more is in its history."""
    access = access_of(request)
    draft = find_version(access, draft_id)
    if request.method != "POST":
        if draft.state != "draft":
            return redirect("policy", draft.policy_id)
        said = policy_text_of(draft)
        it = typed_from(said, slug=draft.policy.slug, everywhere=draft.policy.is_global, seen=fingerprint(said))
        return render(request, "rules/policy_editor.html", context_of(access, it, draft=draft))
    it = typed(request.POST)
    it.slug, it.everywhere = draft.policy.slug, draft.policy.is_global
    made, issues, moved = tried(
        drafts.edit_policy_draft,
        draft.pk,
        it.policy_text(),
        by=access,
        seen=it.seen,
        correlation_id=correlation_of(request),
    )
    if made:
        return _saved(request, made)
    context = context_of(access, it, draft=draft, issues=issues) | (_moved(access, it, draft) if moved else {})
    return render(request, "rules/policy_editor.html", context, status=409 if moved else 422)


@require_POST
@page
def abandon(request: HttpRequest, draft_id: UUID) -> HttpResponse:
    """Give a draft up."""
    access = access_of(request)
    draft = find_version(access, draft_id)
    drafts.abandon_policy_draft(draft.pk, by=access, correlation_id=correlation_of(request))
    messages.success(request, f"{draft} is given up. Its text stays in the log.")
    return redirect("policy", draft.policy_id)


@require_POST
@page
def check(request: HttpRequest) -> HttpResponse:
    """What is wrong with an expression, and how the policy reads: the editor asks as one types. Stores nothing."""
    access = access_of(request)
    if not access.environments_where("administer"):
        raise MayNotChangeRules
    it = typed(request.POST)
    return render(
        request, "rules/_policy_check.html", checked(it, access, number(request.POST.get("version", "")) or 1)
    )


def checked(it: Typed, access: Access, version: int) -> dict[str, Any]:
    """The context of the live check. An expression that is still empty has no faults yet."""
    found = faults_of_expression(it.expression) if it.expression.strip() else []
    return {
        "faults": excerpts(found, {"expression": it.expression}),
        "is_empty": not it.expression.strip(),
        **preview(it, access.tenant, version),
    }


def context_of(
    access: Access,
    it: Typed,
    source: PolicyVersion | None = None,
    *,
    draft: PolicyVersion | None = None,
    issues: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The editor. `source` is the version that a new draft follows; `draft` the one that is edited."""
    shown = excerpts(issues or [], {"expression": it.expression, "message": it.message})
    fields = ("expression", "effect", "required_approvals", "message", "mode", "slug")
    named = {name: [found for found in shown if found["field"] == name] for name in fields}
    policy = (draft or source).policy if draft or source else None  # type: ignore[union-attr]
    version = draft.version if draft else 1 + (_last(source) if source else 0)
    return {
        "here": "rules",
        "on": "policies",
        "it": it,
        "draft": draft,
        "source": source,
        "policy": policy,
        "version": version,
        "issues": shown,
        "by_field": named,
        "loose": [i for i in shown if i["field"] not in fields],
        "rows": it.rows(approving_roles_in_tenant(access.tenant.pk)),
        "effects": _options(EFFECT_TITLES, EFFECT_MEANINGS),
        "modes": _options({"shadow": "Shadow", "enforce": "Enforce"}, MODE_MEANINGS),
        "most_message": MAX_MESSAGE,
        "tested": tested("policy", draft.pk) if draft else None,
        "facts": _facts(),
        "may_edit": access.can("administer"),
        "may_everywhere": administers_every_tenant(access),
        **checked(it, access, version),
    }


def _start(access: Access, request: HttpRequest) -> tuple[Typed, PolicyVersion | None]:
    source = _source(access, request.GET.get("from", ""))
    if source:
        return typed_from(policy_text_of(source), slug=source.policy.slug, everywhere=source.policy.is_global), source
    asked = request.GET.get("example", "")
    example = next((each for each in examples(access) if each["slug"] == asked), None)
    return (typed_from(example["policy_text"], slug=example["slug"]) if example else Typed()), None


def _source(access: Access, text: str) -> PolicyVersion | None:
    """The version that a new draft starts from. Raises NotFound for one that is not the reader's to draft."""
    if not text:
        return None
    try:
        found = find_version(access, UUID(text))
    except ValueError:
        raise NotFound from None
    if found.policy.home_id != access.tenant.pk:
        raise NotFound
    return found


def _last(source: PolicyVersion) -> int:
    return source.policy.versions.values_list("version", flat=True).latest("version")


def _saved(request: HttpRequest, made: PolicyVersion) -> HttpResponse:
    then = request.POST.get("then", "")
    if then in THEN:
        return redirect(f"/rules/policy/{made.pk}/{then}/")
    messages.success(request, f"{made} is saved as a draft. It has no effect until it is proposed and approved.")
    return redirect(reverse("policy_draft", args=[made.pk]))


def _moved(access: Access, it: Typed, draft: PolicyVersion) -> dict[str, Any]:
    """Both texts, and a form that, sent again, knowingly replaces the newer one. Raises NotADraft if it is none now."""
    now = find_version(access, draft.pk)
    if now.state != "draft":
        raise NotADraft
    theirs = typed_from(policy_text_of(now), slug=it.slug, everywhere=it.everywhere)
    mine, other = (preview(each, access.tenant, now.version)["yaml"] for each in (it, theirs))
    change = Change(it.slug, f"{it.slug}.yaml", "policy", "modify", before=other, after=mine, language="yaml")
    it.seen = fingerprint(policy_text_of(now))
    return {"moved": diff(change, "unified")}


def _options(titles: dict[str, str], meanings: dict[str, str]) -> list[tuple[str, str, str]]:
    return [(key, title, meanings[key]) for key, title in titles.items()]


def _facts() -> list[tuple[str, list[dict[str, str]]]]:
    """The facts by the part that they are about, in the order of the schema."""
    parts: dict[str, list[dict[str, str]]] = {}
    for name, fact in FACTS.items():
        parts.setdefault(name.partition(".")[0], []).append({"name": name, "kind": fact.kind, "what": fact.what})
    return list(parts.items())
