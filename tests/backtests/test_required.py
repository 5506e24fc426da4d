"""Nothing is published that was not backtested in exactly its wording: not by page, API, or a raw action."""

from datetime import timedelta

import pytest

from actions.backtests import start
from actions.backtests.start import backtest_status, require_backtest
from actions.commands.review import approve
from actions.commands.rollback import rollback
from actions.errors import BacktestNeeded
from actions.models import Action, Backtest
from actions.types.config_change import ConfigChange
from actions.types.config_change import rule_targets as executors_gate
from actions.types.protocol import PlanRefused
from approvals.policies.drafts import draft_matrix, edit_policy_draft
from approvals.policies.publish import published_version, retire_now
from audit.database.clock import database_time
from tests.actions.factory import propose, with_rules
from tests.actions.running import carry
from tests.backtests.factory import judged_actions, worked_off
from tests.policies.factory import SETUP, TWO, backtested, drafted, policy_text, published
from tests.types.test_config_change import asked, target_in

WHY = {"environment": "prod", "reason": "It happened twice."}


def said(version) -> str:
    with pytest.raises(BacktestNeeded) as refused:
        require_backtest("policy", version.pk)
    assert f"/policies/policy/{version.pk}/backtest/" in refused.value.detail
    return refused.value.detail


def test_every_way_to_propose_asks_for_a_backtest_and_says_where(cast):
    version, old = drafted(cast.acme), published(cast.acme, "old")
    matrix = draft_matrix(cast.prod, {"critical": TWO}, by=SETUP)
    api, browser = cast.api("admin"), cast.client("admin")
    cases = [("policy", version, "policies/drafts"), ("retire", old, ""), ("matrix", matrix, "matrix/drafts")]
    for kind, draft, prefix in cases:
        where = f"/policies/{kind}/{draft.pk}/backtest/"
        path = f"/api/{prefix}/{draft.pk}/propose" if prefix else f"/api/policies/{old.policy_id}/retire"
        body = {"reason": "why"} if kind == "matrix" else WHY
        raw = {"type": "config_change", **WHY, "parameters": {"kind": kind, "draft": str(draft.pk)}}
        for address, sent in ((path, body), ("/api/actions", raw), ("/api/actions/dry-run", raw)):
            got = api.post(address, sent, content_type="application/json")
            assert got.status_code == 422, (address, got.content)
            (issue,) = got.json()["issues"]
            assert issue["field"] == "parameters.draft" and where in issue["message"], issue
        page = browser.post(f"/policies/{kind}/{draft.pk}/propose/", WHY)
        assert page.status_code == 422 and where in page.content.decode()
    assert not Action.objects.exists()


def test_an_edit_makes_it_stale_and_the_old_wording_makes_it_good_again(cast):
    version = backtested(drafted(cast.acme))
    assert require_backtest("policy", version.pk).draft == version.pk
    edit_policy_draft(version.pk, policy_text(message="Other words."), by=SETUP)
    assert "The draft changed since its backtest" in said(version)
    edit_policy_draft(version.pk, policy_text(), by=SETUP)
    assert require_backtest("policy", version.pk)


def test_it_counts_for_seven_days_and_only_when_it_finished(cast):
    version = backtested(drafted(cast.acme))
    Backtest.objects.update(finished_at=database_time() - timedelta(days=7, minutes=1))
    assert "more than 7 days old" in said(version)
    Backtest.objects.update(state="running")
    assert "is running" in said(version)
    Backtest.objects.update(state="cancelled")
    assert "was cancelled" in said(version)
    Backtest.objects.all().delete()
    assert "Not backtested yet" in said(version)


def test_one_of_another_draft_or_kind_does_not_count(cast):
    version = published(cast.acme)
    backtested(version, "retire")
    other = backtested(drafted(cast.acme, "other"))
    assert require_backtest("retire", version.pk) and require_backtest("policy", other.pk)
    assert "Not backtested yet" in said(version)


def test_other_rules_that_change_since_are_said_but_do_not_undo_it(cast):
    version = backtested(drafted(cast.acme))
    assert not backtest_status("policy", version.pk).rules_changed
    published(cast.acme, "other")
    standing = backtest_status("policy", version.pk)
    assert (standing.may, standing.rules_changed) == (True, True)


def test_approvers_read_what_it_found(cast):
    draft = ConfigChange().plan(asked("policy", backtested(drafted(cast.acme))), target_in(cast.prod))
    assert "1,234 evaluated actions" in draft.summary and "3 changed outcomes" in draft.summary
    assert "3 would be denied" in draft.summary
    assert draft.observations["backtest"]["kinds"] == {"denied": 3}


def test_where_nobody_knows_of_backtests_nothing_is_published(cast, monkeypatch):
    version = backtested(drafted(cast.acme))
    monkeypatch.setattr(executors_gate, "_backtest_readers", [])
    with pytest.raises(PlanRefused):
        ConfigChange().plan(asked("policy", version), target_in(cast.prod))


def proposed(cast, version) -> Action:
    parameters = {"kind": "policy", "draft": str(version.pk)}
    return carry(propose(cast, "admin", type="config_change", environment="prod", parameters=parameters))


def approved(cast, action: Action) -> Action:
    for who in ("approver", "approver2"):
        approve(cast.access(who), action.pk, True, action.plan.digest, "")
    return carry(action)


@pytest.mark.django_db(transaction=True)
def test_from_backtest_to_rollback_and_the_rollback_needs_none(cast):
    with_rules(cast)
    judged_actions(cast, 30)
    version = drafted(cast.acme)
    start.start_backtest(cast.access("admin"), "policy", version.pk)
    worked_off()
    action = proposed(cast, version)
    assert action.state == "awaiting_approval" and "Backtest over 30 evaluated actions" in action.plan.summary
    assert approved(cast, action).state == "completed"
    assert published_version(version.policy_id) == 1
    Backtest.objects.all().delete()
    undo = carry(rollback(cast.access("admin"), action.pk, "too strict")[0])
    assert approved(cast, undo).state == "completed"
    assert published_version(version.policy_id) is None


@pytest.mark.django_db(transaction=True)
def test_a_draft_edited_after_its_approval_is_not_published(cast):
    with_rules(cast)
    version = backtested(drafted(cast.acme))
    action = proposed(cast, version)
    edit_policy_draft(version.pk, policy_text(expression="true"), by=SETUP)
    done = approved(cast, action)
    assert (done.state, done.error["code"]) == ("failed", "plan_refused")
    assert "changed since its backtest" in done.error["message"]
    assert published_version(version.policy_id) is None


def test_recovery_needs_none(cast):
    version = published(cast.acme)
    assert retire_now(version.policy, "denies everything") == 1
    assert published_version(version.policy_id) is None
