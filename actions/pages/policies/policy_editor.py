"""The policy editor: the text as typed, its issues, and the draft that it saves."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from actions.backtests.start import backtest_status, describe_backtest
from actions.pages.decorators import require_member
from actions.pages.policies.policies import example_policies
from approvals.errors import DraftChanged, MayNotChangeRules, NotADraft
from approvals.models import Policy, PolicyVersion
from approvals.policies import drafts
from approvals.policies.fact_schema import FACTS
from approvals.policies.permissions import administers_every_tenant, find_version, require_may_change_policies
from approvals.policies.policy_text import (
    EFFECT_MEANINGS,
    EFFECT_TITLES,
    MAX_MESSAGE,
    MODE_MEANINGS,
    PolicyText,
    as_yaml,
    describe_policy,
    faults_of_expression,
    fingerprint,
    issue,
    policy_text_of,
)
from audit.changes.document import Change
from audit.changes.masking import visible
from audit.changes.render import render_change as diff
from audit.errors import Invalid, NotFound
from audit.web import correlation_of
from tenants.access import Access, access_of
from tenants.models import Tenant
from tenants.roles import approving_roles_in_tenant

APPROVAL = "approval:"
EXCERPT_WIDTH = 60
"""How much of a line is shown on either side of a fault."""


@dataclass
class PolicyForm:
    """`counts` are texts by role; only those that are filled count. `seen` names the wording it started from."""

    slug: str = ""
    expression: str = ""
    effect: str = "deny"
    message: str = ""
    mode: str = "shadow"
    overridable: bool = False
    everywhere: bool = False
    counts: dict[str, str] = field(default_factory=dict)
    seen: str = ""

    def required_approvals(self) -> list[dict[str, Any]]:
        """The required approvals, for `require` only; a count that is no number is 0, which is refused later."""
        if self.effect != "require":
            return []
        asked = {role: text.strip() for role, text in self.counts.items() if text.strip() not in ("", "0")}
        return [{"role": role, "count": parse_count(text)} for role, text in asked.items()]

    def policy_text(self) -> PolicyText:
        return PolicyText(
            self.expression, self.effect, self.message, self.required_approvals(), self.overridable, self.mode
        )

    def rows(self, roles: Iterable[str]) -> list[dict[str, str]]:
        """One row per role that may approve, and per role that was typed all the same."""
        names = [*sorted(roles), *sorted(set(self.counts) - set(roles))]
        return [{"role": role, "count": self.counts.get(role, "")} for role in names if role]


def parse_count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0


def read_policy_form(post: QueryDict) -> PolicyForm:
    """What the form holds. Line ends are those of Unix, so that lines and columns are the reader's."""
    said = {key: _text(post.get(key)) for key in ("slug", "expression", "effect", "message", "mode", "seen")}
    counts = {key.removeprefix(APPROVAL)[:64]: _text(post.get(key)) for key in post if key.startswith(APPROVAL)}
    if extra := _text(post.get("role_new")).strip():
        counts[extra[:64]] = _text(post.get("count_new"))
    return PolicyForm(
        **said, counts=counts, overridable=post.get("overridable") == "on", everywhere=post.get("everywhere") == "on"
    )


def policy_form_from(policy_text: PolicyText, **more: Any) -> PolicyForm:
    counts = {required["role"]: str(required["count"]) for required in policy_text.required_approvals}
    return PolicyForm(
        expression=policy_text.expression,
        effect=policy_text.effect,
        message=policy_text.message,
        mode=policy_text.mode,
        overridable=policy_text.overridable,
        counts=counts,
        **more,
    )


def try_draft_command(verb: Any, *args: Any, **kwargs: Any) -> tuple[Any, list[dict[str, Any]], bool]:
    """Call a verb; return what it gave, or every issue that it refused for, or that the draft moved meanwhile."""
    try:
        return verb(*args, **kwargs), [], False
    except DraftChanged:
        return None, [], True
    except Invalid as refused:
        return None, refused.extra.get("issues") or [issue(refused.detail, "")], False


def add_excerpts(issues: Iterable[dict[str, Any]], texts: dict[str, str]) -> list[dict[str, Any]]:
    """Issues with the line that each is about, cut around its column: {"before", "at", "after", "caret"}."""
    return [{**it, **_excerpt(texts.get(it["field"], ""), it)} if "line" in it else it for it in issues]


