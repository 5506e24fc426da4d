"""Drafting: checked on save, without effect, with a trace, and only by people who administer."""

import json

import pytest

from approvals.errors import DraftChanged, MayNotChangeRules, NotADraft
from approvals.models import MatrixDraft, MatrixRow, Policy, PolicyVersion
from approvals.policies import drafts
from approvals.policies.active_policies import active_policies_for, epoch_of
from approvals.policies.policy_text import faults_of_expression, fingerprint, policy_text_of
from audit.errors import Invalid, NotFound
from audit.log.canonical_json import digest_of
from audit.models import Event, PrivateValue
from tenants.roles import add_member
from tests.policies.factory import SETUP, TWO, drafted, policy_text, published


def events(kind: str = "policy") -> list[tuple[str, str, dict]]:
    found = Event.objects.filter(subject_kind=kind).order_by("id")
    return [(e.verb, e.actor, json.loads(bytes(e.body))["facts"]) for e in found]


def test_a_draft_leaves_a_trace_and_has_no_effect(cast):
    version = drafts.draft_policy(cast.acme, "no-deletes", policy_text(), by=cast.access("admin"), correlation_id="c1")
    assert (version.version, version.state, version.author) == (1, "draft", cast.admin)
    ((verb, actor, facts),) = events()
    said = {
        "expression": "plan.deletes > 0",
        "effect": "deny",
        "required_approvals": [],
        "overridable": False,
        "mode": "enforce",
    }
    assert (verb, actor) == ("policy.drafted", str(cast.admin.pk))
    assert (facts["version"], facts["before"], facts["after"]) == (1, None, said)
    assert set(facts["message"]) == {"commitment"}
    assert bytes(PrivateValue.objects.get(name="message").value) == b"Nothing is deleted."
    assert active_policies_for([cast.acme.pk]) == {cast.acme.pk: []}
    assert epoch_of(cast.acme.pk) == 0


def test_drafts_of_one_name_are_versions_of_one_policy(cast):
    first, second = drafted(cast.acme), drafted(cast.acme, effect="warn")
    assert (first.policy_id, first.version, second.version) == (second.policy_id, 1, 2)
    assert drafted(cast.globex).version == 1
    assert drafted(cast.acme, everywhere=True).version == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"expression": "plan.delets > 0"}, "expression"),
        ({"expression": ""}, "expression"),
        ({"expression": "1 + 1"}, "expression"),
        ({"expression": "true && " * 2_000 + "true"}, "expression"),
        ({"effect": "forbid"}, "effect"),
        ({"mode": "maybe"}, "mode"),
        ({"message": " "}, "message"),
        ({"message": "x" * 501}, "message"),
        ({"message": "use password = hunter2-is-not-it-9f3c"}, "message"),
        ({"effect": "require"}, "required_approvals"),
        ({"required_approvals": TWO}, "required_approvals"),
        ({"effect": "require", "required_approvals": [{"role": "auditor", "count": 1}]}, "required_approvals"),
        ({"effect": "require", "required_approvals": [{"role": "approver", "count": 0}]}, "required_approvals"),
        ({"effect": "require", "required_approvals": "approver"}, "required_approvals"),
    ],
)
def test_what_cannot_be_a_policy_is_refused_naming_the_field(cast, fields, field):
    with pytest.raises(Invalid) as refused:
        drafted(cast.acme, **fields)
    assert {issue["field"] for issue in refused.value.extra["issues"]} == {field}
    assert not Policy.objects.exists()
    assert not Event.objects.filter(subject_kind="policy").exists()


def test_a_fault_of_the_expression_has_its_line_and_column(cast):
    with pytest.raises(Invalid) as refused:
        drafted(cast.acme, expression="plan.deletes > 0\n  && plan.nothing > 1")
    (issue,) = refused.value.extra["issues"]
    assert (issue["severity"], issue["field"], issue["line"]) == ("error", "expression", 2)
    assert issue["column"] > 1


@pytest.mark.parametrize("slug", ["", "No", "a b", "-a", "a--b", "x" * 65])
def test_a_name_is_a_short_slug(cast, slug):
    with pytest.raises(Invalid):
        drafted(cast.acme, slug)


@pytest.mark.parametrize("name", ["operator", "approver", "security", "auditor", "agent"])
def test_only_who_administers_drafts(cast, name):
    version = drafted(cast.acme)
    access = cast.access(name)
    for attempt in (
        lambda: drafts.draft_policy(cast.acme, "other", policy_text(), by=access),
        lambda: drafts.edit_policy_draft(version.pk, policy_text(effect="warn"), by=access),
        lambda: drafts.abandon_policy_draft(version.pk, by=access),
        lambda: drafts.draft_matrix(cast.prod, {"low": TWO}, by=access),
    ):
        with pytest.raises(MayNotChangeRules):
            attempt()
    assert PolicyVersion.objects.get().effect == "deny"
    assert len(events()) == 1 and not MatrixDraft.objects.exists()


def test_another_tenants_draft_is_not_there(cast):
    version = drafted(cast.globex)
    admin = cast.access("admin")
    for attempt in (
        lambda: drafts.draft_policy(cast.globex, "other", policy_text(), by=admin),
        lambda: drafts.edit_policy_draft(version.pk, policy_text(effect="warn"), by=admin),
        lambda: drafts.abandon_policy_draft(version.pk, by=admin),
        lambda: drafts.draft_matrix(cast.globex_prod, {}, by=admin),
    ):
        with pytest.raises(NotFound):
            attempt()


