"""What a run was predicted to do against what it did: kept at its end, and read by the next judgement."""

import json
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from actions.commands import review, stop_resume
from actions.commands.propose import dry_run
from actions.engine.sweep import expire_overdue
from actions.intake.submission import Submission
from actions.models import Action, PredictionAccuracy
from actions.queries.prediction_accuracy import accuracy_report, percent
from approvals.models import MatrixRow
from approvals.policies.weights import set_weights
from audit.database.clock import database_time
from audit.models import Event
from tenants.models import Resource
from tests.actions.factory import an_action, edit, propose, root_of
from tests.actions.running import carry, verbs_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]
NEVER = [{"kind": "tcp", "host": "127.0.0.1", "port": 9}]


def done(cast, name="app.conf", **more) -> Action:
    (root_of(cast.dev) / name).write_text("before\n")
    return carry(propose(cast, parameters=edit(name), accept=True, **more))


def facts_of(action: Action, verb: str) -> dict:
    event = Event.objects.get(subject_id=action.pk, verb=verb)
    return json.loads(bytes(event.body))["facts"]


def test_a_completed_run_keeps_its_prediction_beside_what_was_verified(committed_cast):
    action = done(committed_cast)
    impact = PredictionAccuracy.objects.get(action=action)
    assert (impact.state, impact.is_failure, impact.type, impact.target) == ("completed", False, "modify_files", "/")
    assert (impact.tier, impact.score) == (action.tier, action.blast_score)
    assert (impact.predicted_changes, impact.predicted_deletes, impact.predicted_resources) == (1, 0, 1)
    assert (impact.verified_changes, impact.applied, impact.standing, impact.steps) == (1, 1, 1, 1)
    assert (impact.checks, impact.checks_failed, impact.code) == (1, 0, "")
    assert impact.ended_at == action.completed_at and 0 <= impact.duration_ms < 60_000
    said = facts_of(action, "action.complete")["prediction_accuracy"]
    assert said["predicted"] == {"changes": 1, "deletes": 0, "resources": 1, "score": impact.score, "tier": impact.tier}
    assert (said["verified_changes"], said["checks_failed"]) == (1, 0)


def test_a_run_that_did_not_verify_and_was_undone_says_both(committed_cast):
    action = done(committed_cast, checks=NEVER)
    assert action.state == "rolled_back"
    impact = PredictionAccuracy.objects.get(action=action)
    assert (impact.state, impact.is_failure, impact.code) == ("rolled_back", True, "verification_failed")
    assert (impact.verified_changes, impact.checks, impact.checks_failed) == (1, 2, 1)
    assert (impact.applied, impact.standing) == (1, 0)
    assert impact.ended_at == action.completed_at
    assert facts_of(action, "action.roll_back")["prediction_accuracy"]["checks_failed"] == 1
    assert facts_of(action, "action.finish_rollback")["prediction_accuracy"]["standing"] == 0


def test_a_run_that_fails_on_its_way_was_never_verified(committed_cast):
    action = carry(propose(committed_cast, type="rerun_healthcheck", parameters={"host": "127.0.0.1", "port": 9}))
    assert action.state == "failed" and action.started_at
    impact = PredictionAccuracy.objects.get(action=action)
    assert (impact.state, impact.is_failure, impact.predicted_changes) == ("failed", True, 0)
    assert impact.verified_changes is None and impact.checks is None and impact.ended_at


def test_a_run_that_a_person_gave_up_is_kept_and_one_that_never_began_is_not(committed_cast):
    held = done(committed_cast)
    Action.objects.filter(pk=held.pk).update(state="held", held_reason="operator", completed_at=None)
    PredictionAccuracy.objects.all().delete()
    stop_resume.resume(committed_cast.access("operator"), held.pk, "Enough.", how="give_up")
    assert PredictionAccuracy.objects.get(action=held).state == "failed"
    unplanned = an_action(committed_cast, "awaiting_approval")
    stop_resume.cancel(committed_cast.access("operator"), unplanned.pk, "Never mind.")
    refused = carry(propose(committed_cast, parameters=edit("new.conf", operation="create"), accept=True))
    assert refused.state in ("completed", "failed")
    assert not PredictionAccuracy.objects.filter(action=unplanned).exists() and expire_overdue() is not None


def test_earlier_runs_are_facts_of_the_next_one(committed_cast):
    for n in range(3):
        done(committed_cast, f"{n}.conf", checks=NEVER)
    done(committed_cast, "other.conf", target={"service": "shop"})
    action = done(committed_cast, "last.conf")
    assert action.plan.facts["history"] == {"ended": 3, "failed": 3, "days": 30}
    factor = next(f for f in action.plan.blast["factors"] if f["name"] == "recent_failures")
    assert (factor["points"], factor["why"]) == (
        15,
        "3 of the last 3 runs of modify_files in dev failed or were rolled back",
    )
    tried = dry_run(
        committed_cast.access("operator"),
        Submission(
            type="modify_files", environment="dev", parameters=edit("new.conf", operation="create"), reason="again"
        ),
    )
    assert tried.facts["history"] == {"ended": 4, "failed": 3, "days": 30}
    PredictionAccuracy.objects.update(ended_at=Now() - timedelta(days=31))
    assert done(committed_cast, "later.conf").plan.facts["history"]["ended"] == 0


