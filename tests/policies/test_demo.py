"""The demo's policies are in force, made like any other, and loading again changes nothing."""

from actions.demo.world import EXAMPLES, publish_policies
from approvals.policies.active_policies import active_policies_for
from approvals.policies.sandbox.process import evaluate_expressions
from audit.models import Event


def test_the_examples_are_published_at_setup_with_their_events(cast):
    publish_policies(cast.acme)
    publish_policies(cast.acme)
    rules = active_policies_for([cast.acme.pk, cast.globex.pk])
    assert [(r.slug, r.effect, r.is_global) for r in rules[cast.acme.pk]] == [
        ("no-deletes-of-services-in-prod", "require", True),
        ("agents-need-confidence", "warn", False),
        ("autonomous-diagnostics", "allow_autonomous", False),
    ]
    assert [r.slug for r in rules[cast.globex.pk]] == ["no-deletes-of-services-in-prod"]
    events = Event.objects.filter(subject_kind="policy")
    assert set(events.values_list("verb", "actor")) == {
        ("policy.drafted", "system:setup"),
        ("policy.published", "system:setup"),
    }
    assert events.count() == 2 * len(EXAMPLES)


def test_the_examples_say_what_they_mean():
    facts = {
        "environment.name": "prod",
        "plan.deletes": 1,
        "resources": [{"kind": "file", "name": "services/checkout.yaml"}],
        "requester.kind": "agent",
        "action.confidence": 0.4,
        "action.risk_class": "safe",
        "action.type": "rerun_healthcheck",
        "now": "2026-01-01T00:00:00+00:00",
    }
    expressions = [example.policy_text.expression for example in EXAMPLES]
    assert [ruling.value for ruling in evaluate_expressions(expressions, facts)] == [True, True, False]
    in_dev = {**facts, "environment.name": "dev", "action.confidence": 0.9}
    assert [ruling.value for ruling in evaluate_expressions(expressions, in_dev)] == [False, False, True]
