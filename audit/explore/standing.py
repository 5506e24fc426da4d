"""How the tenant's log stands, in one line, for the badge on each of the auditor's pages."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

LATE_S = 60
"""A log that is sealed no further than this behind is called up to date."""


@dataclass(frozen=True)
class Standing:
    """`look` is a colour: ok, warn, bad or none."""

    look: str
    words: str
    more: str
    verified_at: datetime | None = None


def standing(tenant: UUID) -> Standing:
    """What the seals say, and the last verification. Cheap."""
    return worded(None)


def worded(found: Any) -> Standing:
    """Say what an `Integrity` means. `ok` is None when nothing was verified yet."""
    if found is None or not found.sealed_upto:
        return Standing("", "Not sealed yet", "Every subject has its own chain of hashes; verify it on its page.")
    if found.ok is False:
        return Standing("bad", "Broken", f"Stop relying on these records: {found.broken}", found.last_verified_at)
    behind = f"{round(found.behind_s)} s behind" if found.behind_s and found.behind_s > LATE_S else ""
    sealed = f"sealed up to entry {found.sealed_upto}" + (f", {behind}" if behind else "")
    if found.ok is None:
        return Standing("warn" if behind else "", "Sealed", f"{sealed}; not verified yet")
    return Standing("warn" if behind else "ok", "Verified", sealed, found.last_verified_at)
