"""
Every trap, tried by every way, and refused: with the right status and words, with an event where the law wants one, and
with nothing else changed, whatever was tried.

A row lays its trap in a fresh world and names who then tries what. By page and by API the refusal is the one in the
row; in the Django admin there is no door that could make the attempt come true, whoever stands before it.
"""

import pytest

from actions.commands import review as commands_decide
from actions.models import Action
from approvals.models import Request
from tenants.roles import remove_member
from tests.actions.running import carry
from tests.traps.ways import WAYS
from tests.traps.world import EACH, TWO, Attempt, World

OTHER = "f" * 64


def no_rule_matches(w: World) -> Attempt:
    return w.attempt("approver", w.asked())


def a_policy_errs(w: World) -> Attempt:
    w.required_approvals()
    w.rule("plan.modifies / plan.deletes > 0", effect="warn")
    return w.attempt("approver", w.asked())


def a_superuser_decides(w: World) -> Attempt:
    w.required_approvals()
    return w.attempt("admin", w.asked())


def a_superuser_who_is_no_member_decides(w: World) -> Attempt:
    w.required_approvals()
    action, program = w.asked(), w.cast.api("admin")
    remove_member(w.cast.admin, w.cast.roles["admin"])
    return w.attempt("admin", action, program=program)


def the_requester_approves_with_another_token(w: World) -> Attempt:
    """Proposed with one token, approved with the next one, or in the browser: it is the same person."""
    w.give("operator", "approver")
    w.required_approvals()
    first, action = w.cast.api("operator"), w.asked()
    assert first.get(f"/api/actions/{action.pk}").status_code == 200
    return w.attempt("operator", action, program=w.cast.api("operator"))


def the_owner_approves_what_their_agent_proposed(w: World) -> Attempt:
    w.give("operator", "approver")
    w.required_approvals()
    return w.attempt("operator", w.asked("agent"))


def an_agent_approves_for_its_owner(w: World) -> Attempt:
    w.give("agent", "approver")
    w.required_approvals()
    return w.attempt("agent", w.asked("operator"))


def the_role_was_given_after_the_request_opened(w: World) -> Attempt:
    w.required_approvals()
    action = w.asked()
    w.give("auditor", "approver")
    return w.attempt("auditor", action)


def one_person_fills_a_second_approval(w: World) -> Attempt:
    w.give("security", "approver")
    w.required_approvals(EACH)
    action = w.asked()
    decide(w, "security", action)
    return w.attempt("security", action)


def the_digest_is_stale(w: World) -> Attempt:
    w.required_approvals()
    return w.attempt("approver", w.asked(), digest=OTHER)


def it_was_approved_already(w: World) -> Attempt:
    w.required_approvals()
    action = w.asked()
    decide(w, "approver", action)
    return w.attempt("approver2", action)


def it_was_rejected_already(w: World) -> Attempt:
    w.required_approvals()
    action = w.asked()
    decide(w, "approver", action, approved=False)
    return w.attempt("approver2", action)


def a_policy_was_tightened_after_approval(w: World) -> Attempt:
    """The stricter of both: nothing ran, security is asked as well, and the requester cannot wave it through."""
    w.required_approvals()
    action = w.asked()
    decide(w, "approver", action)
    w.rule("plan.modifies > 0", effect="require", required_approvals=[{"role": "security", "count": 1}])
    carry(action)
    asked = Request.objects.get(subject_id=action.pk, state="open")
    assert asked.required_approvals == [{"role": "approver", "count": 1}, {"role": "security", "count": 1}]
    return w.attempt("operator", action, "accept")


def a_policy_was_loosened_after_the_request_opened(w: World) -> Attempt:
    """What was asked stays asked: a matrix that asks nobody by now does not let the requester through."""
    w.required_approvals(TWO)
    action = w.asked()
    w.required_approvals([])
    return w.attempt("operator", action, "accept")


def the_plan_changed_after_approval(w: World) -> Attempt:
    """The approval was of another plan; the digest that was approved is refused for the new one."""
    w.required_approvals()
    action = w.asked()
    approved = w.attempt("approver2", action)
    decide(w, "approver", action)
    w.file().write_text("somebody else was here\n")
    carry(action)
    return approved


