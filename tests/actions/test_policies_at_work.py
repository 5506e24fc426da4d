"""Guard policies where they bite: at preflight, at the start, and at every checkpoint of a run."""

import pytest
from django.db import connection

from actions.commands import review, stop_resume
from actions.models import Action
from approvals.models import Policy, PolicyVersion
from approvals.policies.active_policies import bump_epoch
from approvals.policies.apply import evaluate
from audit.database.clock import database_time
from audit.models import Event
from tests.actions.factory import edit, propose, root_of
from tests.actions.running import carry
from tests.approvals.factory import facts_of
from tests.support.ledger_executor import balance

pytestmark = pytest.mark.django_db(transaction=True)


def publish(
    cast, expression: str, effect: str = "deny", mode: str = "enforce", required_approvals=(), slug: str = "p"
) -> None:
    """Put a rule in force, as a published version of its own."""
    policy = Policy.objects.create(tenant=cast.acme, home=cast.acme, slug=slug)
    PolicyVersion.objects.create(
        policy=policy,
        version=1,
        expression=expression,
        effect=effect,
        mode=mode,
        required_approvals=list(required_approvals),
        message="because",
        state="published",
        published_at=database_time(),
    )
    bump_epoch(cast.acme.pk)


def a_change(cast, where: str = "dev") -> Action:
    (root_of(getattr(cast, where)) / "app.conf").write_text("before\n")
    return propose(cast, environment=where, parameters=edit(), accept=True)


def test_a_policy_that_denies_ends_it_at_preflight_and_says_which(committed_cast):
    publish(committed_cast, "plan.modifies > 0 && environment.name == 'dev'")
    action = carry(a_change(committed_cast))
    assert action.state == "denied"
    assert action.error["details"]["rule"] == "policy p v1"
    judged = Event.objects.get(subject_id=action.pk, verb="policy.evaluated")
    assert b'"facts_sha256"' in bytes(judged.body)
    assert (root_of(committed_cast.dev) / "app.conf").read_text() == "before\n"


@pytest.mark.parametrize("expression", ["plan.deletes / 0 > 1", "plan.steps", "nothing.known"])
def test_a_policy_that_errs_denies(committed_cast, expression):
    publish(committed_cast, expression)
    assert carry(a_change(committed_cast)).state == "denied"


def test_a_policy_in_shadow_only_says_what_it_would_do(committed_cast):
    publish(committed_cast, "true", mode="shadow")
    action = carry(a_change(committed_cast))
    assert action.state == "completed"
    assert [r["effect"] for r in action.plan.verdict["reasons"] if r["rule"] == "policy p v1"] == ["shadow"]


def test_a_policy_that_requires_a_approval_adds_it(committed_cast):
    publish(committed_cast, "plan.changes > 0", "require", required_approvals=[{"role": "security", "count": 1}])
    action = carry(a_change(committed_cast, "prod"))
    assert action.state == "awaiting_approval"
    for who in ("approver", "approver2"):
        review.approve(committed_cast.access(who), action.pk, True, action.plan.digest, "")
    assert Action.objects.get(pk=action.pk).state == "awaiting_approval"
    review.approve(committed_cast.access("security"), action.pk, True, action.plan.digest, "")
    assert carry(action).state == "completed"


def test_a_policy_published_after_approval_is_heeded_at_the_start(committed_cast):
    action = carry(a_change(committed_cast, "prod"))
    for who in ("approver", "approver2"):
        review.approve(committed_cast.access(who), action.pk, True, action.plan.digest, "")
    publish(committed_cast, "environment.name == 'prod'")
    now = carry(action)
    assert (now.state, now.error["code"]) == ("failed", "denied_at_start")
    assert (root_of(committed_cast.prod) / "app.conf").read_text() == "before\n"


def test_a_policy_that_turns_red_during_a_run_holds_it_at_the_next_checkpoint(committed_cast, ledger_type):
    def tighten(ctx):
        if ctx.step["key"].startswith("001"):
            publish(committed_cast, "plan.steps > 0")
            connection.close()

    ledger_type.before = tighten
    action = carry(propose(committed_cast, type="ledger", parameters={"steps": 3}, accept=True))
    assert (action.state, action.held_reason) == ("held", "policy")
    assert "because" in action.error["message"]
    assert balance(root_of(committed_cast.dev) / ".ledger") == {"cell-1": 1}
    stop_resume.resume(committed_cast.access("operator"), action.pk, "undo it", how="rollback")
    assert carry(action).state == "rolled_back"
    assert balance(root_of(committed_cast.dev) / ".ledger") == {}


def test_an_unattended_run_needs_a_policy_a_safe_type_and_confidence(committed_cast):
    committed_cast.prod.settings |= {"recommendation_only": False}
    committed_cast.prod.save()
    asked = {"type": "collect_diagnostics", "environment": "prod", "parameters": {}}
    assert carry(propose(committed_cast, "agent", confidence=0.95, **asked)).state == "awaiting_approval"
    publish(committed_cast, "action.risk_class == 'safe' && action.confidence >= 0.9", "allow_autonomous")
    assert carry(propose(committed_cast, "agent", confidence=0.95, **asked)).state == "completed"
    assert carry(propose(committed_cast, "agent", confidence=0.6, **asked)).state == "awaiting_approval"
    assert carry(propose(committed_cast, "agent", **asked)).state == "awaiting_approval"


def test_changing_the_rules_takes_two_people_wherever_it_lands(committed_cast):
    for matrix in ({}, {"critical": []}, {"critical": [{"role": "approver", "count": 1}]}):
        verdict = evaluate(facts_of("dev", type="config_change", matrix=matrix), [], database_time())
        assert (verdict.outcome, verdict.tier) == ("require_approval", "critical")
        assert verdict.required_approvals == [{"role": "approver", "count": 2}]
