"""What is watched while a run goes on: checks that must hold all the time, and how many attempts fail."""

import time

import pytest

from actions.commands import stop_resume
from actions.types.protocol import Outcome
from tests.actions.factory import propose, root_of
from tests.actions.running import carry, verbs_of
from tests.run.test_rollback import facts_of
from tests.support.ledger_executor import balance

pytestmark = pytest.mark.django_db(transaction=True)
SIGN = {"kind": "file", "name": "sign", "path": "sign", "exists": True, "during": True}


@pytest.fixture
def sign(committed_cast):
    sign = root_of(committed_cast.dev) / "sign"
    sign.write_text("well")
    return sign


def spoils(sign, step: str, ends=None):
    """In that step the check ceases to hold, and the attempt goes on until it is told to stop; then it `ends` so."""

    def before(ctx):
        if not ctx.step["key"].startswith(step):
            return None
        sign.unlink(missing_ok=True)
        until = time.monotonic() + 10
        while not ctx.stopping() and time.monotonic() < until:
            time.sleep(0.05)
        return ends

    return before


def watched(cast, *, then="hold", checks=(SIGN,), **parameters):
    parameters = {"steps": 3, **parameters}
    watch = {"every_s": 1, "then": then}
    return propose(cast, type="ledger", parameters=parameters, accept=True, checks=list(checks), watch=watch)


@pytest.mark.parametrize(("then", "ends"), [("hold", ("held", "risk_spike")), ("rollback", ("rolled_back", ""))])
def test_a_check_that_ceases_to_hold_stops_the_run(committed_cast, ledger_type, ledger, sign, then, ends):
    ledger_type.before = spoils(sign, "002")
    action = carry(watched(committed_cast, then=then))
    assert (action.state, action.held_reason) == ends
    assert facts_of(action, "risk.spiked")["checks"] == ["sign"]
    assert action.error["code"] == "risk_spike" and "sign" in action.error["message"]
    assert "cell-3" not in balance(ledger)
    moved = facts_of(action, "action.hold" if then == "hold" else "action.roll_back")
    assert moved["stopped"] == action.error["details"]["stopped"] == "cancelled_attempt"


def test_a_running_attempt_is_told_and_the_run_may_go_on_once_it_is_well_again(
    committed_cast, ledger_type, ledger, sign
):
    ledger_type.before = spoils(sign, "001", Outcome(False, "stopped", "Stopped in the middle."))
    held = carry(watched(committed_cast, steps=1))
    assert (held.state, facts_of(held, "action.hold")["stopped"]) == ("held", "cancelled_attempt")
    ledger_type.before = lambda ctx: None
    sign.write_text("well")
    stop_resume.resume(committed_cast.access("operator"), held.pk, "it is back", how="continue")
    assert carry(held).state == "completed"
    assert balance(ledger) == {"cell-1": 1}


def test_checks_that_hold_stop_nothing_and_leave_nothing(committed_cast, ledger_type, sign):
    action = carry(watched(committed_cast, steps=2, sleep_ms=600))
    assert action.state == "completed"
    assert "risk.spiked" not in verbs_of(action)


def test_too_large_a_share_of_failed_attempts_stops_the_run(committed_cast, ledger_type, ledger):
    failed: list[str] = []

    def shaky(ctx):
        if not ctx.step["key"].startswith("001"):
            failed.append(ctx.step["key"])
            return Outcome(False, "busy", "Try again.", retryable=True)
        return None

    ledger_type.before = shaky
    parameters = {"steps": 4, "after": [[], [1], [1], [1]]}
    action = propose(
        committed_cast, type="ledger", parameters=parameters, accept=True, watch={"error_rate": 0.5, "then": "hold"}
    )
    action = carry(action)
    assert (action.state, action.held_reason) == ("held", "risk_spike")
    spike = facts_of(action, "risk.spiked")
    assert spike["why"] == "error_rate" and spike["attempts"] >= 4 and spike["failures"] >= 3
    assert balance(ledger) == {"cell-1": 1}
