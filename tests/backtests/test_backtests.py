"""A backtest lists exactly the actions that would go otherwise, survives its worker, and is bound to a wording."""

import json
from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from actions.backtests import start, worker
from actions.backtests.draft_rules import load_draft
from actions.backtests.evaluate import KINDS, comparable, difference_kind
from actions.errors import BacktestUnderWay, NothingToBacktest, WrongState
from actions.models import Action, Backtest, BacktestDifference
from approvals.errors import MayNotChangeRules
from approvals.policies.apply import evaluate
from approvals.policies.drafts import abandon_policy_draft, draft_matrix, edit_policy_draft
from approvals.policies.matrix import set_row
from audit.errors import Invalid, NotFound
from audit.models import Event
from tests.actions.factory import with_rules
from tests.backtests.factory import judged_actions, worked_off
from tests.policies.factory import SETUP, TWO, drafted, policy_text, published
from tests.policies.test_sandbox import BOMB

pytestmark = pytest.mark.django_db


def events(verb: str) -> list[dict]:
    return [json.loads(bytes(e.body))["facts"] for e in Event.objects.filter(verb=verb).order_by("id")]


def brute_force(candidate, actions) -> dict:
    """Every action judged by itself, by both sets of rules, without any of the batch's code."""
    found = {}
    for action in Action.objects.select_related("plan").filter(pk__in=[a.pk for a in actions]):
        plan = action.plan
        today, then = (
            comparable(evaluate(rules.over(plan.facts), rules.policies, plan.created_at))
            for rules in (candidate.today, candidate.then)
        )
        went = comparable(plan.verdict)
        if difference_kind(today, then):
            found[action.pk] = ("draft", difference_kind(today, then), went, today, then)
        elif difference_kind(went, then):
            found[action.pk] = ("since", difference_kind(went, then), went, today, then)
    return found


def listed(backtest) -> dict:
    rows = BacktestDifference.objects.filter(backtest=backtest)
    return {r.action_id: (r.because, r.kind, r.went, r.today, r.then) for r in rows}


DRAFTS = {
    "denies": lambda cast: ("policy", drafted(cast.acme, "new", expression="plan.deletes > 0").pk),
    "requires": lambda cast: (
        "policy",
        drafted(cast.acme, "new", expression="plan.modifies > 2", effect="require", required_approvals=TWO).pk,
    ),
    "errs": lambda cast: ("policy", drafted(cast.acme, "new", expression="plan.creates / plan.deletes > 1").pk),
    "shadows": lambda cast: ("policy", drafted(cast.acme, "new", expression="true", mode="shadow").pk),
    "lets run": lambda cast: (
        "policy",
        drafted(cast.acme, "new", expression="action.confidence > 0.9", effect="allow_autonomous").pk,
    ),
    "replaces": lambda cast: ("policy", drafted(cast.acme, "old", expression="plan.deletes > 3").pk),
    "retires": lambda cast: ("retire", published(cast.acme, "older", expression="plan.creates == 3").pk),
    "matrix": lambda cast: ("matrix", draft_matrix(cast.dev, {"low": TWO, "high": []}, by=SETUP).pk),
}


@pytest.mark.parametrize("what", DRAFTS)
def test_it_lists_exactly_what_a_brute_force_finds(cast, what):
    with_rules(cast)
    published(cast.acme, "old", expression="plan.deletes > 0 && environment.name == 'staging'")
    actions = judged_actions(cast, 120)
    set_row(cast.staging, "low", TWO, by=SETUP)
    kind, draft = DRAFTS[what](cast)
    candidate = load_draft(cast.access("admin"), kind, draft)
    made = start.start_backtest(cast.access("admin"), kind, draft)
    worked_off()
    made.refresh_from_db()
    looked_at = [a for a in actions if kind != "matrix" or a.environment_id == cast.dev.pk]
    expected = brute_force(candidate, looked_at)
    assert listed(made) == expected
    assert (made.state, made.total, made.done) == ("finished", len(looked_at), len(looked_at))
    for because in ("draft", "since"):
        assert made.counts.get(because, {}) == Counter(k for b, k, *_ in expected.values() if b == because)
    if what not in ("shadows", "lets run"):
        assert any(because == "draft" for because, *_ in expected.values())
    assert set(KINDS) >= {k for _, k, *_ in expected.values()}


