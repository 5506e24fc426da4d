"""How the tenant's log stands, in one line, for the badge on each of the auditor's pages."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from audit.seals.status import Integrity, integrity


@dataclass(frozen=True)
class Standing:
    """`look` is a colour: ok, warn, bad or none."""

    look: str
    words: str
    more: str
    verified_at: datetime | None = None


def standing(tenant: UUID) -> Standing:
    """What the seals say, and the last verification. Two or three statements."""
    return worded(integrity(tenant))


def worded(found: Integrity) -> Standing:
    """Say what it means. What is broken comes before what is late."""
    if found.ok is False:
        return Standing("bad", "Broken", f"Stop relying on these records: {found.broken}", found.last_verified_at)
    if not found.sealed_upto:
        return Standing("", "Not sealed yet", "Every subject has its own chain of hashes; verify it on its page.")
    entries = f"{found.sealed_upto} entr{'y is' if found.sealed_upto == 1 else 'ies are'} sealed"
    if found.is_late:
        return Standing("warn", "Sealing is late", f"{entries}, and an event waits for {round(found.behind_s)} s")
    if found.ok is None:
        return Standing("", "Sealed", f"{entries}; the log as a whole was not verified yet")
    return Standing("ok", "Verified", entries, found.last_verified_at)
