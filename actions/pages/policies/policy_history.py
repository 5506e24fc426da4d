"""The history of a policy: every version against the one before it, who wrote it, and by which action it came."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString

from actions.models import Action
from actions.pages.decorators import access_of, require_member
from actions.queries.activity import actor_names
from approvals.models import Policy, PolicyVersion
from approvals.policies.permissions import find_policy, may_read
from approvals.policies.policy_text import as_yaml, describe_overridable, describe_policy, policy_text_of
from audit.changes.document import Change
from audit.changes.render import render_change as diff
from audit.errors import NotFound
from audit.models import Event
from tenants.access import Access, visible_to

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
