"""Putting rules in force: once, guarded by what was in force, with before and after, and the epoch raised."""

import json
from uuid import uuid4

import pytest

from approvals.errors import RulesChanged
from approvals.models import MatrixDraft
from approvals.policies.active_policies import active_policies_for, epoch_of
from approvals.policies.drafts import abandon_policy_draft, draft_matrix
from approvals.policies.matrix import matrix_for, set_row
from approvals.policies.publish import (
    publish,
    published_matrix,
    published_version,
    replace_matrix,
    replace_version,
    retire,
)
from audit.errors import NotFound
from audit.models import Event
from tests.policies.factory import SETUP, TWO, drafted, published

pytestmark = pytest.mark.dialect

ONE = [{"role": "approver", "count": 1}]


def last_event(kind: str = "policy") -> tuple[str, str, dict]:
    event = Event.objects.filter(subject_kind=kind).order_by("-id").first()
    return event.verb, event.actor, json.loads(bytes(event.body))["facts"]


def in_acme(cast) -> list[tuple[str, int]]:
    return [(r.slug, r.version) for r in active_policies_for([cast.acme.pk])[cast.acme.pk]]


def test_publishing_puts_a_draft_in_force(cast):
    version, action = drafted(cast.acme), uuid4()
    assert publish(version.pk, action, "system:execute", expected=None)
    version.refresh_from_db()
    assert (version.state, version.published_by_action) == ("published", action)
    assert version.published_at is not None
    assert in_acme(cast) == [("no-deletes", 1)]
    verb, actor, facts = last_event()
    assert (verb, actor, facts["action"], facts["before"]) == ("policy.published", "system:execute", str(action), None)
    assert (facts["after"]["version"], facts["after"]["expression"]) == (1, "plan.deletes > 0")
    assert epoch_of(cast.acme.pk) == 1


def test_the_next_version_replaces_it_and_the_earlier_one_can_return(cast):
    first, second = published(cast.acme), published(cast.acme, effect="warn")
    first.refresh_from_db()
    assert (first.state, published_version(first.policy_id)) == ("retired", 2)
    assert publish(first.pk, None, SETUP, expected=2)
    second.refresh_from_db()
    assert (second.state, in_acme(cast)) == ("retired", [("no-deletes", 1)])
    assert retire(first.pk, None, SETUP)
    verb, _, facts = last_event()
    assert (verb, facts["before"]["version"], facts["after"]) == ("policy.retired", 1, None)
    assert in_acme(cast) == []
    assert epoch_of(cast.acme.pk) == 4


def test_doing_it_twice_is_doing_it_once(cast):
    version = drafted(cast.acme)
    publish(version.pk, None, SETUP, expected=None)
    before, count = epoch_of(cast.acme.pk), Event.objects.count()
    assert not publish(version.pk, None, SETUP, expected=None)
    assert retire(version.pk, None, SETUP)
    assert not retire(version.pk, None, SETUP)
    assert (epoch_of(cast.acme.pk), Event.objects.count()) == (before + 1, count + 1)


def test_an_update_is_not_lost(cast):
    published(cast.acme)
    second, third = drafted(cast.acme, effect="warn"), drafted(cast.acme, mode="shadow")
    publish(second.pk, None, SETUP, expected=1)
    with pytest.raises(RulesChanged):
        publish(third.pk, None, SETUP, expected=1)
    third.refresh_from_db()
    assert (third.state, in_acme(cast)) == ("draft", [("no-deletes", 2)])


def test_what_was_given_up_or_never_was_is_not_published(cast):
    version = drafted(cast.acme)
    abandon_policy_draft(version.pk, by=SETUP)
    with pytest.raises(RulesChanged):
        publish(version.pk, None, SETUP, expected=None)
    with pytest.raises(NotFound):
        replace_version(version.policy_id, None, 9, None, SETUP)
    with pytest.raises(NotFound):
        publish(uuid4(), None, SETUP, expected=None)
    assert (in_acme(cast), epoch_of(cast.acme.pk)) == ([], 0)


def test_a_global_policy_raises_every_tenants_epoch(cast):
    published(cast.acme, everywhere=True)
    assert (epoch_of(cast.acme.pk), epoch_of(cast.globex.pk)) == (1, 1)


def test_a_matrix_is_replaced_whole(cast):
    set_row(cast.prod, "low", ONE, by=SETUP)
    set_row(cast.prod, "high", TWO, by=SETUP)
    set_row(cast.dev, "low", [], by=SETUP)
    was, wanted = published_matrix(cast.prod.pk), {"high": TWO, "critical": TWO}
    made = draft_matrix(cast.prod, wanted, by=SETUP)
    action = uuid4()
    assert replace_matrix(cast.prod.pk, was, wanted, action, "system:execute", draft_id=made.pk)
    assert not replace_matrix(cast.prod.pk, was, wanted, action, "system:execute", draft_id=made.pk)
    assert matrix_for([cast.acme.pk]) == {cast.prod.pk: wanted, cast.dev.pk: {"low": []}}
    made.refresh_from_db()
    assert (made.state, made.published_by_action) == ("published", action)
    verb, _, facts = last_event("matrix")
    assert (verb, facts["before"], facts["after"], facts["action"]) == ("matrix.published", was, wanted, str(action))
    with pytest.raises(RulesChanged):
        replace_matrix(cast.prod.pk, was, {}, None, SETUP)
    assert replace_matrix(cast.prod.pk, wanted, was, None, SETUP)
    assert MatrixDraft.objects.get().state == "retired"
