"""The approval matrix, and drafts of its rows."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from actions.pages.decorators import require_member
from actions.pages.policies.policy_editor import NEXT_PAGES, draft_backtest_status, parse_count, try_draft_command
from approvals.errors import NotADraft
from approvals.models import TIERS, MatrixDraft
from approvals.policies import drafts
from approvals.policies.matrix import matrix_table
from approvals.policies.permissions import find_matrix_draft, require_may_change_matrix
from approvals.policies.policy_text import issue, to_yaml
from approvals.policies.publish import published_matrix
from approvals.verdict import describe_required_approvals
from audit.changes.document import Change
from audit.changes.render import render_change as diff
from audit.errors import NotFound
from audit.log.canonical_json import digest_of
from audit.web import correlation_of
from tenants.access import access_of
from tenants.models import Environment
from tenants.roles import approving_roles

DENIED, NOBODY, ROLES = "denied", "nobody", "roles"
TIER_CHOICES = ((DENIED, "Denied"), (NOBODY, "No approval"), (ROLES, "These people"))
MAX_DRAFTS = 100
Rows = dict[str, list[dict[str, Any]]]


@dataclass
class TierForm:
    """One tier of the form: what it says, and the count that was typed for each role."""

    tier: str
    says: str = DENIED
    counts: dict[str, str] = field(default_factory=dict)
    issues: list[dict[str, Any]] = field(default_factory=list)

    def required_approvals(self) -> list[dict[str, Any]]:
        asked = {role: text.strip() for role, text in self.counts.items() if text.strip() not in ("", "0")}
        return [{"role": role, "count": parse_count(text)} for role, text in asked.items()]


@require_member
def show_matrix(request: HttpRequest) -> HttpResponse:
    """Environments × tiers as they are in force, and the drafts that are open."""
    access = access_of(request)
    places = Environment.objects.filter(tenant=access.tenant, pk__in=access.environments_where("view")).order_by("slug")
    administered = set(access.environments_where("administer"))
    rows = [{**row, "may_edit": row["environment"].pk in administered} for row in matrix_table(places)]
    open_drafts = MatrixDraft.objects.filter(
        tenant=access.tenant, environment__in=[row["environment"].pk for row in rows], state="draft"
    )
    found = list(open_drafts.select_related("environment", "author").order_by("-id")[:MAX_DRAFTS])
    context = {
        "here": "rules",
        "on": "matrix",
        "rows": rows,
        "tiers": TIERS,
        "administered": administered,
        "drafts": [{"draft": it, "may_edit": it.environment_id in administered} for it in found],
    }
    return render(request, "policies/matrix.html", context)


@require_member
def new_matrix_draft(request: HttpRequest, environment: str) -> HttpResponse:
    """A new draft of an environment's matrix, starting from what is in force."""
    access = access_of(request)
    place = Environment.objects.filter(tenant=access.tenant, slug=environment).first()
    if place is None:
        raise NotFound
    require_may_change_matrix(access, place.tenant_id, place.pk)
    if request.method != "POST":
        return render(
            request, "policies/matrix_editor.html", matrix_editor_context(place, tier_forms(published_matrix(place.pk)))
        )
    typed = read_tier_forms(request.POST)
    wanted, issues = to_matrix_rows(typed)
    made = None
    if not issues:
        made, issues, _ = try_draft_command(
            drafts.draft_matrix, place, wanted, by=access, correlation_id=correlation_of(request)
        )
    if made:
        return _redirect_after_save(request, made)
    return render(
        request, "policies/matrix_editor.html", matrix_editor_context(place, typed, issues=issues), status=422
    )


@require_member
def edit_matrix_draft(request: HttpRequest, draft_id: UUID) -> HttpResponse:
    """A draft, to go on with. Sent from an older state of it, nothing is saved and both are shown."""
    access = access_of(request)
    draft = find_matrix_draft(access, draft_id)
    place = draft.environment
    require_may_change_matrix(access, place.tenant_id, place.pk)
    if request.method != "POST":
        if draft.state != "draft":
            raise NotADraft(remedies=["Draft again from the published matrix: Policies, Approval matrix."])
        return render(
            request, "policies/matrix_editor.html", matrix_editor_context(place, tier_forms(draft.rows), draft=draft)
        )
    typed, seen = read_tier_forms(request.POST), request.POST.get("seen", "")[:64]
    wanted, issues = to_matrix_rows(typed)
    made, moved = None, False
    if not issues:
        made, issues, moved = try_draft_command(
            drafts.edit_matrix_draft, draft.pk, wanted, by=access, seen=seen, correlation_id=correlation_of(request)
        )
    if made:
        return _redirect_after_save(request, made)
    now = find_matrix_draft(access, draft_id)
    context = matrix_editor_context(place, typed, draft=now, issues=issues)
    context |= {"seen": seen} if not moved else {"moved": diff_matrices(place, now.rows, wanted)}
    return render(request, "policies/matrix_editor.html", context, status=409 if moved else 422)


