"""Every verdict that says something new is an event: at the start and at a checkpoint too, with rules and facts."""

import json

import pytest
from django.db import connection

from actions.commands import review
from actions.models import Action
from actions.types import registry
from audit.models import Event
from tests.actions.factory import edit, propose, root_of
from tests.actions.running import carry
from tests.policies.factory import published
from tests.support.ledger_executor import Hooked

pytestmark = pytest.mark.django_db(transaction=True)


def judged(action: Action) -> list[tuple[str, str, list[tuple[str, int]]]]:
    """At which point, what came of it, and by which versions."""
    found = Event.objects.filter(subject_id=action.pk, verb="policy.evaluated").order_by("seq")
    told = [json.loads(bytes(event.body))["facts"] for event in found]
    assert all(len(facts["facts_sha256"]) == 64 for facts in told)
    return [
        (f.get("at", "preflight"), f["outcome"], [(r["slug"], r["version"]) for r in f["policy_results"]]) for f in told
    ]


def test_a_version_that_came_after_the_approval_is_named_at_the_start(committed_cast):
    cast = committed_cast
    published(cast.acme, "p", expression="plan.deletes > 5")
    (root_of(cast.prod) / "app.conf").write_text("before\n")
    action = carry(propose(cast, environment="prod", parameters=edit()))
    for who in ("approver", "approver2"):
        review.approve(cast.access(who), action.pk, True, action.plan.digest, "")
    published(cast.acme, "p", expression="plan.deletes > 9")
    assert carry(action).state == "completed"
    assert judged(action) == [("preflight", "require_approval", [("p", 1)]), ("start", "require_approval", [("p", 2)])]


def test_a_start_that_found_nothing_new_says_so_by_itself(committed_cast):
    published(committed_cast.acme, "p", expression="plan.deletes > 5")
    (root_of(committed_cast.dev) / "app.conf").write_text("before\n")
    action = carry(propose(committed_cast, parameters=edit(), accept=True))
    assert action.state == "completed" and judged(action) == [("preflight", "allow", [("p", 1)])]


def test_what_turned_red_at_a_checkpoint_is_named(committed_cast):
    with registry.register_executor(Hooked()) as executor:

        def tighten(ctx):
            if ctx.step["key"].startswith("001"):
                published(committed_cast.acme, "p", expression="plan.steps > 0")
                connection.close()

        executor.before = tighten
        action = carry(propose(committed_cast, type="ledger", parameters={"steps": 3}, accept=True))
    assert (action.state, action.held_reason) == ("held", "policy")
    assert judged(action) == [("preflight", "allow", []), ("checkpoint", "deny", [("p", 1)])]
