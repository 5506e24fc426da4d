"""Changing the rules keeps the same promises as changing files. Its target is the database: the suite runs on one."""

import json
from pathlib import Path

import pytest

from actions.types.config_change import ConfigChange
from actions.types.conformance import ExecutorCase, ExecutorConformance
from actions.types.protocol import PlanRefused, Target
from approvals.policies.active_policies import active_policies_for
from approvals.policies.drafts import abandon_policy_draft, draft_matrix
from approvals.policies.matrix import matrix_for, set_row
from approvals.policies.publish import publish, published_version
from audit.models import Event
from tests.policies.factory import SETUP, TWO, backtested, drafted, published

ONE = [{"role": "approver", "count": 1}]
UNKNOWN = "01930000-0000-7000-8000-000000000001"


def target_in(place) -> Target:
    return Target(place.tenant_id, place.pk, place.slug, Path(place.root), {}, mask_key=b"k" * 32)


def rules_of(cast):
    return active_policies_for([cast.acme.pk]), matrix_for([cast.acme.pk])


def asked(kind: str, draft) -> dict[str, str]:
    return {"kind": kind, "draft": str(getattr(draft, "pk", draft))}


class Conformance(ExecutorConformance):
    """`case` is made on the cast's tenant instead of a directory."""

    @pytest.fixture
    def case(self, cast) -> ExecutorCase:
        parameters, tamper = self.prepare(cast)
        bad = [
            ({}, ""),
            (asked("else", UNKNOWN), "kind"),
            (asked("policy", "x"), "draft"),
            (asked("policy", UNKNOWN), "draft"),
        ]
        return ExecutorCase(
            ConfigChange(), target_in(cast.prod), parameters, snapshot=lambda: rules_of(cast), tamper=tamper, bad=bad
        )

    def prepare(self, cast):
        raise NotImplementedError


class TestPublishingTheFirstVersion(Conformance):
    def prepare(self, cast):
        version = backtested(drafted(cast.acme))
        return asked("policy", version), lambda: published(cast.acme, effect="warn")


class TestPublishingTheNextVersion(Conformance):
    def prepare(self, cast):
        published(cast.acme)
        version = backtested(drafted(cast.acme, effect="require", required_approvals=TWO))
        return asked("policy", version), lambda: published(cast.acme, effect="warn")


class TestPublishingAnEarlierVersionAgain(Conformance):
    def prepare(self, cast):
        version = published(cast.acme)
        published(cast.acme, mode="shadow")
        backtested(version)
        return asked("policy", version), lambda: published(cast.acme, effect="warn")


class TestRetiring(Conformance):
    def prepare(self, cast):
        version = backtested(published(cast.acme), "retire")
        return asked("retire", version), lambda: published(cast.acme, effect="warn")


class TestReplacingTheMatrix(Conformance):
    def prepare(self, cast):
        set_row(cast.prod, "low", ONE, by=SETUP)
        set_row(cast.prod, "high", ONE, by=SETUP)
        draft = backtested(draft_matrix(cast.prod, {"high": TWO, "critical": TWO}, by=SETUP))
        return asked("matrix", draft), lambda: set_row(cast.prod, "high", [*TWO, *ONE], by=SETUP)


def refused(parameters, place) -> list[str]:
    with pytest.raises(PlanRefused) as found:
        ConfigChange().plan(parameters, target_in(place))
    assert {issue.field for issue in found.value.issues} == {"draft"}
    return [issue.message for issue in found.value.issues]


def test_the_diff_is_the_rule_as_text(cast):
    published(cast.acme)
    second = backtested(
        drafted(cast.acme, effect="require", required_approvals=TWO, expression="plan.deletes > 0\n&& true")
    )
    (change,) = ConfigChange().plan(asked("policy", second), target_in(cast.prod)).changes
    assert (change.operation, change.language, change.target) == ("modify", "yaml", "policy/no-deletes.yaml")
    assert change.before is not None and "effect: deny\n" in change.before and "version: 1\n" in change.before
    assert change.after is not None and "effect: require\n" in change.after
    assert "expression: |-\n  plan.deletes > 0\n  && true\n" in change.after


def test_another_tenants_draft_is_not_there(cast):
    version, draft = drafted(cast.globex), draft_matrix(cast.globex_prod, {}, by=SETUP)
    assert refused(asked("policy", version), cast.prod) == refused(asked("policy", UNKNOWN), cast.prod)
    assert refused(asked("matrix", draft), cast.prod) == refused(asked("matrix", UNKNOWN), cast.prod)


def test_a_global_policy_is_published_only_where_it_is_kept(cast):
    version = backtested(drafted(cast.acme, everywhere=True))
    refused(asked("policy", version), cast.globex_prod)
    ConfigChange().plan(asked("policy", version), target_in(cast.prod))


def test_a_matrix_is_changed_in_its_own_environment_only(cast):
    draft = draft_matrix(cast.prod, {"low": TWO}, by=SETUP)
    refused(asked("matrix", draft), cast.dev)


def test_what_is_no_draft_any_more_is_refused(cast):
    version, other = published(cast.acme), drafted(cast.acme, "other")
    refused(asked("policy", version), cast.prod)
    refused(asked("retire", other), cast.prod)
    abandon_policy_draft(other.pk, by=SETUP)
    refused(asked("policy", other), cast.prod)
    same = draft_matrix(cast.prod, {}, by=SETUP)
    refused(asked("matrix", same), cast.prod)


def test_what_was_done_names_the_action_and_the_attempt(cast):
    case = ExecutorCase(ConfigChange(), target_in(cast.prod), asked("policy", backtested(drafted(cast.acme))))
    draft = case.plan()
    case.run(draft, action_id=cast.prod.pk)
    event = Event.objects.filter(verb="policy.published").get()
    assert json.loads(bytes(event.body))["facts"]["action"] == str(cast.prod.pk)
    assert (event.actor, event.correlation_id) == ("system:execute", "step:key-no-deletes")


def test_an_expression_that_the_facts_outgrew_is_refused(cast, monkeypatch):
    version = drafted(cast.acme)
    monkeypatch.setattr(
        "actions.types.config_change.rule_targets.faults_of_expression",
        lambda text: [{"message": "undeclared reference"}],
    )
    assert "undeclared reference" in refused(asked("policy", version), cast.prod)[0]


def test_nothing_is_published_over_what_somebody_else_published(cast):
    first, second = backtested(drafted(cast.acme)), drafted(cast.acme, effect="warn")
    case = ExecutorCase(ConfigChange(), target_in(cast.prod), asked("policy", first))
    draft = case.plan()
    publish(second.pk, None, SETUP, expected=None)
    (outcome,) = [case.executor.apply(ctx) for ctx in case.contexts(draft)]
    assert (outcome.ok, outcome.code) == (False, "precondition")
    assert published_version(first.policy_id) == 2