def _excerpt(text: str, it: dict[str, Any]) -> dict[str, str]:
    lines = text.splitlines() or [""]
    line = lines[min(max(it["line"], 1), len(lines)) - 1].replace("\t", " ")
    column = min(max(it["column"], 1), len(line) + 1) - 1
    start = max(0, column - EXCERPT_WIDTH)
    before = ("…" if start else "") + visible(line[start:column])
    after = line[column + 1 : column + EXCERPT_WIDTH]
    more = "…" if len(line) > column + EXCERPT_WIDTH else ""
    at = visible(line[column : column + 1])
    return {"before": before, "at": at, "after": visible(after) + more, "caret": " " * len(before) + "^"}


def preview_policy(it: PolicyForm, home: Tenant, version: int = 1) -> dict[str, str]:
    """What reviewers would read: the sentence, and the text that they compare. Stores nothing."""
    policy = Policy(slug=it.slug or "…", home=home, tenant=None if it.everywhere else home)
    said = it.policy_text()
    unsaved = PolicyVersion(
        policy=policy,
        version=version,
        expression=said.expression,
        effect=said.effect,
        message=said.message,
        required_approvals=said.required_approvals,
        overridable=said.overridable,
        mode=said.mode,
    )
    return {"sentence": describe_policy(said), "yaml": visible(as_yaml(unsaved))}


def _text(value: Any) -> str:
    plain = str(value or "").replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")
    return plain.encode("utf-8", "replace").decode()


# The backtest of a draft, as the editors show it.


def draft_backtest_status(kind: str, draft_id: UUID) -> dict[str, Any]:
    """{"words", "is_good", "address"}: whether it may be proposed as far as backtests go, and where to look."""
    standing = backtest_status(kind, draft_id)
    words = standing.words
    if standing.may and standing.backtest is not None:
        moved = " Other policies changed since; the result may differ now." if standing.rules_changed else ""
        words = describe_backtest(standing.backtest) + moved
    return {"words": words, "is_good": standing.may, "address": f"/policies/{kind}/{draft_id}/backtest/"}


# The editor: text is checked as it is typed, kept when it is refused, and never in force.


NEXT_PAGES = ("evaluate", "backtest", "propose")
"""What may follow a save, each a page about the draft."""


@require_member
def new_policy(request: HttpRequest) -> HttpResponse:
    """An empty editor, or one that starts from an example or an earlier version; on POST the draft it makes."""
    access = access_of(request)
    require_may_change_policies(access, access.tenant)
    if request.method != "POST":
        it, source = _initial_form(access, request)
        return render(request, "policies/editor.html", editor_context(access, it, source))
    it, source = read_policy_form(request.POST), _source(access, request.POST.get("from", ""))
    everywhere = source.policy.is_global if source else it.everywhere
    made, issues, _ = try_draft_command(
        drafts.draft_policy,
        access.tenant,
        source.policy.slug if source else it.slug,
        it.policy_text(),
        by=access,
        everywhere=everywhere,
        correlation_id=correlation_of(request),
    )
    if made:
        return _redirect_after_save(request, made)
    return render(request, "policies/editor.html", editor_context(access, it, source, issues=issues), status=422)


@require_member
def edit_policy(request: HttpRequest, draft_id: UUID) -> HttpResponse:
    """A draft: to edit for who administers, to read for the others. What is no draft any more is in its history."""
    access = access_of(request)
    draft = find_version(access, draft_id)
    if request.method != "POST":
        if draft.state != "draft":
            return redirect("policy", draft.policy_id)
        said = policy_text_of(draft)
        it = policy_form_from(said, slug=draft.policy.slug, everywhere=draft.policy.is_global, seen=fingerprint(said))
        return render(request, "policies/editor.html", editor_context(access, it, draft=draft))
    it = read_policy_form(request.POST)
    it.slug, it.everywhere = draft.policy.slug, draft.policy.is_global
    made, issues, moved = try_draft_command(
        drafts.edit_policy_draft,
        draft.pk,
        it.policy_text(),
        by=access,
        seen=it.seen,
        correlation_id=correlation_of(request),
    )
    if made:
        return _redirect_after_save(request, made)
    context = editor_context(access, it, draft=draft, issues=issues) | (
        _conflict_context(access, it, draft) if moved else {}
    )
    return render(request, "policies/editor.html", context, status=409 if moved else 422)


