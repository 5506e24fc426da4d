"""Errors of actions, each with a status, a code, and a docstring that is its default message."""

from audit.errors import Conflict, Forbidden, Invalid, Problem


class WrongState(Conflict):
    """The action changed state; this is no longer possible."""

    code = "wrong_state"


class NotAllowed(Forbidden):
    """Your roles do not allow this in that environment."""

    code = "not_allowed"


class BadSubmission(Invalid):
    """The submission has errors; `issues` lists every one with its field. Nothing was stored."""

    code = "bad_submission"


class KeyReused(Invalid):
    """This Idempotency-Key was used for another submission. Use a new key for a new action."""

    code = "idempotency_key_reused"


class NothingToUndo(Problem):
    """There is nothing to roll back: the action changed nothing, or what it changed cannot be restored."""

    status, code = 409, "nothing_to_undo"


class OnlySimulated(NothingToUndo):
    """This action was simulated: nothing was changed, so there is nothing to undo."""

    code = "only_simulated"


class NothingToBacktest(Conflict):
    """This draft is in force or was abandoned, so there is nothing to evaluate."""

    code = "nothing_to_backtest"


class BacktestUnderWay(Conflict):
    """A backtest of this draft is running. Wait for it, or cancel it first."""

    code = "backtest_under_way"


class BacktestNeeded(Conflict):
    """Policies are published only after a backtest of exactly their text."""

    code = "backtest_needed"


class AlreadyQuarantined(Conflict):
    """This resource is already quarantined."""

    code = "already_quarantined"


class ResourceInUse(Conflict):
    """An action holds the lock on this resource."""

    code = "in_use"


# Errors of incidents.


class IncidentChanged(Conflict):
    """Someone else changed this incident. Reload it."""

    code = "incident_changed"
