"""Actions with a judged plan, made by the hundred without going through the lifecycle."""

import random
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from actions.backtests import worker
from actions.backtests.evaluate import comparable
from actions.models import Action, Plan
from actions.models.states import ENDED
from approvals.policies.active_policies import active_policies_for
from approvals.policies.apply import evaluate
from approvals.policies.matrix import matrix_for
from audit.database.clock import uuid7
from tests.approvals.factory import facts_of
from tests.cast import Cast


def some_facts(cast: Cast, dice: random.Random) -> dict[str, Any]:
    """Facts of an action in one of acme's environments, in the form that preflight stores."""
    slug = dice.choice(["dev", "staging", "prod"])
    place = getattr(cast, slug)
    facts = facts_of(
        slug,
        creates=dice.randint(0, 3),
        modifies=dice.randint(0, 5),
        deletes=dice.choice([0, 0, 0, 1, 4]),
        confidence=dice.choice([None, 0.5, 0.95]),
        requester_kind=dice.choice(["person", "agent"]),
        risk_class=dice.choice(["safe", "guarded"]),
        type=dice.choice(["modify_files", "config_change"]),
        accepted_in_advance=dice.random() < 0.5,
        cost_delta=dice.choice(["0", "120.5", None]),
        matrix=matrix_for([cast.acme.pk]).get(place.pk, {}),
    )
    facts["environment"] |= {
        "id": str(place.pk),
        "risk_class": place.risk_class,
        "recommendation_only": dice.random() < 0.5,
    }
    facts["tenant"] = {"id": str(cast.acme.pk), "slug": "acme"}
    facts["plan"]["steps"] = facts["plan"]["changes"]
    return facts


def judged_actions(cast: Cast, n: int, *, seed: int = 1, days: float = 20, alike: int = 1) -> list[Action]:
    """`n` actions of acme that were judged by the rules in force now, spread over the last `days`.

    `alike`: so many in a row have the same facts, for those who need many and care little.
    """
    dice, now, rules = random.Random(seed), timezone.now(), active_policies_for([cast.acme.pk])[cast.acme.pk]
    actions, plans = [], []
    for number in range(n):
        if number % alike == 0:
            facts, at = some_facts(cast, dice), now - timedelta(days=dice.random() * days)
            verdict = evaluate(facts, rules, at)
        action = Action(
            id=uuid7(),
            tenant=cast.acme,
            environment=getattr(cast, facts["environment"]["slug"]),
            type=facts["action"]["type"],
            title="Change a file",
            requester=cast.operator,
            security_level="low",
            risk_class="guarded",
            correlation_id="c0ffee",
            created_at=at,
            state="denied" if verdict.outcome == "deny" else dice.choice(ENDED),
        )
        plans.append(
            Plan(
                id=uuid7(),
                action_id=action.pk,
                version=1,
                digest="0" * 64,
                document="0" * 64,
                changes="0" * 64,
                summary="",
                facts=facts,
                verdict=comparable(verdict),
                created_at=at,
            )
        )
        actions.append(action)
    Action.objects.bulk_create(actions, batch_size=500)
    Plan.objects.bulk_create(plans, batch_size=500)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE actions_action SET plan_id = (SELECT id FROM actions_plan WHERE action_id = actions_action.id) "
            "WHERE plan_id IS NULL AND correlation_id = 'c0ffee' AND state <> 'queued'"
        )
    return actions


def worked_off() -> None:
    """Carry every backtest on until none is under way."""
    while worker.run_slice():
        pass
