"""The matrix: written through one door, read by the judge, the API and the admin."""

import json

import pytest
from django.urls import reverse

from approvals.matrix import drop_row, matrix_for, set_row
from approvals.models import ApprovalRule
from audit.errors import Invalid
from audit.models import Event
from tenants.roles import add_member, grant

TWO = [{"role": "approver", "count": 2}]
MIXED = [{"role": "approver", "count": 1}, {"role": "security", "count": 1}]
CHANGES = reverse("admin:approvals_approvalrule_changelist")
ADD = reverse("admin:approvals_approvalrule_add")


def recorded() -> list[tuple[str, str, dict]]:
    events = Event.objects.filter(subject_kind="approval_rule").order_by("id")
    return [(event.verb, event.actor, json.loads(bytes(event.body))["facts"]) for event in events]


def test_writing_a_row_leaves_before_and_after(cast):
    rule = set_row(cast.prod, "high", TWO, by="system:setup")
    set_row(cast.prod, "high", MIXED, by="system:setup")
    set_row(cast.prod, "high", MIXED, by="system:setup")
    drop_row(rule, by="system:setup")
    drop_row(rule, by="system:setup")
    facts = {"environment": str(cast.prod.pk), "tier": "high"}
    assert recorded() == [
        ("matrix.row_added", "system:setup", {**facts, "before": None, "after": TWO}),
        ("matrix.row_changed", "system:setup", {**facts, "before": TWO, "after": MIXED}),
        ("matrix.row_removed", "system:setup", {**facts, "before": MIXED, "after": None}),
    ]
    assert not ApprovalRule.objects.exists()


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
    ("tier", "seats"),
    [
        ("high", [{"role": "auditor", "count": 1}]),
        ("high", [{"role": "nobody", "count": 1}]),
        ("high", [{"role": "approver", "count": 0}]),
        ("high", "approver"),
        ("extreme", TWO),
    ],
)
def test_a_row_that_could_never_be_filled_is_not_written(cast, tier, seats):
    with pytest.raises(Invalid) as error:
        set_row(cast.prod, tier, seats, by="system:setup")
    assert error.value.extra["issues"] and not ApprovalRule.objects.exists() and recorded() == []


def test_a_role_that_may_approve_here_only_is_offered_a_seat_here_only(cast):
    grant(cast.roles["operator"], cast.dev, ["approve"])
    set_row(cast.dev, "low", [{"role": "operator", "count": 1}], by="system:setup")
    with pytest.raises(Invalid):
        set_row(cast.prod, "low", [{"role": "operator", "count": 1}], by="system:setup")


def form(environment, tier="high", *seats, **more):
    lines = {f"seats_{n}": part for n, part in enumerate(part for seat in seats for part in seat)}
    return {"environment": str(environment.pk), "tier": tier, **lines, **more}


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
    assert "2 × approver" in body and "nobody is asked" in body and "Globex" not in body
    assert f"{ADD}?environment={cast.prod.pk}&amp;tier=low" in body


def test_a_tenant_admin_adds_changes_and_removes_a_row(cast, admin):
    response = admin.post(ADD, form(cast.prod, "high", ("approver", "2")), follow=True)
    rule = ApprovalRule.objects.get()
    assert response.status_code == 200 and (rule.seats, rule.tenant_id) == (TWO, cast.acme.pk)
    change = reverse("admin:approvals_approvalrule_change", args=[rule.pk])
    assert 'value="approver" selected' in admin.get(change).content.decode()
    admin.post(change, form(cast.dev, "low", ("approver", "1"), ("security", "1")))
    rule.refresh_from_db()
    assert (rule.seats, rule.environment, rule.tier) == (MIXED, cast.prod, "high")
    admin.post(reverse("admin:approvals_approvalrule_delete", args=[rule.pk]), {"post": "yes"})
    assert not ApprovalRule.objects.exists()
    assert [(verb, actor) for verb, actor, _ in recorded()] == [
        (f"matrix.row_{what}", str(cast.operator.pk)) for what in ("added", "changed", "removed")
    ]


