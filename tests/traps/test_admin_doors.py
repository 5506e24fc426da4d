"""Rules in the admin are drafts: no raw form, bulk action or address makes one of them come into force, or go."""

from typing import Any

import pytest
from django.test import Client

from approvals.models import MatrixDraft, MatrixRow, PolicyVersion
from approvals.policies.active_policies import active_policies_for, epoch_of
from approvals.policies.drafts import draft_matrix
from approvals.policies.matrix import matrix_for
from audit.models import Event
from tests.policies.factory import SETUP, TWO, drafted, published
from tests.traps.world import World

IN_FORCE = {
    "state": "published",
    "version": "1",
    "published_at_0": "2026-01-01",
    "published_at_1": "00:00",
    "policy": "",
    "published_by_action": "01930000-0000-7000-8000-000000000001",
    "_save": "Save",
    "post": "yes",
}
WORDING = {"expression": "false", "effect": "warn", "message": "Ha.", "mode": "shadow", "overridable": "on"}
ROWS = {f"{tier}_rule": "nobody" for tier in ("low", "medium", "high", "critical")}
BULK = ("delete_selected", "abandon", "publish", "retire", "make_published")


@pytest.fixture
def world(cast) -> World:
    world = World(cast)
    world.required_approvals(TWO)
    return world


@pytest.fixture
def client(world) -> Client:
    """The superuser, who administers the tenant besides."""
    return world.cast.client("admin")


def rules_of(world: World) -> tuple[Any, ...]:
    tenant = [world.cast.acme.pk]
    return (
        active_policies_for(tenant),
        matrix_for(tenant),
        epoch_of(tenant[0]),
        [*MatrixRow.objects.order_by("pk").values()],
    )


def moved() -> list[str]:
    """What the log says was put in force, or out of it."""
    verbs = Event.objects.exclude(actor=SETUP).values_list("verb", flat=True)
    return [v for v in verbs if v.startswith(("policy.p", "policy.r", "matrix.p", "matrix.row", "matrix.rec"))]


@pytest.mark.parametrize("kind", ["policyversion", "matrixdraft"])
@pytest.mark.parametrize("state", ["draft", "published", "retired"])
def test_no_form_puts_a_rule_in_force_or_out_of_it(world, client, kind, state):
    before, obj = lay(world, kind, state)
    form = {**IN_FORCE, **(WORDING if kind == "policyversion" else ROWS)}
    base = f"/admin/approvals/{kind}/"
    for address in ("change/", "delete/", "history/", "publish/", "propose/", ""):
        client.post(f"{base}{obj.pk}/{address}", form)
    for bulk in BULK:
        chosen = {"action": bulk, "_selected_action": [str(obj.pk)], "select_across": "1", "post": "yes"}
        client.post(base, {**chosen, "form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-state": "published"})
    now = type(obj).objects.get(pk=obj.pk)
    assert rules_of(world) == before and moved() == []
    if state == "draft":
        assert now.state == "abandoned", "abandoning it is all that worked, besides rewording it"
    else:
        assert {k: v for k, v in vars(now).items() if k != "_state"} == {
            k: v for k, v in vars(obj).items() if k in vars(now) and k != "_state"
        }


@pytest.mark.parametrize("kind", ["policyversion", "matrixdraft"])
def test_what_is_added_is_a_draft_whatever_the_form_says(world, client, kind):
    before = rules_of(world)
    place = (
        {"home": world.cast.acme.pk, "slug": "sly"} if kind == "policyversion" else {"environment": world.cast.prod.pk}
    )
    client.post(
        f"/admin/approvals/{kind}/add/", {**IN_FORCE, **place, **(WORDING if kind == "policyversion" else ROWS)}
    )
    made = (PolicyVersion if kind == "policyversion" else MatrixDraft).objects.get()
    assert (made.state, made.published_at, made.published_by_action) == ("draft", None, None)
    assert rules_of(world) == before and moved() == []


def lay(world: World, kind: str, state: str) -> tuple[tuple[Any, ...], Any]:
    """The rules before, and a policy version or matrix draft in that state."""
    acme = world.cast.acme
    if kind == "matrixdraft":
        draft = draft_matrix(world.cast.prod, {"high": TWO}, by=SETUP)
        if state != "draft":
            MatrixDraft.objects.filter(pk=draft.pk).update(state=state, published_at="2026-11-01T00:00:00Z")
        return rules_of(world), MatrixDraft.objects.get(pk=draft.pk)
    version = drafted(acme) if state == "draft" else published(acme)
    if state == "retired":
        published(acme, mode="shadow")
    return rules_of(world), PolicyVersion.objects.get(pk=version.pk)
