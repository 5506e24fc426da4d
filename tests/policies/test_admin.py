"""Rules in the admin: drafts only, of the tenants that one administers, each change with before and after."""

import json

import pytest
from django.urls import reverse

from approvals.models import MatrixDraft, PolicyVersion
from approvals.policies.active_policies import active_policies_for
from approvals.policies.drafts import draft_matrix
from approvals.policies.matrix import matrix_for, set_row
from audit.models import Event
from tenants.roles import add_member, remove_member
from tests.policies.factory import SETUP, TWO, drafted, published

VERSIONS = reverse("admin:approvals_policyversion_changelist")
ADD = reverse("admin:approvals_policyversion_add")
ADD_MATRIX = reverse("admin:approvals_matrixdraft_add")
WORDING = {"expression": "plan.deletes > 0", "effect": "deny", "message": "No.", "mode": "enforce"}
TIERS = ("low", "medium", "high", "critical")


@pytest.fixture
def admin(cast):
    """A tenant's admin, who is no superuser."""
    cast.operator.is_staff = True
    cast.operator.save()
    add_member(cast.operator, cast.roles["admin"])
    return cast.client("operator")


def change(kind: str, obj) -> str:
    return reverse(f"admin:approvals_{kind}_change", args=[obj.pk])


def events(kind: str) -> list[tuple[str, str]]:
    return list(Event.objects.filter(subject_kind=kind).order_by("id").values_list("verb", "actor"))


def matrix_form(**tiers) -> dict[str, str]:
    """low=[] requires no approval, low=[("approver", "2")] these; a tier left out is denied."""
    sent = {}
    for tier in TIERS:
        required_approvals = tiers.get(tier)
        sent[f"{tier}_rule"] = "denied" if required_approvals is None else "roles" if required_approvals else "nobody"
        sent |= {
            f"{tier}_required_approvals_{n}": part
            for n, part in enumerate(part for required in required_approvals or () for part in required)
        }
    return sent