@require_POST
@require_member
def abandon_matrix_draft(request: HttpRequest, draft_id: UUID) -> HttpResponse:
    """Give a draft up."""
    access = access_of(request)
    draft = find_matrix_draft(access, draft_id)
    drafts.abandon_matrix_draft(draft.pk, by=access, correlation_id=correlation_of(request))
    messages.success(request, f"The draft for {draft.environment.slug} was abandoned. Its rows stay in the log.")
    return redirect("matrix")


def matrix_editor_context(
    place: Environment,
    typed: list[TierForm],
    *,
    draft: MatrixDraft | None = None,
    issues: Iterable[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The editor of one environment. What would change is shown as far as the form reads."""
    found = list(issues)
    able = approving_roles(place)
    for it in typed:
        it.issues = [each for each in found if each["field"] in (f"rows.{it.tier}", it.tier)]
        named = [*sorted(able), *sorted(set(it.counts) - able)]
        it.counts = {role: it.counts.get(role, "") for role in named}
    wanted, wrong = to_matrix_rows(typed)
    in_force = published_matrix(place.pk)
    return {
        "here": "rules",
        "on": "matrix",
        "place": place,
        "draft": draft,
        "typed": typed,
        "says": TIER_CHOICES,
        "able": able,
        "tested": draft_backtest_status("matrix", draft.pk) if draft else None,
        "issues": found,
        "seen": digest_of(draft.rows) if draft else "",
        "loose": [each for each in found if each["field"] not in (*TIERS, *(f"rows.{tier}" for tier in TIERS))],
        "change": None if wrong or wanted == in_force else diff_matrices(place, in_force, wanted),
    }


def tier_forms(rows: Rows) -> list[TierForm]:
    """What is in force, or a draft, as the form shows it."""
    found = []
    for tier in TIERS:
        required_approvals = rows.get(tier)
        says = DENIED if required_approvals is None else ROLES if required_approvals else NOBODY
        found.append(
            TierForm(tier, says, {required["role"]: str(required["count"]) for required in required_approvals or ()})
        )
    return found


def read_tier_forms(post: QueryDict) -> list[TierForm]:
    """What the form holds, as typed: `<tier>` says which, `<tier>:<role>` how many."""
    found = []
    for tier in TIERS:
        start = f"{tier}:"
        counts = {key.removeprefix(start)[:64]: str(post[key])[:8] for key in post if key.startswith(start)}
        found.append(TierForm(tier, str(post.get(tier, "")), {role: _plain(text) for role, text in counts.items()}))
    return found


def to_matrix_rows(typed: Iterable[TierForm]) -> tuple[Rows, list[dict[str, Any]]]:
    """The rows that the form stands for, and what is wrong with it. A tier that denies has no row."""
    rows: Rows = {}
    issues = []
    for it in typed:
        if it.says == NOBODY:
            rows[it.tier] = []
        elif it.says == ROLES and it.required_approvals():
            rows[it.tier] = it.required_approvals()
        elif it.says == ROLES:
            issues.append(issue("Give roles and counts, or choose “No approval”.", it.tier))
        elif it.says != DENIED:
            issues.append(issue("Choose one: denied, no approval, or required approvals.", it.tier))
    return rows, issues


def diff_matrices(place: Environment, before: Rows, after: Rows) -> SafeString:
    """Two matrices of one environment as reviewers compare them."""
    name = f"matrix/{place.slug}.yaml"
    texts = (matrix_as_yaml(rows) for rows in (before, after))
    old, new = texts
    return diff(Change(name, name, "matrix", "modify", before=old, after=new, language="yaml"), "unified")


def matrix_as_yaml(rows: Rows) -> str:
    said = {
        tier: DENIED if tier not in rows else describe_required_approvals(rows[tier]) or "no approval" for tier in TIERS
    }
    return to_yaml(said)


def _plain(text: str) -> str:
    return text.replace("\x00", "")


def _redirect_after_save(request: HttpRequest, made: MatrixDraft) -> HttpResponse:
    then = request.POST.get("then", "")
    if then in NEXT_PAGES:
        return redirect(f"/policies/matrix/{made.pk}/{then}/")
    messages.success(request, "Saved as a draft. It has no effect until it is proposed and approved.")
    return redirect(reverse("matrix_draft", args=[made.pk]))
