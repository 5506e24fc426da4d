"""The rules of a tenant at a glance: each policy, what it does, and whether it counts."""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from actions.models import Action
from actions.pages.decorators import access_of, require_member
from approvals.models import Policy, PolicyVersion
from approvals.policies.permissions import may_read, readable_policies
from approvals.policies.policy_text import (
    EFFECT_TITLES,
    PolicyText,
    describe_effect,
    describe_overridable,
    describe_shadow_effect,
)
from audit.database.clock import database_time
from tenants.access import Access, visible_to
from tenants.roles import approving_roles_in_tenant

MAX_POLICIES, MAX_COUNTED, DAYS = 500, 1_000, 30
STATUSES = {"in_force": "In force", "draft": "With drafts", "none": "Not in force"}


@dataclass
class PolicyRow:
    """One policy as the list shows it. `shown` is what is in force, else the newest draft or retired version."""

    policy: Policy
    in_force: PolicyVersion | None
    drafts: list[PolicyVersion]
    shown: PolicyVersion
    is_home: bool
    fired: int = 0

    @property
    def words(self) -> str:
        it = self.shown
        said = (
            describe_shadow_effect(it.effect, it.required_approvals)
            if it.mode == "shadow"
            else describe_effect(it.effect, it.required_approvals)
        )
        return said[0].upper() + said[1:]

    @property
    def hardness(self) -> str:
        return describe_overridable(self.shown.effect, self.shown.overridable)[0]

    @property
    def standing(self) -> str:
        return "in_force" if self.in_force else "draft" if self.drafts else "none"


@require_member
def list_policies(request: HttpRequest) -> HttpResponse:
    """The list, narrowed by text, effect, mode and standing."""
    access = access_of(request)
    asked = {name: request.GET.get(name, "")[:200].strip() for name in ("q", "effect", "mode", "standing")}
    everything = fetch_policies(access)
    found = [it for it in everything if matches_filters(it, asked)]
    context = {
        "here": "rules",
        "on": "policies",
        "asked": asked,
        "rows": found,
        "total": len(everything),
        "may_draft": access.can("administer"),
        "examples": example_policies(access) if not everything else [],
        "counted": count_fired(access, found),
        "days": DAYS,
        "menus": MENUS,
    }
    return render(request, "policies/policies.html", context)


MENUS = (
    ("effect", "Effect", tuple(EFFECT_TITLES.items())),
    ("mode", "Mode", (("enforce", "Enforce"), ("shadow", "Shadow"))),
    ("standing", "Standing", tuple(STATUSES.items())),
)


def fetch_policies(access: Access) -> list[PolicyRow]:
    """The policies that the reader may see, own and global, by name; drafts of global ones at their home only."""
    ordered = Policy.objects.filter(readable_policies(access)).select_related("tenant", "home").order_by("slug", "id")
    versions = PolicyVersion.objects.exclude(state="abandoned").order_by("-version")
    found = []
    for policy in ordered.prefetch_related(Prefetch("versions", versions, to_attr="shown"))[:MAX_POLICIES]:
        for version in policy.shown:
            version.policy = policy
        seen = [version for version in policy.shown if may_read(access, version)]
        if seen:
            found.append(_policy_row(policy, seen, policy.home_id == access.tenant.pk))
    return [it for it in found if it.is_home or it.in_force]


def _policy_row(policy: Policy, seen: list[PolicyVersion], is_home: bool) -> PolicyRow:
    in_force = next((version for version in seen if version.state == "published"), None)
    drafts = [version for version in seen if version.state == "draft"]
    return PolicyRow(policy, in_force, drafts, in_force or seen[0], is_home)


def matches_filters(it: PolicyRow, asked: dict[str, str]) -> bool:
    text = f"{it.policy.slug} {it.shown.message} {it.shown.expression}".casefold()
    return (
        asked["q"].casefold() in text
        and asked["effect"] in ("", it.shown.effect)
        and asked["mode"] in ("", it.shown.mode)
        and (asked["standing"] in ("", it.standing) or (asked["standing"] == "draft" and bool(it.drafts)))
    )


def count_fired(access: Access, rows: list[PolicyRow]) -> int:
    """Set how often each policy applied, on the newest actions of the last 30 days that the reader may view.

    Returns how many were looked at; one query over at most 1,000 rows, which reads no more than the policy_results.
    """
    if not rows:
        return 0
    since = database_time() - timedelta(days=DAYS)
    oldest = UUID(int=int(since.timestamp() * 1000) << 80)
    recent = visible_to(Action.objects.filter(pk__gte=oldest, plan__isnull=False), access).order_by("-pk")
    looked = list(recent.values_list("plan__verdict__policy_results", flat=True)[:MAX_COUNTED])
    fired = Counter(
        r["policy"] for policy_results in looked for r in policy_results or () if r["value"] is not False or r["error"]
    )
    for row in rows:
        row.fired = fired[str(row.policy.pk)]
    return len(looked)


def example_policies(access: Access) -> list[dict[str, Any]]:
    """Three policies to start from: a denial, a second pair of eyes, and a warning that is only tried."""
    roles = sorted(approving_roles_in_tenant(access.tenant.pk))
    eyes = "security" if "security" in roles else next(iter(roles), "approver")
    return [
        {
            "slug": "no-deletes-in-dangerous-places",
            "title": "Nothing is deleted where it hurts",
            "policy_text": PolicyText(
                'environment.risk_class == "dangerous"\n  && plan.deletes > 0',
                "deny",
                "Nothing is deleted here. Archive it first, and delete the archive later.",
            ),
        },
        {
            "slug": "second-pair-of-eyes-at-night",
            "title": "A second pair of eyes at night",
            "policy_text": PolicyText(
                'blast.tier in ["high", "critical"]\n'
                '  && (now.getHours("UTC") >= 20\n      || now.getHours("UTC") < 6)',
                "require",
                "At night one more person looks at what can hurt.",
                [{"role": eyes, "count": 1}],
                True,
            ),
        },
        {
            "slug": "agents-touch-few-things",
            "title": "Agents touch few things at once",
            "policy_text": PolicyText(
                'requester.kind == "agent"\n  && plan.resources > 5',
                "deny",
                "An agent touches at most five resources at once. Split it.",
                mode="shadow",
            ),
        },
    ]
