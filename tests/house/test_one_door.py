"""One door for state: `actions.lifecycle.commit` alone writes it, and the drawn chart is the table."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from actions.lifecycle.transitions import MOVES, render_page
from actions.models.states import ACTIVE, ENDED, LIVE, State
from tests.house.test_floors import MODULES, named

DOOR = {"actions/lifecycle/commit.py", "actions/lifecycle/guarded_update.py"}
SET_STATE = re.compile(r"UPDATE\s+actions_action\b((?!WHERE).)*\bstate\s*=", re.S)
FIELDS = {"state", "held_reason"}
ALLOWED = {
    "actions/lifecycle/journal.py": {"record.state"},  # a step's state, folded from the journal
    "approvals/requests/withdraw.py": {
        "request.state",
        "request.closed_at",
        "request.expires_at",
        "request.save(update_fields=['state', 'closed_at', 'expires_at', 'notify_at'])",
    },
    "approvals/notifications/send.py": {"update(state=)"},  # a notification's
    "approvals/requests/decisions.py": {"request.state", "request.save(update_fields=['state', 'closed_at'])"},
    "approvals/policies/drafts.py": {"found.state", "version.state", "update(state=)"},  # a draft of the rules
    "approvals/policies/publish.py": {"update(state=)"},
    "actions/backtests/start.py": {"update(state=)"},  # a backtest
    "actions/backtests/worker.py": {"update(state=)"},
    "actions/controls/circuit_breaker.py": {"row.state", "self.row.state"},  # a circuit breaker's
    "audit/evidence/jobs.py": {"update(state=)"},  # a pack's, being built
    "audit/verification/jobs.py": {"job.state", "update(state=)"},  # how far a verification has come
    "audit/evidence/collect.py": {"self.state"},  # how the events tell that a subject ended
    "actions/incidents/open.py": {"incident.state", "update(state=)"},  # an incident's
    "actions/incidents/delivery.py": {"update(state=)"},  # a delivery's
}
"""What looks like a write of an action's state and is none: file → expressions."""


def test_the_drawn_states_are_the_table() -> None:
    drawn = (Path(settings.BASE_DIR) / "docs" / "state_machine.md").read_text()
    assert drawn == render_page(), "run `manage.py draw_state_machine`"


def test_every_state_is_reached_left_and_somebodys_turn() -> None:
    reached = {move.target for move in MOVES.values()}
    left = {source for move in MOVES.values() for source in move.sources}
    assert set(State) - reached == {State.QUEUED}
    assert set(State) - left == set(ENDED) - {State.FAILED}
    assert set(LIVE) | set(ENDED) == set(State) and not set(LIVE) & set(ENDED)
    assert set(ACTIVE) < set(LIVE)


@pytest.mark.parametrize("path", [p for p in MODULES if named(p) not in DOOR], ids=named)
def test_nothing_but_the_lifecycle_writes_an_actions_state(path: Path) -> None:
    found = set(writes_in(ast.parse(path.read_text())))
    assert found <= ALLOWED.get(named(path), set()), "go through actions.lifecycle.commit: write, advance or note"


def writes_in(tree: ast.AST) -> Iterator[str]:
    """Assignments to `.state` and the like, keyword writes of the ORM, and SQL that sets the table of actions."""
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign | ast.AugAssign):
            targets = [node.target]
        for target in (inner for written in targets for inner in ast.walk(written)):
            if isinstance(target, ast.Attribute) and isinstance(target.ctx, ast.Store) and target.attr in FIELDS:
                yield ast.unparse(target)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield from orm_writes(node, node.func.attr)
        if isinstance(node, ast.Constant) and SET_STATE.search(str(node.value)):
            yield node.value


def orm_writes(call: ast.Call, method: str) -> Iterator[str]:
    if method in ("update", "update_or_create"):
        yield from (f"{method}({k.arg}=)" for k in call.keywords if k.arg in FIELDS)
    if method == "bulk_update" and FIELDS & constants(call):
        yield ast.unparse(call)
    if method == "save" and any(k.arg == "update_fields" and FIELDS & constants(k.value) for k in call.keywords):
        yield ast.unparse(call)


def constants(tree: ast.AST) -> set[object]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


@pytest.mark.parametrize(
    "code",
    [
        "action.state = 'approved'",
        "w.action.state, other = 'approved', 1",
        "Action.objects.filter(pk=1).update(state='approved')",
        "Action.objects.bulk_update(rows, ['state'])",
        "action.save(update_fields=['state'])",
        "cursor.execute('UPDATE actions_action SET state = 1')",
    ],
)
def test_the_search_finds_every_way_to_write_it(code: str) -> None:
    assert list(writes_in(ast.parse(code)))