def test_a_global_policy_takes_who_administers_every_tenant(cast):
    with pytest.raises(MayNotChangeRules):
        drafts.draft_policy(cast.acme, "everywhere", policy_text(), by=cast.access("admin"), everywhere=True)
    add_member(cast.admin, cast.globex.roles.get(name="admin"))
    made = drafts.draft_policy(cast.acme, "everywhere", policy_text(), by=cast.access("admin"), everywhere=True)
    assert made.policy.is_global and made.policy.home == cast.acme


def test_a_draft_is_edited_with_before_and_after(cast):
    version = drafted(cast.acme)
    drafts.edit_policy_draft(version.pk, policy_text(), by=SETUP)
    drafts.edit_policy_draft(version.pk, policy_text(effect="require", required_approvals=TWO), by=SETUP)
    (_, (verb, _, facts)) = events()
    assert verb == "policy.draft_edited"
    assert (facts["before"]["effect"], facts["after"]["effect"], facts["after"]["required_approvals"]) == (
        "deny",
        "require",
        TWO,
    )
    with pytest.raises(Invalid):
        drafts.edit_policy_draft(version.pk, policy_text(expression="nonsense"), by=SETUP)
    version.refresh_from_db()
    assert version.effect == "require"


def test_what_is_no_draft_is_neither_edited_nor_abandoned(cast):
    version, given_up = published(cast.acme), drafted(cast.acme, "given-up")
    drafts.abandon_policy_draft(given_up.pk, by=SETUP)
    before = events()
    for pk in (version.pk, given_up.pk):
        with pytest.raises(NotADraft):
            drafts.edit_policy_draft(pk, policy_text(effect="warn"), by=SETUP)
        with pytest.raises(NotADraft):
            drafts.abandon_policy_draft(pk, by=SETUP)
    assert events() == before
    assert before[-1][0] == "policy.draft_abandoned"


def test_a_matrix_is_drafted_whole_and_has_no_effect(cast):
    made = drafts.draft_matrix(cast.prod, {"low": [], "high": TWO}, by=cast.access("admin"))
    drafts.edit_matrix_draft(made.pk, {"high": TWO}, by=cast.access("admin"))
    drafts.abandon_matrix_draft(made.pk, by=cast.access("admin"))
    assert [verb for verb, _, _ in events("matrix")] == [
        "matrix.drafted",
        "matrix.draft_edited",
        "matrix.draft_abandoned",
    ]
    assert events("matrix")[1][2]["before"] == {"low": [], "high": TWO}
    assert not MatrixRow.objects.exists()
    with pytest.raises(NotADraft):
        drafts.edit_matrix_draft(made.pk, {"low": []}, by=SETUP)


@pytest.mark.parametrize(
    "rows", [[], {"huge": TWO}, {"low": [{"role": "auditor", "count": 1}]}, {"low": [{"role": "approver"}]}]
)
def test_a_matrix_that_nobody_could_satisfy_is_refused(cast, rows):
    with pytest.raises(Invalid) as refused:
        drafts.draft_matrix(cast.prod, rows, by=SETUP)
    assert all(issue["field"].startswith("rows") for issue in refused.value.extra["issues"])
    assert not MatrixDraft.objects.exists()


def test_an_edit_that_started_from_an_older_wording_is_refused_and_changes_nothing(cast):
    version = drafted(cast.acme)
    opened = fingerprint(policy_text_of(version))
    drafts.edit_policy_draft(version.pk, policy_text(message="Somebody else's."), by=cast.access("admin"), seen=opened)
    with pytest.raises(DraftChanged) as refused:
        drafts.edit_policy_draft(version.pk, policy_text(message="Mine."), by=cast.access("admin"), seen=opened)
    version.refresh_from_db()
    assert version.message == "Somebody else's."
    assert refused.value.extra["digest"] == fingerprint(policy_text_of(version))
    assert Event.objects.filter(verb="policy.draft_edited").count() == 1


def test_an_edit_of_a_matrix_that_started_from_older_rows_is_refused(cast):
    draft = drafts.draft_matrix(cast.prod, {"low": []}, by=SETUP)
    drafts.edit_matrix_draft(draft.pk, {"low": TWO}, by=cast.access("admin"), seen=digest_of({"low": []}))
    with pytest.raises(DraftChanged):
        drafts.edit_matrix_draft(draft.pk, {}, by=cast.access("admin"), seen=digest_of({"low": []}))
    draft.refresh_from_db()
    assert draft.rows == {"low": TWO}


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (
            "plan.deleets > 0",
            "undeclared reference to 'plan.deleets': no such fact. Did you mean plan.deletes?",
        ),
        ("zzz", "undeclared reference to 'zzz': no such fact."),
        ("action.type > 3", "> does not work on (string, int): the types do not fit."),
        ("plan.deletes >", "Syntax error: mismatched input the end of the expression"),
    ],
)
def test_a_fault_says_what_was_probably_meant(expression, said):
    assert [issue["message"] for issue in faults_of_expression(expression)] == [said]
