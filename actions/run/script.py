"""The life of an approved action, as one piece of linear code: start, steps, verification, or the way back."""

import time

from actions.case import Case, Script
from actions.run.rollback import roll_back
from actions.run.simulate import intended_by
from actions.run.start import start
from actions.run.steps import run_steps
from actions.run.verify import verify
from actions.states import State


def run(case: Case) -> Script:
    """Carry an action on from whatever state and ledger it is found in."""
    action = case.action
    if action.undo_of_id:
        case.undone = case.before_images(action.undo_of_id)
    if action.state == State.APPROVED and not (yield from start(case)):
        return
    if action.simulated and action.state == State.IN_PROGRESS:
        case.intended = intended_by(case)
    if action.state == State.IN_PROGRESS:
        yield from run_steps(case, time.monotonic() + action.timeout_s)
    if action.state == State.VERIFYING:
        yield from verify(case)
    if action.state == State.ROLLING_BACK:
        yield from roll_back(case)
