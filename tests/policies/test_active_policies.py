"""The rules in force, and what the database itself refuses to keep of them."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from approvals.models import Policy, PolicyVersion, RuleEpoch
from approvals.policies.active_policies import active_policies_for, bump_epoch, epoch_of, epoch_sql
from approvals.policies.matrix import remove_row, set_row

pytestmark = pytest.mark.dialect

TWO = [{"role": "approver", "count": 2}]


def a_policy(home, slug="no-deletes", *, everywhere=False) -> Policy:
    return Policy.objects.create(home=home, tenant=None if everywhere else home, slug=slug)


def a_version(policy, n=1, state="published", **more) -> PolicyVersion:
    reached = state in ("published", "retired")
    fields = {"expression": "plan.deletes > 0", "effect": "deny", "message": "No deletes."}
    return PolicyVersion.objects.create(
        policy=policy, version=n, state=state, published_at=timezone.now() if reached else None, **{**fields, **more}
    )


def refused(change) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        change()


def test_global_rules_come_first_then_the_tenants_own_by_slug(cast, django_assert_num_queries):
    for slug in ("b", "a"):
        a_version(a_policy(cast.acme, slug))
    a_version(a_policy(cast.acme, "z", everywhere=True))
    a_version(a_policy(cast.globex, "a"), mode="shadow")
    a_version(a_policy(cast.acme, "draft"), state="draft")
    a_version(a_policy(cast.acme, "retired"), state="retired")
    with django_assert_num_queries(1):
        rules = active_policies_for([cast.acme.pk, cast.globex.pk])
    assert [(r.slug, r.is_global) for r in rules[cast.acme.pk]] == [("z", True), ("a", False), ("b", False)]
    assert [(r.slug, r.mode) for r in rules[cast.globex.pk]] == [("z", "enforce"), ("a", "shadow")]
    with django_assert_num_queries(0):
        assert active_policies_for([]) == {}


def test_one_version_of_a_policy_is_in_force(cast):
    policy = a_policy(cast.acme)
    a_version(policy)
    refused(lambda: a_version(policy, 2))


def test_require_names_approvals_and_nothing_else_does(cast):
    policy = a_policy(cast.acme)
    refused(lambda: a_version(policy, effect="require"))
    refused(lambda: a_version(policy, effect="deny", required_approvals=TWO))
    assert a_version(policy, effect="require", required_approvals=TWO).required_approvals == TWO


def test_version_numbers_have_no_gaps(cast):
    policy, other = a_policy(cast.acme), a_policy(cast.acme, "other")
    refused(lambda: a_version(policy, 2))
    a_version(policy, 1)
    refused(lambda: a_version(policy, 1, "draft"))
    refused(lambda: a_version(policy, 3, "draft"))
    a_version(policy, 2, "draft")
    a_version(other, 1)


@pytest.mark.parametrize("state", ["published", "retired", "abandoned"])
@pytest.mark.parametrize(
    "policy_text",
    [
        {"expression": "true"},
        {"effect": "warn"},
        {"message": "else"},
        {"overridable": True},
        {"mode": "shadow"},
        {"version": 2},
        {"effect": "require", "required_approvals": TWO},
    ],
)
def test_what_was_published_or_abandoned_never_changes_its_wording(cast, state, policy_text):
    version = a_version(a_policy(cast.acme), state=state)
    refused(lambda: PolicyVersion.objects.filter(pk=version.pk).update(**policy_text))


def test_a_state_moves_only_along_its_way(cast):
    policy = a_policy(cast.acme)
    version = a_version(policy, state="draft")
    now = timezone.now()

    def move(state, at):
        PolicyVersion.objects.filter(pk=version.pk).update(state=state, published_at=at)

    refused(lambda: move("retired", now))
    refused(lambda: move("published", None))
    move("published", now)
    refused(lambda: move("draft", None))
    refused(lambda: move("abandoned", None))
    move("retired", now)
    move("published", now)
    refused(version.delete)
    refused(lambda: PolicyVersion.objects.all().delete())


def test_a_draft_may_be_reworded(cast):
    version = a_version(a_policy(cast.acme), state="draft")
    PolicyVersion.objects.filter(pk=version.pk).update(expression="true", effect="require", required_approvals=TWO)
    version.refresh_from_db()
    assert (version.expression, version.required_approvals) == ("true", TWO)


def test_a_name_is_used_once_per_tenant_and_once_globally(cast):
    a_policy(cast.acme)
    a_policy(cast.globex)
    a_policy(cast.acme, everywhere=True)
    refused(lambda: a_policy(cast.acme))
    refused(lambda: a_policy(cast.globex, everywhere=True))
    refused(lambda: Policy.objects.create(home=cast.globex, tenant=cast.acme, slug="other"))


def test_every_change_of_rules_raises_the_epoch_of_those_it_guards(cast):
    assert epoch_of(cast.acme.pk) == 0
    rule = set_row(cast.prod, "high", TWO, by="system:setup")
    set_row(cast.prod, "high", TWO, by="system:setup")
    assert (epoch_of(cast.acme.pk), epoch_of(cast.globex.pk)) == (1, 0)
    remove_row(rule, by="system:setup")
    bump_epoch(None)
    assert (epoch_of(cast.acme.pk), epoch_of(cast.globex.pk)) == (3, 1)
    assert RuleEpoch.objects.count() == 2


def test_the_epoch_can_ride_along_in_any_statement(cast):
    bump_epoch(cast.acme.pk)
    bump_epoch(None)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT slug, {epoch_sql('tenants_tenant.id')} FROM tenants_tenant ORDER BY slug")
        assert cursor.fetchall() == [("acme", 2), ("globex", 1)]


@pytest.mark.django_db
def test_the_triggers_stand_after_every_migration():
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'approvals_version_%%'")
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE type='trigger' AND name LIKE 'approvals_version_%%'")
        names = {row[0] for row in cursor.fetchall()}
    assert names == {"approvals_version_follows", "approvals_version_kept", "approvals_version_stays"}