def test_a_policy_is_drafted_and_edited_without_effect(cast, admin):
    response = admin.post(ADD, {"home": str(cast.acme.pk), "slug": "no-deletes", **WORDING}, follow=True)
    assert response.status_code == 200
    version = PolicyVersion.objects.get()
    assert (version.state, version.author, version.policy.slug) == ("draft", cast.operator, "no-deletes")
    required_approvals = {"effect": "require", "required_approvals_0": "approver", "required_approvals_1": "2"}
    page = admin.get(change("policyversion", version)).content.decode()
    assert reverse("propose_policy", args=[version.pk]) in page
    admin.post(change("policyversion", version), {**WORDING, **required_approvals})
    version.refresh_from_db()
    assert (version.effect, version.required_approvals) == ("require", TWO)
    actor = str(cast.operator.pk)
    assert events("policy") == [("policy.drafted", actor), ("policy.draft_edited", actor)]
    facts = json.loads(bytes(Event.objects.get(verb="policy.draft_edited").body))["facts"]
    assert (facts["before"]["effect"], facts["after"]["effect"]) == ("deny", "require")
    assert active_policies_for([cast.acme.pk])[cast.acme.pk] == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"expression": "true &&\n plan.nothing"}, "Line 2, column"),
        ({"effect": "require"}, "Name at least one required approval"),
        ({"required_approvals_0": "approver", "required_approvals_1": "2"}, "Only `require` names required approvals"),
        (
            {"effect": "require", "required_approvals_0": "auditor", "required_approvals_1": "1"},
            "not a role that may approve",
        ),
        ({"slug": "Not A Slug"}, "Use lower-case letters, digits"),
        ({"everywhere": "on"}, "Only a signed-in person who administers"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_drafted(cast, admin, fields, says):
    page = admin.post(ADD, {"home": str(cast.acme.pk), "slug": "no-deletes", **WORDING, **fields})
    assert page.status_code == 200 and says in page.content.decode()
    assert not PolicyVersion.objects.exists() and events("policy") == []


def test_what_was_published_is_only_read(cast, admin):
    version = published(cast.acme)
    page = admin.get(change("policyversion", version)).content.decode()
    assert "expression: plan.deletes" in page and 'name="expression"' not in page
    assert reverse("propose_retirement", args=[version.pk]) in page
    assert admin.post(change("policyversion", version), {**WORDING, "effect": "warn"}).status_code == 403
    assert (
        admin.post(reverse("admin:approvals_policyversion_delete", args=[version.pk]), {"post": "yes"}).status_code
        == 403
    )
    version.refresh_from_db()
    assert (version.effect, version.state) == ("deny", "published")


def test_drafts_are_abandoned_and_nothing_else_is(cast, admin):
    version, draft = published(cast.acme), drafted(cast.acme)
    chosen = {"action": "abandon", "_selected_action": [str(version.pk), str(draft.pk)]}
    admin.post(VERSIONS, chosen)
    assert [v.state for v in PolicyVersion.objects.order_by("version")] == ["published", "abandoned"]
    assert events("policy")[-1] == ("policy.draft_abandoned", str(cast.operator.pk))


def test_a_matrix_is_drafted_from_what_is_in_force(cast, admin):
    set_row(cast.prod, "high", TWO, by=SETUP)
    page = admin.get(f"{ADD_MATRIX}?environment={cast.prod.pk}").content.decode()
    assert 'value="approver" selected' in page
    sent = {"environment": str(cast.prod.pk), **matrix_form(low=[], critical=[("approver", "2")])}
    admin.post(ADD_MATRIX, sent)
    draft = MatrixDraft.objects.get()
    assert (draft.rows, draft.state, draft.author) == ({"low": [], "critical": TWO}, "draft", cast.operator)
    assert reverse("propose_matrix", args=[draft.pk]) in admin.get(change("matrixdraft", draft)).content.decode()
    admin.post(change("matrixdraft", draft), matrix_form(critical=[("approver", "2")]))
    draft.refresh_from_db()
    assert draft.rows == {"critical": TWO}
    assert matrix_for([cast.acme.pk]) == {cast.prod.pk: {"high": TWO}}
    actor = str(cast.operator.pk)
    assert events("matrix") == [("matrix.drafted", actor), ("matrix.draft_edited", actor)]


@pytest.mark.parametrize(
    ("tiers", "more", "says"),
    [
        ({"low": [("auditor", "1")]}, {}, "may not approve in prod"),
        ({}, {"low_rule": "roles"}, "Name roles only where approvals are required"),
        ({"low": [("approver", "1")]}, {"low_rule": "nobody"}, "Name roles only where approvals are required"),
        ({"low": [("approver", "")]}, {}, "Enter how many people of the role approver"),
    ],
)
def test_a_matrix_that_cannot_be_is_explained(cast, admin, tiers, more, says):
    page = admin.post(ADD_MATRIX, {"environment": str(cast.prod.pk), **matrix_form(**tiers), **more})
    assert page.status_code == 200 and says in page.content.decode()
    assert not MatrixDraft.objects.exists() and events("matrix") == []


def test_another_tenants_drafts_are_not_there(cast, admin):
    version, draft = drafted(cast.globex, "theirs"), draft_matrix(cast.globex_prod, {}, by=SETUP)
    for kind, obj in (("policyversion", version), ("matrixdraft", draft)):
        for name in ("change", "delete", "history"):
            address = reverse(f"admin:approvals_{kind}_{name}", args=[obj.pk])
            assert admin.get(address).status_code in (302, 403, 404)
            assert admin.post(address, {**WORDING, "post": "yes"}).status_code in (302, 403, 404)
    assert "theirs" not in admin.get(VERSIONS).content.decode()
    page = admin.post(ADD, {"home": str(cast.globex.pk), "slug": "mine", **WORDING})
    assert "not one of the available choices" in page.content.decode()
    page = admin.post(ADD_MATRIX, {"environment": str(cast.globex_prod.pk), **matrix_form(low=[])})
    assert "not one of the available choices" in page.content.decode()
    assert PolicyVersion.objects.count() == MatrixDraft.objects.count() == 1


def test_rules_stand_beside_what_else_a_tenant_admin_administers(cast, admin):
    page = admin.get(reverse("admin:index"))
    body = page.content.decode()
    assert page.status_code == 200
    assert VERSIONS in body and reverse("admin:tenants_environment_changelist") in body


def test_a_superuser_who_administers_nothing_drafts_nothing(cast):
    remove_member(cast.admin, cast.roles["admin"])
    drafted(cast.acme)
    client = cast.client("admin")
    assert client.get(VERSIONS).status_code == 403
    assert client.post(ADD, {"home": str(cast.acme.pk), "slug": "mine", **WORDING}).status_code == 403
    assert PolicyVersion.objects.count() == 1


@pytest.mark.parametrize("who", ["approver", "auditor", "outsider"])
def test_who_administers_nothing_drafts_nothing(cast, who):
    person = getattr(cast, who)
    person.is_staff = True
    person.save()
    client = cast.client(who)
    assert client.get(VERSIONS).status_code == 403
    assert client.post(ADD, {"home": str(cast.acme.pk), "slug": "mine", **WORDING}).status_code == 403
    assert client.post(ADD_MATRIX, {"environment": str(cast.prod.pk), **matrix_form(low=[])}).status_code == 403
    assert not PolicyVersion.objects.exists() and not MatrixDraft.objects.exists()