def test_it_counts_where_the_draft_applies_and_errs(cast):
    judged_actions(cast, 60)
    rule = drafted(cast.acme, expression="plan.deletes > 0 && 6 / (plan.deletes - 4) != 0", effect="warn")
    made = start.start_backtest(cast.access("admin"), "policy", rule.pk)
    worked_off()
    made.refresh_from_db()
    deletes = Counter(a.plan.facts["plan"]["deletes"] for a in Action.objects.select_related("plan"))
    found = (made.counts["applies"], made.counts["errs"], made.counts["does_not_apply"])
    assert found == (deletes[1], deletes[4], deletes[0])


def test_only_the_period_and_the_tenant_count(cast):
    with_rules(cast)
    old, new = judged_actions(cast, 10, days=1), judged_actions(cast, 10, seed=2, days=1)
    moved = [a.pk for a in old]
    Action.objects.filter(pk__in=moved).update(created_at=timezone.now() - timedelta(days=90))
    Action.objects.filter(pk=new[0].pk).update(tenant=cast.globex)
    Action.objects.filter(pk=new[1].pk).update(plan=None)
    version = drafted(cast.acme, expression="true")
    made = start.start_backtest(cast.access("admin"), "policy", version.pk)
    worked_off()
    made.refresh_from_db()
    assert made.done == 8
    assert set(listed(made)) == {a.pk for a in new[2:] if a.type != "config_change"}
    ends = timezone.now() - timedelta(days=60)
    made = start.start_backtest(cast.access("admin"), "policy", version.pk, since=ends - timedelta(days=60), until=ends)
    worked_off()
    made.refresh_from_db()
    assert made.done == 10


def test_a_worker_that_is_killed_costs_a_batch_and_doubles_nothing(cast, monkeypatch):
    with_rules(cast)
    judged_actions(cast, 100)
    version = drafted(cast.acme, expression="plan.deletes > 0")
    made = start.start_backtest(cast.access("admin"), "policy", version.pk)
    assert worker.run_slice(slice_s=0) is True
    backtest = worker.claim_backtest()
    assert worker.evaluate_batch(backtest, worker.Basis.of(backtest), 30)
    assert not worker.has_waiting() and worker.run_slice() is False, "it is claimed"
    other = Backtest.objects.get(pk=made.pk)
    Backtest.objects.filter(pk=made.pk).update(claimed_until=timezone.now() - timedelta(seconds=1))
    assert worker.has_waiting()
    worked_off()
    assert not worker.evaluate_batch(other, worker.Basis.of(other), 30), (
        "the one that was given up for dead writes nothing"
    )
    made.refresh_from_db()
    assert (made.state, made.done, made.total) == ("finished", 100, 100)
    assert listed(made) == brute_force(load_draft(cast.access("admin"), "policy", version.pk), Action.objects.all())
    assert len(events("backtest.finished")) == 1


def test_cancelling_ends_it_and_keeps_what_was_found(cast):
    with_rules(cast)
    judged_actions(cast, 60)
    made = start.start_backtest(cast.access("admin"), "policy", drafted(cast.acme, expression="plan.deletes > 0").pk)
    worker.run_slice(slice_s=0)
    backtest = worker.claim_backtest()
    assert worker.evaluate_batch(backtest, worker.Basis.of(backtest), 30)
    ended = start.cancel_backtest(cast.access("admin"), made.pk)
    assert not worker.evaluate_batch(backtest, worker.Basis.of(backtest), 30)
    assert (ended.state, ended.done) == ("cancelled", 30) and listed(ended)
    assert not worker.has_waiting()
    with pytest.raises(WrongState):
        start.cancel_backtest(cast.access("admin"), made.pk)
    (facts,) = events("backtest.cancelled")
    assert (facts["backtest"], facts["done"]) == (str(made.pk), 30)


def test_of_many_differences_the_first_are_kept_and_all_are_counted(cast, monkeypatch):
    monkeypatch.setattr(worker, "MAX_DIFFERENCES", 7)
    with_rules(cast)
    judged_actions(cast, 60)
    made = start.start_backtest(cast.access("admin"), "policy", drafted(cast.acme, expression="true").pk)
    worked_off()
    made.refresh_from_db()
    assert made.differences.filter(because="draft").count() == 7 < sum(made.counts["draft"].values())


