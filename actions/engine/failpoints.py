"""
Failpoints: named moments at which a fault test kills the worker, armed through the environment.

`INTERLOCK_CRASH_AT=after_effect:2` kills the process group (SIGKILL, no clean-up) when that moment is reached the
second time. Unarmed, `reached()` costs one comparison.
"""

import os
import signal
from collections import Counter
from typing import Any

POINTS = ("claimed", "resting", "before_intent", "after_intent", "after_effect", "after_receipt")
_armed, _, _nth = os.environ.get("INTERLOCK_CRASH_AT", "").partition(":")
_seen: Counter[str] = Counter()


def failpoint(moment: str, group: Any = ()) -> None:
    """
    Kill the process if this moment is armed. `before_commit` and `after_commit` are named after the steps in the group.
    """
    if not _armed:
        return
    for name in failpoint_names(moment, group):
        _seen[name] += 1
        if name == _armed and _seen[name] == int(_nth or 1):
            os.killpg(os.getpgrp(), signal.SIGKILL)


def failpoint_names(moment: str, group: Any) -> list[str]:
    """Translate a commit's moment into the step boundaries that its transitions contain."""
    if moment not in ("before_commit", "after_commit"):
        return [moment]
    kinds = {line.kind for transition in group for line in transition.journal_entries}
    names = []
    if moment == "before_commit":
        names += ["before_intent"] * ("intent" in kinds) + ["after_effect"] * ("receipt" in kinds)
    else:
        names += ["after_intent"] * ("intent" in kinds) + ["after_receipt"] * ("receipt" in kinds)
    undo = ["undo_intent" in kinds, "undo_receipt" in kinds]
    before = moment == "before_commit"
    names += ["before_undo_intent" if before else "after_undo_intent"] * undo[0]
    names += ["after_undo_effect" if before else "after_undo_receipt"] * undo[1]
    return names
