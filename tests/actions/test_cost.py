"""What a lifecycle costs the database: counted, on PostgreSQL, from the claim of `queued` to `completed`."""

import pytest
from django.db import connection

from actions.engine.runner import Runner
from actions.models import Action
from tests.actions.factory import propose
from tests.support.statements import statements

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.postgresql,  # statements are counted there
]
ALONE = 35
IN_A_BATCH_OF_50 = 2 * 50


def changes(n: int) -> dict:
    return {"changes": [{"path": f"{n}-{k}.conf", "operation": "create", "content": f"{n}\n"} for k in range(3)]}


def carried(cast, monkeypatch, count: int) -> list[str]:
    assert connection.vendor == "postgresql"
    actions = [propose(cast, parameters=changes(n), accept=True) for n in range(count)]
    decide, execute = Runner("decide"), Runner("execute")
    try:
        decide.lease.current(), execute.lease.current()
        with statements(monkeypatch) as seen:
            decide.drain()
            execute.drain()
    finally:
        decide.stop(), execute.stop()
    assert Action.objects.filter(pk__in=[a.pk for a in actions], state="completed").count() == count
    return seen


def test_one_three_step_action_takes_at_most_35_statements(committed_cast, monkeypatch, capsys):
    seen = carried(committed_cast, monkeypatch, 1)
    print(f"\n{len(seen)} statements for one action:", *seen, sep="\n  ")
    assert len(seen) <= ALONE


def test_fifty_three_step_actions_take_at_most_two_statements_each(committed_cast, monkeypatch):
    seen = carried(committed_cast, monkeypatch, 50)
    print(f"\n{len(seen)} statements for fifty actions, {len(seen) / 50:.2f} each")
    assert len(seen) <= IN_A_BATCH_OF_50