def test_a_bomb_is_given_up_and_the_backtest_finishes(cast, monkeypatch):
    monkeypatch.setattr(worker, "CUT_OFFS", 2)
    with_rules(cast)
    judged_actions(cast, 12)
    made = start.start_backtest(cast.access("admin"), "policy", drafted(cast.acme, expression=BOMB.split(" && ")[1]).pk)
    worked_off()
    made.refresh_from_db()
    assert (made.state, made.done, made.counts["errs"]) == ("finished", 12, 12)
    assert set(made.patience.values()) == {0}


def test_events_name_the_draft_its_wording_and_what_was_found(cast):
    with_rules(cast)
    judged_actions(cast, 10)
    version = drafted(cast.acme, expression="true")
    made = start.start_backtest(cast.access("admin"), "policy", version.pk, correlation_id="c1")
    worked_off()
    made.refresh_from_db()
    started, ended = (Event.objects.get(verb=f"backtest.{verb}") for verb in ("started", "finished"))
    assert (started.subject_id, started.actor, started.correlation_id) == (version.policy_id, str(cast.admin.pk), "c1")
    assert (ended.subject_id, ended.actor) == (version.policy_id, "system:background")
    assert events("backtest.started")[0]["digest"] == made.digest
    assert events("backtest.finished")[0]["counts"] == made.counts


def test_one_backtest_of_a_draft_at_a_time(cast):
    version = drafted(cast.acme)
    start.start_backtest(cast.access("admin"), "policy", version.pk)
    with pytest.raises(BacktestUnderWay):
        start.start_backtest(cast.access("admin"), "policy", version.pk)
    assert len(events("backtest.started")) == 1


def test_what_is_compared_is_fixed_when_it_starts(cast):
    with_rules(cast)
    judged_actions(cast, 20)
    version = drafted(cast.acme, expression="plan.deletes > 0")
    made = start.start_backtest(cast.access("admin"), "policy", version.pk)
    edit_policy_draft(version.pk, policy_text(expression="true"), by=SETUP)
    published(cast.acme, "other", expression="true")
    worked_off()
    made.refresh_from_db()
    assert made.counts["applies"] == sum(
        a.plan.facts["plan"]["deletes"] > 0 for a in Action.objects.select_related("plan")
    )


def test_who_may_not_draft_backtests_nothing(cast):
    version, matrix = drafted(cast.acme), draft_matrix(cast.prod, {"low": TWO}, by=SETUP)
    made = start.start_backtest(cast.access("admin"), "policy", version.pk)
    for who in ("operator", "approver", "auditor", "agent"):
        for kind, draft in (("policy", version), ("matrix", matrix)):
            with pytest.raises(MayNotChangeRules):
                start.start_backtest(cast.access(who), kind, draft.pk)
        with pytest.raises(MayNotChangeRules):
            start.cancel_backtest(cast.access(who), made.pk)
    for call in (
        lambda: start.start_backtest(cast.access("outsider"), "policy", version.pk),
        lambda: start.start_backtest(cast.access("outsider"), "matrix", matrix.pk),
        lambda: start.find_backtest(cast.access("outsider"), made.pk),
        lambda: start.start_backtest(cast.access("admin"), "else", version.pk),
    ):
        with pytest.raises(NotFound):
            call()
    assert Backtest.objects.count() == 1


def test_only_what_could_be_published_is_backtested(cast):
    version, given_up = published(cast.acme), drafted(cast.acme, "given-up")
    abandon_policy_draft(given_up.pk, by=SETUP)
    for kind, draft in (("policy", version), ("policy", given_up), ("retire", given_up)):
        with pytest.raises(NothingToBacktest):
            start.start_backtest(cast.access("admin"), kind, draft.pk)
    now = timezone.now()
    with pytest.raises(Invalid):
        start.start_backtest(cast.access("admin"), "retire", version.pk, since=now, until=now - timedelta(days=1))
    with pytest.raises(Invalid):
        start.start_backtest(cast.access("admin"), "retire", version.pk, since=now + timedelta(days=1))
    assert not Backtest.objects.exists()