def test_only_the_last_twenty_count_and_an_abort_is_no_failure(committed_cast):
    first = done(committed_cast)
    kept = {f.attname: getattr(first.prediction_accuracy, f.attname) for f in PredictionAccuracy._meta.concrete_fields}
    for n in range(25):
        other = an_action(committed_cast, "completed")
        at = Now() - timedelta(hours=n + 1)
        PredictionAccuracy.objects.create(**{**kept, "action_id": other.pk, "is_failure": n >= 19, "ended_at": at})
    assert done(committed_cast).plan.facts["history"] == {"ended": 20, "failed": 0, "days": 30}


def test_what_depends_on_what_is_changed_is_a_fact_near_and_far(committed_cast):
    cast = committed_cast
    conf, shop, till, far = (
        Resource.objects.create(tenant=cast.acme, environment=place, kind="file", name=name, risk_class="safe")
        for place, name in ((cast.dev, "app.conf"), (cast.dev, "shop"), (cast.dev, "till"), (cast.prod, "secret"))
    )
    shop.depends_on.add(conf)
    till.depends_on.add(shop, conf)
    far.depends_on.add(till)
    conf.depends_on.add(far)
    action = done(cast)
    assert action.plan.facts["dependents"] == {"count": 3, "names": ["shop", "till"], "more": False}
    why = next(f["why"] for f in action.plan.blast["factors"] if f["name"] == "dependents")
    assert why == "3 resources depend on what is changed: shop, till and 1 more"


def test_hours_and_weights_are_facts_and_a_change_of_weights_is_noticed_at_the_start(committed_cast):
    cast = committed_cast
    cast.prod.settings |= {"hours": {"timezone": "UTC", "days": ["mon"], "from": "00:00", "to": "00:00"}}
    cast.prod.save()
    set_weights(cast.acme, {"working_hours": 200}, "Nights hurt.", by="system:setup")
    (root_of(cast.prod) / "app.conf").write_text("before\n")
    action = carry(propose(cast, environment="prod", parameters=edit()))
    assert action.plan.facts["window"]["declared"] is True
    assert action.plan.facts["weights"] == {"working_hours": 200}
    for name in ("approver", "approver2"):
        review.approve(cast.access(name), action.pk, True, action.plan.digest, "")
    set_weights(cast.acme, {"working_hours": 0}, "They do not.", by="system:setup")
    now = carry(action)
    assert now.state == "completed" and "policy.evaluated" in verbs_of(now)


def test_what_was_approved_at_work_is_asked_again_when_nobody_is_there(committed_cast):
    cast = committed_cast
    three = [{"role": "approver", "count": 3}]
    MatrixRow.objects.filter(environment=cast.prod, tier="high").update(required_approvals=three)
    (root_of(cast.prod) / "app.conf").write_text("before\n")
    action = carry(propose(cast, environment="prod", parameters=edit()))
    assert action.tier == "medium"
    never = {"timezone": "UTC", "days": ["mon"], "from": "00:00", "to": "00:01"}
    later = (database_time() + timedelta(days=2)).strftime("%a").lower()
    cast.prod.settings |= {"hours": {**never, "days": [later]}}
    cast.prod.save()
    for name in ("approver", "approver2"):
        review.approve(cast.access(name), action.pk, True, action.plan.digest, "")
    now = carry(action)
    assert (now.state, now.tier) == ("awaiting_approval", "high")
    assert now.plan.facts["window"]["outside"] is True
    assert "Run it within the working hours of prod" in now.plan.blast["lower"][-1]["what"]
    assert (root_of(cast.prod) / "app.conf").read_text() == "before\n"
    assert facts_of(action, "action.reopen")["because"] == "stricter"


def test_the_inventory_may_name_things_with_their_environment_or_without(committed_cast):
    cast = committed_cast
    for name in ("a.conf", "dev:b.conf"):
        Resource.objects.create(
            tenant=cast.acme, environment=cast.dev, kind="file", name=name, risk_class="dangerous", monthly_cost=5
        )
    for name in ("a.conf", "b.conf"):
        (known,) = done(cast, name).plan.facts["resources"]
        assert (known["name"], known["known"], known["risk_class"]) == (name, True, "dangerous")


def test_the_report_adds_up_by_type_and_tier(committed_cast):
    cast = committed_cast
    for n in range(2):
        done(cast, f"{n}.conf")
    done(cast, "bad.conf", checks=NEVER)
    carry(propose(cast, type="rerun_healthcheck", parameters={"host": "127.0.0.1", "port": 9}))
    rows = {row["type"]: row for row in accuracy_report([cast.dev.pk], 7)}
    files = rows["modify_files"]
    assert (files["runs"], files["completed_percent"], files["rolled_back_percent"]) == (3, 67, 33)
    assert (files["predicted"], files["verified"], files["checked"]) == (1.0, 1.0, 3)
    assert files["tiers"] == [{"tier": "low", "runs": 3, "checked": 3, "mismatched": 1, "percent": 33}]
    assert rows["rerun_healthcheck"]["verified"] is None and rows["rerun_healthcheck"]["failed_percent"] == 100
    assert accuracy_report([cast.prod.pk], 7) == []


@pytest.mark.parametrize(
    ("part", "whole", "said"), [(0, 0, None), (1, 1000, 1), (999, 1000, 99), (0, 5, 0), (5, 5, 100)]
)
def test_a_share_never_rounds_to_never_or_always(part, whole, said):
    assert percent(part, whole) == said
