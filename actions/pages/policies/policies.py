"""The list of policies, and one policy with the history of its versions."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString

from actions.models import Action
from actions.pages.decorators import require_member
from actions.queries.activity import actor_names
from approvals.models import Policy, PolicyVersion
from approvals.policies.permissions import find_policy, may_read, readable_policies
from approvals.policies.policy_text import (
    EFFECT_TITLES,
    PolicyText,
    as_yaml,
    describe_effect,
    describe_overridable,
    describe_policy,
    describe_shadow_effect,
    policy_text_of,
)
from audit.changes.document import Change
from audit.changes.render import render_change as diff
from audit.database.clock import database_time
from audit.errors import NotFound
from audit.models import Event
from tenants.access import Access, access_of, visible_to
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


# One policy: every version against the one before it, its author, and the action that published it.


MAX_VERSIONS, MAX_EVENTS = 50, 100
VERSION_STATES = {"published": "In force", "draft": "Draft", "retired": "Retired", "abandoned": "Abandoned"}
SENTENCES = {
    "policy.drafted": ("", "drafted version {version}"),
    "policy.draft_edited": ("", "reworded version {version}"),
    "policy.draft_abandoned": ("warn", "abandoned version {version}"),
    "policy.published": ("ok", "put version {after} in force{instead}"),
    "policy.retired": ("warn", "took version {before} out of force"),
    "backtest.started": ("run", "started a backtest"),
    "backtest.finished": ("ok", "finished a backtest"),
    "backtest.cancelled": ("warn", "cancelled a backtest"),
}
"""Verb → hue and sentence."""


@dataclass
class VersionView:
    """One version with what changed since the one before. `action` is only set where the reader may look at it."""

    version: PolicyVersion
    standing: str
    sentence: str
    hardness: str
    diff: SafeString
    adds: int
    dels: int
    author: str
    action: UUID | None


@require_member
def show_policy(request: HttpRequest, policy_id: UUID) -> HttpResponse:
    """The page of one policy. Who may not administer reads it."""
    access = access_of(request)
    found = find_policy(access, policy_id)
    versions = fetch_versions(access, found)
    if not versions:
        raise NotFound
    is_home = found.home_id == access.tenant.pk
    in_force = next((it for it in versions if it.version.state == "published"), None)
    context = {
        "here": "rules",
        "on": "policies",
        "policy": found,
        "versions": versions,
        "in_force": in_force,
        "latest": in_force or versions[0],
        "is_home": is_home,
        "may_edit": is_home and access.can("administer"),
        "events": fetch_policy_events(found) if is_home else [],
        "is_cut": len(versions) >= MAX_VERSIONS,
        "most": MAX_VERSIONS,
    }
    return render(request, "policies/policy.html", context)


def fetch_versions(access: Access, found: Policy) -> list[VersionView]:
    """The newest versions that the reader may read, newest first, each against the last that counted before it."""
    newest = list(found.versions.select_related("author").order_by("-version")[:MAX_VERSIONS])
    for version in newest:
        version.policy = found
    readable = [version for version in newest if may_read(access, version)]
    is_home = found.home_id == access.tenant.pk
    seen = _visible_actions(access, readable) if is_home else set()
    out = []
    for n, version in enumerate(readable):
        before = next((it for it in readable[n + 1 :] if it.state != "abandoned"), None)
        out.append(_version_view(version, before, is_home, seen))
    return out


def _version_view(version: PolicyVersion, before: PolicyVersion | None, is_home: bool, seen: set[UUID]) -> VersionView:
    name, said = f"{version.policy.slug}.yaml", policy_text_of(version)
    old = as_yaml(before) if before else None
    operation = "modify" if before else "create"
    change = Change(name, name, "policy", operation, before=old, after=as_yaml(version), language="yaml")
    action = version.published_by_action
    return VersionView(
        version,
        VERSION_STATES[version.state],
        describe_policy(said),
        describe_overridable(said.effect, said.overridable)[0],
        diff(change, "unified"),
        change.adds,
        change.dels,
        (str(version.author) if version.author else "Setup") if is_home else "",
        action if action in seen else None,
    )


def _visible_actions(access: Access, versions: list[PolicyVersion]) -> set[UUID]:
    named = {version.published_by_action for version in versions if version.published_by_action}
    return set(visible_to(Action.objects.filter(pk__in=named), access).values_list("pk", flat=True)) if named else set()


def fetch_policy_events(found: Policy) -> list[dict[str, Any]]:
    """What happened to a policy of this tenant, newest first, in sentences. Two queries."""
    newest = Event.objects.filter(tenant=found.home_id, subject_kind="policy", subject_id=found.pk).order_by("-seq")
    events = [(event, json.loads(bytes(event.body))["facts"]) for event in newest[:MAX_EVENTS]]
    names = actor_names({event.actor for event, _ in events})
    return [_describe_event(event, facts, names) for event, facts in events]


def _describe_event(event: Event, facts: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    hue, words = SENTENCES.get(event.verb, ("", event.verb.replace(".", ": ").replace("_", " ")))
    before, after = ((facts.get(side) or {}).get("version") for side in ("before", "after"))
    said = words.format(
        version=facts.get("version", ""),
        before=before,
        after=after,
        instead=f" instead of version {before}" if before and after else "",
    )
    return {"at": event.at, "hue": hue, "who": names.get(event.actor, event.actor), "what": said, "verb": event.verb}