def a_removed_member_decides(w: World) -> Attempt:
    w.required_approvals()
    action, program = w.asked(), w.cast.api("approver")
    remove_member(w.cast.approver, w.cast.roles["approver"])
    return w.attempt("approver", action, program=program)


def a_member_who_lost_the_role_decides(w: World) -> Attempt:
    w.required_approvals()
    w.give("approver", "auditor")
    action = w.asked()
    remove_member(w.cast.approver, w.cast.roles["approver"])
    return w.attempt("approver", action)


def an_approver_was_removed_after_approving(w: World) -> Attempt:
    """At the start their approval no longer counts: it is asked for again, and they are not who can answer."""
    w.required_approvals()
    action, program = w.asked(), w.cast.api("approver")
    decide(w, "approver", action)
    remove_member(w.cast.approver, w.cast.roles["approver"])
    carry(action)
    assert Request.objects.filter(subject_id=action.pk, state="open").exists()
    return w.attempt("approver", action, program=program)


def decide(w: World, who: str, action: Action, approved: bool = True) -> None:
    digest = Action.objects.select_related("plan").get(pk=action.pk).plan.digest
    commands_decide.approve(w.cast.access(who), action.pk, approved, digest, "because")


DENIED, WAITING = "denied", "awaiting_approval"
NOT_NOW = "there is nothing to decide"
OWN = "requesters cannot approve their own actions"
OWNER = "owners cannot approve the actions of their agents"
OUTSIDE = {"page": 403, "api": 404}
NOTHING = {"page": "you belong to no tenant", "api": "Not found, or you have no access."}
REFUSED = "approval.refused"
TABLE = [
    (no_rule_matches, DENIED, 409, NOT_NOW, ""),
    (a_policy_errs, DENIED, 409, NOT_NOW, ""),
    (a_superuser_decides, WAITING, 403, "may not approve", REFUSED),
    (a_superuser_who_is_no_member_decides, WAITING, OUTSIDE, NOTHING, ""),
    (the_requester_approves_with_another_token, WAITING, 403, OWN, REFUSED),
    (the_owner_approves_what_their_agent_proposed, WAITING, 403, OWNER, REFUSED),
    (an_agent_approves_for_its_owner, WAITING, 403, "Agents cannot decide; a person has to.", REFUSED),
    (one_person_fills_a_second_approval, WAITING, 409, "You have already decided", ""),
    (the_digest_is_stale, WAITING, 409, "The plan changed.", ""),
    (it_was_approved_already, "approved", 409, NOT_NOW, ""),
    (it_was_rejected_already, "rejected", 409, NOT_NOW, ""),
    (a_policy_was_tightened_after_approval, WAITING, 409, "accepting the diff does not fill them", ""),
    (a_policy_was_loosened_after_the_request_opened, WAITING, 409, "accepting the diff does not fill them", ""),
    (the_plan_changed_after_approval, WAITING, 409, "The plan changed.", ""),
    (a_member_who_lost_the_role_decides, WAITING, 403, "may not approve", REFUSED),
    (a_removed_member_decides, WAITING, OUTSIDE, NOTHING, ""),
    (an_approver_was_removed_after_approving, WAITING, OUTSIDE, NOTHING, ""),
    (the_role_was_given_after_the_request_opened, WAITING, 403, "role", REFUSED),
]


ROWS = [pytest.param(*row, id=row[0].__name__) for row in TABLE]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("trap", "state", "status", "words", "event"), ROWS)
def test_it_is_refused_and_nothing_changes(cast, way, trap, state, status, words, event):
    world = World(cast)
    tried = trap(world)
    assert Action.objects.get(pk=tried.action.pk).state == state
    before, last, actor = world.everything(), world.last_event(), str(getattr(cast, tried.who).pk)
    answer = WAYS[way](world, tried)
    assert world.everything() == before
    if way == "admin":
        assert world.events_since(last) == []
    else:
        assert answer.status == (status[way] if isinstance(status, dict) else status), answer
        assert (words[way] if isinstance(words, dict) else words) in answer.words, answer
        assert world.events_since(last) == ([(event, "refused", actor)] if event else [])
    now = carry(tried.action)
    assert world.file().read_text() != "after\n" or state == "approved", "nothing runs that was not approved"
    assert now.state == ("completed" if state == "approved" else state)