def test_removing_many_rows_at_once_leaves_an_event_for_each(cast, admin):
    rules = [set_row(cast.prod, tier, TWO, by="system:setup") for tier in ("low", "high")]
    chosen = {"action": "delete_selected", "_selected_action": [str(rule.pk) for rule in rules], "post": "yes"}
    admin.post(CHANGES, chosen)
    assert not ApprovalRule.objects.exists()
    assert [verb for verb, _, _ in recorded()].count("matrix.row_removed") == 2


@pytest.mark.parametrize(
    ("seats", "more", "says"),
    [
        ([], {}, "Name at least one role, or say that nobody is asked"),
        ([("approver", "1")], {"asks_nobody": "on"}, "Either nobody is asked, or these roles are"),
        ([("auditor", "1")], {}, "May not approve in prod, so could never: auditor"),
        ([("approver", "")], {}, "How many people of the role approver"),
        ([("", "2")], {}, "2 people of which role"),
        ([("approver", "0")], {}, "greater than or equal to 1"),
        ([("approver", "21")], {}, "less than or equal to 20"),
    ],
)
def test_a_row_that_says_too_little_or_too_much_is_explained(cast, admin, seats, more, says):
    page = admin.post(ADD, form(cast.prod, "high", *seats, **more))
    assert page.status_code == 200 and says in page.content.decode()
    assert not ApprovalRule.objects.exists() and recorded() == []


def test_nobody_is_asked_only_when_that_is_said(cast, admin):
    admin.post(ADD, form(cast.prod, "low", asks_nobody="on"))
    assert ApprovalRule.objects.get().seats == []
    assert recorded()[0][2]["after"] == []


def test_a_second_row_for_the_same_tier_is_refused(cast, admin):
    set_row(cast.prod, "high", TWO, by="system:setup")
    page = admin.post(ADD, form(cast.prod, "high", ("security", "1")))
    assert "already has a row for this tier" in page.content.decode()
    assert ApprovalRule.objects.get().seats == TWO


def test_asking_for_more_people_than_there_are_is_allowed_but_said(cast, admin):
    page = admin.post(ADD, form(cast.prod, "critical", ("security", "2")), follow=True)
    assert "asks for 2 × security, but 1 hold that role in prod" in page.content.decode()
    assert ApprovalRule.objects.get().seats == [{"role": "security", "count": 2}]


def test_a_tenant_admin_reaches_no_other_tenants_rows(cast, admin):
    foreign = set_row(cast.globex_prod, "high", TWO, by="system:setup")
    for name in ("change", "delete", "history"):
        url = reverse(f"admin:approvals_approvalrule_{name}", args=[foreign.pk])
        assert admin.get(url).status_code in (302, 403, 404)
        assert admin.post(url, {**form(cast.prod, "low"), "post": "yes"}).status_code in (302, 403, 404)
    page = admin.post(ADD, form(cast.globex_prod, "low", ("approver", "1")))
    assert page.status_code == 200 and "not one of the available choices" in page.content.decode()
    assert ApprovalRule.objects.get() == foreign and foreign.seats == TWO
    assert "globex" not in admin.get(ADD).content.decode().lower()


def test_a_superuser_who_administers_nothing_sees_no_matrix(cast):
    from tenants.roles import remove_member

    remove_member(cast.admin, cast.roles["admin"])
    assert cast.client("admin").get(CHANGES).status_code == 403


@pytest.mark.parametrize("who", ["approver", "operator", "outsider"])
def test_who_administers_nothing_changes_nothing(cast, who):
    person = getattr(cast, who)
    person.is_staff = True
    person.save()
    rule = set_row(cast.prod, "high", TWO, by="system:setup")
    client = cast.client(who)
    assert client.get(CHANGES).status_code == 403
    assert client.post(ADD, form(cast.prod, "low", asks_nobody="on")).status_code == 403
    assert client.post(reverse("admin:approvals_approvalrule_delete", args=[rule.pk]), {"post": "yes"}).status_code in (
        302, 403, 404,
    )  # fmt: skip
    assert list(ApprovalRule.objects.values_list("tier", flat=True)) == ["high"]
