"""The end of what a worker cannot carry, whoever is at fault."""

from typing import Any

from actions.case import Case, Script, durably
from actions.lifecycle import Write


def give_up(case: Case, code: str, message: str) -> Script:
    """End what cannot be carried: hold it for a person if anything may have been done, else fail it."""
    begun = case.action.state in ("in_progress", "verifying", "rolling_back")
    sets: dict[str, Any] = {"error": {"code": code, "message": message, "details": {}}}
    verb = "hold" if begun else "fail"
    if begun:
        sets["held_reason"] = code
    by, private = "system:runner", {"message": message}
    yield from durably(
        case, lambda: Write(case.action, verb, by=by, facts={"code": code}, private=private, sets=sets, release=True)
    )
