"""The three ways to try: the page as a browser sends it, the API with a token, and every door of the Django admin."""

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.test import Client

from approvals.models import Decision, MatrixRow, Request
from tenants.roles import add_member
from tests.traps.world import Attempt, World

FORGED = ("approvals", "actions", "audit")
"""Nothing of these floors is made or changed in the admin, but for what is theirs."""
THEIRS = {
    "approvals.policyversion",
    "approvals.matrixdraft",
    "approvals.blastweights",
    "approvals.notificationrule",
    "approvals.approvalsettings",
    "actions.concurrencylimit",
    "actions.incidentrule",
    "actions.webhook",
}
"""What tenant admins do change there: drafts (test_admin_doors.py tries to make more), weights, limits, incident
rules.
"""
YES = {"post": "yes"}


@dataclass(frozen=True)
class Answer:
    status: int
    words: str


def page(world: World, tried: Attempt) -> Answer:
    client = world.cast.client(tried.who)
    door = "decide" if tried.verb in ("approve", "reject") else tried.verb
    sent = {"decision": tried.verb, "digest": tried.digest, "comment": "because"}
    answer = client.post(f"/actions/{tried.action.pk}/{door}/", sent)
    return Answer(answer.status_code, html.unescape(answer.content.decode()))


def api(world: World, tried: Attempt) -> Answer:
    body: dict[str, Any] = {"digest": tried.digest}
    if tried.verb in ("approve", "reject"):
        body |= {"approved": tried.verb == "approve", "comment": "because"}
    door = "approve" if tried.verb == "reject" else tried.verb
    client = tried.program or world.cast.api(tried.who)
    answer = client.post(f"/api/actions/{tried.action.pk}/{door}", body, content_type="application/json")
    return Answer(answer.status_code, str(answer.json().get("detail", "")))


def site(world: World, tried: Attempt) -> Answer:
    """As the superuser who administers the tenant, with raw forms: whatever would make the attempt come true."""
    boss = world.cast.admin
    add_member(boss, world.cast.roles["admin"])
    client = world.cast.client("admin")
    got_in = {address: status for address, status in knocked(client, world, tried) if status not in (403, 404, 405)}
    assert got_in == {}, got_in
    return Answer(403, "")


def knocked(client: Client, world: World, tried: Attempt) -> Iterator[tuple[str, int]]:
    """Every model's add, change, delete, history and bulk door, with forms that would forge the outcome."""
    for model in apps.get_models():
        name = model._meta.label_lower
        if model._meta.app_label not in FORGED or name in THEIRS:
            continue
        base = f"/admin/{name.replace('.', '/')}/"
        forged = forgery(world, tried, model)
        some = model._default_manager.order_by("pk").values_list("pk", flat=True)[:1]
        for address, form in [
            (f"{base}add/", forged),
            *[(f"{base}{pk}/{door}/", form) for pk in some for door, form in (("change", forged), ("delete", YES))],
        ]:
            yield address, client.post(address, form).status_code
        if model not in admin.site._registry:
            yield base, client.post(base, forged).status_code


def forgery(world: World, tried: Attempt, model: Any) -> dict[str, Any]:
    """A form that fits the model as well as may be."""
    asked = Request.objects.filter(subject_id=tried.action.pk).first()
    known: dict[Any, dict[str, Any]] = {
        Decision: {"request": asked.pk if asked else "", "principal": world.cast.admin.pk, "approved": "on"},
        Request: {"state": "approved", "required_approvals": "[]"},
        MatrixRow: {"environment": world.cast.prod.pk, "tier": "high", "required_approvals": "[]"},
    }
    usual = {"state": "approved", "digest": tried.digest, "role": "approver", "tenant": world.cast.acme.pk}
    return {**usual, **known.get(model, {}), "_save": "Save", "action": "delete_selected"}


WAYS: dict[str, Callable[[World, Attempt], Answer]] = {"page": page, "api": api, "admin": site}