@require_POST
@require_member
def abandon_policy_draft(request: HttpRequest, draft_id: UUID) -> HttpResponse:
    """Give a draft up."""
    access = access_of(request)
    draft = find_version(access, draft_id)
    drafts.abandon_policy_draft(draft.pk, by=access, correlation_id=correlation_of(request))
    messages.success(request, f"{draft} was abandoned. Its text stays in the log.")
    return redirect("policy", draft.policy_id)


@require_POST
@require_member
def check_policy(request: HttpRequest) -> HttpResponse:
    """What is wrong with an expression, and how the policy reads: the editor asks as one types. Stores nothing."""
    access = access_of(request)
    if not access.environments_where("administer"):
        raise MayNotChangeRules
    it = read_policy_form(request.POST)
    return render(
        request,
        "policies/_editor_check.html",
        check_context(it, access, parse_count(request.POST.get("version", "")) or 1),
    )


def check_context(it: PolicyForm, access: Access, version: int) -> dict[str, Any]:
    """The context of the live check. An expression that is still empty has no faults yet."""
    found = faults_of_expression(it.expression) if it.expression.strip() else []
    return {
        "faults": add_excerpts(found, {"expression": it.expression}),
        "is_empty": not it.expression.strip(),
        **preview_policy(it, access.tenant, version),
    }


def editor_context(
    access: Access,
    it: PolicyForm,
    source: PolicyVersion | None = None,
    *,
    draft: PolicyVersion | None = None,
    issues: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The editor. `source` is the version that a new draft follows; `draft` the one that is edited."""
    shown = add_excerpts(issues or [], {"expression": it.expression, "message": it.message})
    fields = ("expression", "effect", "required_approvals", "message", "mode", "slug")
    named = {name: [found for found in shown if found["field"] == name] for name in fields}
    policy = (draft or source).policy if draft or source else None  # type: ignore[union-attr]
    version = draft.version if draft else 1 + (_latest_version(source) if source else 0)
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
        "tested": draft_backtest_status("policy", draft.pk) if draft else None,
        "facts": _facts_by_part(),
        "may_edit": access.can("administer"),
        "may_everywhere": administers_every_tenant(access),
        **check_context(it, access, version),
    }


def _initial_form(access: Access, request: HttpRequest) -> tuple[PolicyForm, PolicyVersion | None]:
    source = _source(access, request.GET.get("from", ""))
    if source:
        return policy_form_from(
            policy_text_of(source), slug=source.policy.slug, everywhere=source.policy.is_global
        ), source
    asked = request.GET.get("example", "")
    example = next((each for each in example_policies(access) if each["slug"] == asked), None)
    return (policy_form_from(example["policy_text"], slug=example["slug"]) if example else PolicyForm()), None


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


def _latest_version(source: PolicyVersion) -> int:
    return source.policy.versions.values_list("version", flat=True).latest("version")


def _redirect_after_save(request: HttpRequest, made: PolicyVersion) -> HttpResponse:
    then = request.POST.get("then", "")
    if then in NEXT_PAGES:
        return redirect(f"/policies/policy/{made.pk}/{then}/")
    messages.success(request, f"{made} is saved as a draft. It has no effect until it is proposed and approved.")
    return redirect(reverse("policy_draft", args=[made.pk]))


def _conflict_context(access: Access, it: PolicyForm, draft: PolicyVersion) -> dict[str, Any]:
    """Both texts, and a form that, sent again, knowingly replaces the newer one. Raises NotADraft if it is none now."""
    now = find_version(access, draft.pk)
    if now.state != "draft":
        raise NotADraft
    theirs = policy_form_from(policy_text_of(now), slug=it.slug, everywhere=it.everywhere)
    mine, other = (preview_policy(each, access.tenant, now.version)["yaml"] for each in (it, theirs))
    change = Change(it.slug, f"{it.slug}.yaml", "policy", "modify", before=other, after=mine, language="yaml")
    it.seen = fingerprint(policy_text_of(now))
    return {"moved": diff(change, "unified")}


def _options(titles: dict[str, str], meanings: dict[str, str]) -> list[tuple[str, str, str]]:
    return [(key, title, meanings[key]) for key, title in titles.items()]


def _facts_by_part() -> list[tuple[str, list[dict[str, str]]]]:
    """The facts by the part that they are about, in the order of the schema."""
    parts: dict[str, list[dict[str, str]]] = {}
    for name, fact in FACTS.items():
        parts.setdefault(name.partition(".")[0], []).append({"name": name, "kind": fact.kind, "what": fact.what})
    return list(parts.items())
