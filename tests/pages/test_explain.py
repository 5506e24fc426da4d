"""Why an action was judged as it was: in one sentence, with everything that made it so."""

from typing import Any

import pytest

from actions.commands.review import approve
from actions.lifecycle.allowed import find_action
from actions.models import Action
from actions.queries.explain import explain
from approvals.models import MatrixRow
from audit.models import Event
from tests.actions.factory import an_action
from tests.cast import Cast
from tests.pages.conftest import Propose, a_file
from tests.policies.factory import TWO, published

ONE_MORE = [{"role": "security", "count": 1}]


def page(cast: Cast, action: Action, who: str = "operator") -> str:
    answer = cast.client(who).get(f"/actions/{action.pk}/explain/")
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_of_a_denied_action_the_first_sentence_names_the_policy_and_what_to_do(place: Cast, propose: Propose) -> None:
    published(place.acme, "no-files", expression='action.type == "modify_files"', message="Use the other door.")
    action = propose("prod")
    it = explain(action)
    assert it["sentence"] == "Denied by policy no-files v1: Use the other door."
    assert "propose it again" in it["next"] and "under Policies" in it["next"]
    assert it["required_approvals"] == [] and it["outcome"] == "deny"
    html = page(place, action)
    assert "Denied by policy no-files v1: Use the other door." in html and "None: the action is denied" in html


def test_an_error_denies_and_says_so_and_so_does_a_missing_row(place: Cast, propose: Propose) -> None:
    version = published(place.acme, "broken", expression="1 / plan.deletes > 0")
    it = explain(propose("prod"))
    assert it["sentence"].startswith("Denied by policy broken v1: It could not be evaluated")
    assert it["policies"][0]["result"] == "error" and "repairs or retires" in it["next"]
    type(version).objects.filter(pk=version.pk).update(state="retired")
    MatrixRow.objects.filter(environment=place.prod).delete()
    it = explain(propose("prod", parameters=a_file("other.txt")))
    assert (
        it["sentence"].startswith("Denied: The approval matrix has no row")
        and "Policies, Approval matrix" in it["next"]
    )


def test_every_policy_is_told_with_what_it_came_to(place: Cast, propose: Propose) -> None:
    published(place.acme, "a-warning", expression="plan.creates > 0", effect="warn", message="Mind the gap.")
    published(place.acme, "b-shadow", expression="plan.creates > 0", mode="shadow")
    published(place.acme, "c-quiet", expression="plan.deletes > 99")
    published(place.globex, "d-more", everywhere=True, expression="true", effect="require", required_approvals=ONE_MORE)
    action = propose("prod")
    it = explain(action)
    told = {p["slug"]: (p["result"], p["applies"], p["denies"]) for p in it["policies"]}
    assert told["a-warning"] == ("true", True, False) and told["c-quiet"] == ("false", False, False)
    assert told["b-shadow"] == ("true", True, False) and told["d-more"] == ("true", True, False)
    words = {p["slug"]: p["words"] for p in it["policies"]}
    assert words["b-shadow"].startswith("It would have denied the action")
    matrix = f"The row of the approval matrix for {it['tier']} changes in prod."
    assert [(s["role"], s["because"], s["open"]) for s in it["required_approvals"]] == [
        ("approver", matrix, 2),
        ("security", "Policy d-more v1 requires it in addition.", 1),
    ]
    html = page(place, action)
    assert "would have denied" in html and "1 did not match" in html and "Mind the gap." in html
    assert "0 of 3 required approvals are filled" in html


def test_who_filled_a_approval_is_told_and_how_it_is_judged_again_at_the_start(
    place: Cast, propose: Propose, carry: Any
) -> None:
    action = propose("prod")
    assert action.plan is not None
    approve(place.access("approver"), action.pk, True, action.plan.digest, "")
    it = explain(find_action(place.access("operator"), action.pk))
    assert [d["name"] for d in it["required_approvals"][0]["by"]] == ["Approver"] and it["required_approvals"][0][
        "open"
    ] == 1
    approve(place.access("approver2"), action.pk, True, action.plan.digest, "")
    carry()
    it = explain(find_action(place.access("operator"), action.pk))
    assert [m["when"] for m in it["moments"]] == ["preflight", "start"]
    seqs = list(
        Event.objects.filter(verb__in=["policy.evaluated", "action.start"])
        .order_by("seq")
        .values_list("seq", flat=True)
    )
    assert [m["seq"] for m in it["moments"]] == seqs
    assert it["moments"][0]["facts_sha256"] == it["facts_sha256"] and len(it["facts_sha256"]) == 64


def test_factors_raises_and_facts_are_those_that_were_stored(place: Cast, propose: Propose) -> None:
    action = propose("prod", security_level="critical")
    assert action.plan is not None
    it = explain(action)
    assert sum(f["points"] for f in it["blast"]["factors"]) == it["blast"]["score"] == action.blast_score
    assert it["raises"][-1]["rule"] == "security_level" and it["tier"] == "critical"
    facts = {f["name"]: f["value"] for f in it["facts"]}
    assert facts["plan.creates"] == 1 and facts["environment.name"] == "prod"


def test_an_action_without_a_plan_says_that_it_was_not_judged(cast: Cast) -> None:
    assert explain(find_action(cast.access("operator"), an_action(cast).pk))["sentence"].startswith("Not evaluated yet")
    failed = an_action(cast, "failed", error={"code": "plan_refused", "message": "No such file.", "details": {}})
    it = explain(find_action(cast.access("operator"), failed.pk))
    assert it["sentence"] == "Never evaluated: planning failed: No such file."
    assert "Never evaluated" in page(cast, failed)


def test_a_held_action_names_the_rule_that_held_it(cast: Cast) -> None:
    error = {"code": "policy", "message": "policy no-deletes v2: Nothing is deleted.", "details": {}}
    held = an_action(cast, "held", held_reason="policy", error=error)
    it = explain(find_action(cast.access("operator"), held.pk))
    assert it["sentence"] == "Held at a checkpoint by policy no-deletes v2: Nothing is deleted."
    assert "roll it back" in it["next"]


def test_what_needs_nobody_says_so(place: Cast, propose: Propose) -> None:
    assert explain(propose("dev"))["sentence"].startswith("No approval needed; the requester must accept")
    action = propose("dev", type="collect_diagnostics", parameters={})
    if action.plan is not None:
        assert explain(action)["sentence"].startswith("No approval needed: ")


@pytest.mark.parametrize("rows", [TWO])
def test_page_and_api_say_the_same_and_a_stranger_finds_nothing(
    place: Cast, propose: Propose, rows: list[dict[str, Any]]
) -> None:
    published(
        place.acme,
        "two-more",
        expression="true",
        effect="require",
        required_approvals=rows,
        message="<script>x</script>\u202e",
    )
    action = propose("prod")
    answer = place.api("operator").get(f"/api/actions/{action.pk}/explain")
    said = answer.json()
    assert answer.status_code == 200
    html = page(place, action)
    assert (
        said["sentence"] in html
        and said["required_approvals"][1]["because"] == "Policy two-more v1 requires it in addition."
    )
    assert "<script>x" not in html and "\u202e" not in html
    assert place.api("outsider").get(f"/api/actions/{action.pk}/explain").status_code == 404
    assert place.client("outsider").get(f"/actions/{action.pk}/explain/").status_code == 404
    for address in ("", "run/", "preview/"):
        assert (
            f"/actions/{action.pk}/explain/"
            in place.client("operator").get(f"/actions/{action.pk}/{address}").content.decode()
        )
