"""What a run must have for itself."""

from actions.case import Case
from actions.locks import Wanted, wanted


def claims_of(case: Case) -> list[Wanted]:
    """What a run must have for itself: every resource that its plan touches, unless it changes nothing."""
    if not case.changes_something:
        return []
    return wanted(case.action.environment_id, case.facts.get("resources", []))
