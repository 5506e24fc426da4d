"""The matrix: written through one door, read by the judge, the API and the admin."""

import json

import pytest
from django.urls import reverse

from approvals.models import MatrixRow
from approvals.policies.matrix import matrix_for, remove_row, set_row
from audit.errors import Invalid
from audit.models import Event
from tenants.roles import add_member, grant

pytestmark = pytest.mark.dialect

TWO = [{"role": "approver", "count": 2}]
MIXED = [{"role": "approver", "count": 1}, {"role": "security", "count": 1}]
CHANGES = reverse("admin:approvals_matrixrow_changelist")


def recorded() -> list[tuple[str, str, dict]]:
    events = Event.objects.filter(subject_kind="matrix_row").order_by("id")
    return [(event.verb, event.actor, json.loads(bytes(event.body))["facts"]) for event in events]


def test_writing_a_row_leaves_before_and_after(cast):
    rule = set_row(cast.prod, "high", TWO, by="system:setup")
    set_row(cast.prod, "high", MIXED, by="system:setup")
    set_row(cast.prod, "high", MIXED, by="system:setup")
    remove_row(rule, by="system:setup")
    remove_row(rule, by="system:setup")
    facts = {"environment": str(cast.prod.pk), "tier": "high"}
    assert recorded() == [
        ("matrix.row_added", "system:setup", {**facts, "before": None, "after": TWO}),
        ("matrix.row_changed", "system:setup", {**facts, "before": TWO, "after": MIXED}),
        ("matrix.row_removed", "system:setup", {**facts, "before": MIXED, "after": None}),
    ]
    assert not MatrixRow.objects.exists()


def test_the_judge_reads_the_rows_of_many_tenants_at_once(cast, django_assert_num_queries):
    set_row(cast.prod, "high", TWO, by="system:setup")
    set_row(cast.prod, "low", [], by="system:setup")
    set_row(cast.dev, "low", MIXED, by="system:setup")
    set_row(cast.globex_prod, "low", TWO, by="system:setup")
    with django_assert_num_queries(1):
        assert matrix_for([cast.acme.pk]) == {cast.prod.pk: {"high": TWO, "low": []}, cast.dev.pk: {"low": MIXED}}
    assert set(matrix_for([cast.acme.pk, cast.globex.pk])) == {cast.prod.pk, cast.dev.pk, cast.globex_prod.pk}
    assert matrix_for([]) == {}


@pytest.mark.parametrize(
    ("tier", "required_approvals"),
    [
        ("high", [{"role": "auditor", "count": 1}]),
        ("high", [{"role": "nobody", "count": 1}]),
        ("high", [{"role": "approver", "count": 0}]),
        ("high", "approver"),
        ("extreme", TWO),
    ],
)
def test_a_row_that_could_never_be_filled_is_not_written(cast, tier, required_approvals):
    with pytest.raises(Invalid) as error:
        set_row(cast.prod, tier, required_approvals, by="system:setup")
    assert error.value.extra["issues"] and not MatrixRow.objects.exists() and recorded() == []


def test_a_role_that_may_approve_here_only_is_offered_a_approval_here_only(cast):
    grant(cast.roles["operator"], cast.dev, ["approve"])
    set_row(cast.dev, "low", [{"role": "operator", "count": 1}], by="system:setup")
    with pytest.raises(Invalid):
        set_row(cast.prod, "low", [{"role": "operator", "count": 1}], by="system:setup")


@pytest.fixture
def admin(cast):
    """The tenant's admin, who is no superuser."""
    cast.operator.is_staff = True
    cast.operator.save()
    add_member(cast.operator, cast.roles["admin"])
    return cast.client("operator")


def test_a_tenant_admin_sees_every_tier_and_what_is_denied(cast, admin):
    set_row(cast.prod, "high", TWO, by="system:setup")
    set_row(cast.dev, "low", [], by="system:setup")
    set_row(cast.globex_prod, "low", TWO, by="system:setup")
    page = admin.get(CHANGES)
    body = page.content.decode()
    assert page.status_code == 200 and body.count("<b>denied</b>") == 10
    assert "2 × approver" in body and "no approval" in body and "Globex" not in body
    assert f"{reverse('admin:approvals_matrixdraft_add')}?environment={cast.prod.pk}" in body


def test_the_admin_changes_no_row_in_place(cast, admin):
    rule = set_row(cast.prod, "high", [{"role": "security", "count": 2}], by="system:setup")
    row = {name: reverse(f"admin:approvals_matrixrow_{name}", args=[rule.pk]) for name in ("change", "delete")}
    assert "2 × security required, 1 hold the role" in admin.get(row["change"]).content.decode()
    assert admin.post(row["change"], {"approvals_0": "approver", "approvals_1": "1"}).status_code == 403
    assert admin.post(row["delete"], {"post": "yes"}).status_code == 403
    assert admin.get(reverse("admin:approvals_matrixrow_add")).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(rule.pk)], "post": "yes"}
    admin.post(CHANGES, chosen)
    assert MatrixRow.objects.get().required_approvals == [{"role": "security", "count": 2}]
    assert [verb for verb, _, _ in recorded()] == ["matrix.row_added"]


def test_a_tenant_admin_reaches_no_other_tenants_rows(cast, admin):
    foreign = set_row(cast.globex_prod, "high", TWO, by="system:setup")
    for name in ("change", "delete", "history"):
        url = reverse(f"admin:approvals_matrixrow_{name}", args=[foreign.pk])
        assert admin.get(url).status_code in (302, 403, 404)


def test_a_superuser_who_administers_nothing_sees_no_matrix(cast):
    from tenants.roles import remove_member

    remove_member(cast.admin, cast.roles["admin"])
    assert cast.client("admin").get(CHANGES).status_code == 403


@pytest.mark.parametrize("who", ["approver", "operator", "outsider"])
def test_who_administers_nothing_sees_no_matrix(cast, who):
    person = getattr(cast, who)
    person.is_staff = True
    person.save()
    set_row(cast.prod, "high", TWO, by="system:setup")
    assert cast.client(who).get(CHANGES).status_code == 403
