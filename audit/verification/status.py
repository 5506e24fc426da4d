"""Whether a tenant's log is sealed and verified, as numbers and in one line."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

from audit.database.clock import database_time
from audit.database.statements import run_prepared
from audit.models.seals import Tree
from audit.seals.sealer import HORIZON, UNSEALED, as_uuid, placeholders

MAX_EVENTS = 5_000
MAX_DELAY_S = 60.0
OLDEST = f"""
SELECT tenant, min(at) FROM (
    SELECT e.tenant, e.at FROM audit_event e WHERE e.id > {HORIZON} AND {UNSEALED}{{whose}} ORDER BY e.id LIMIT %s
) AS found GROUP BY tenant
"""


@dataclass(frozen=True)
class Integrity:
    """`ok`: None before the first verification, False once something was found broken or sealing had to stop.

    `sealed_upto`: entries in the sealed log. `behind_s`: age of the oldest event that is not sealed, 0 if none is.
    `broken`: what is wrong, in words, or "".
    """

    ok: bool | None
    sealed_upto: int
    behind_s: float
    last_verified_at: datetime | None
    broken: str

    @property
    def is_late(self) -> bool:
        """Whether the sealer is so far behind that it probably does not run."""
        return self.behind_s > MAX_DELAY_S


def integrity(tenant: UUID) -> Integrity:
    """Two statements, three while something is unsealed on PostgreSQL."""
    tree = Tree.objects.filter(tenant=tenant).first()
    behind_s = sealing_delays([tenant]).get(tenant, 0.0)
    if tree is None:
        return Integrity(None, 0, behind_s, None, "")
    broken = tree.broken or (f"Signing stopped: {tree.halted}" if tree.halted else "")
    ok = False if broken else None if tree.verified_at is None else True
    return Integrity(ok, tree.size, behind_s, tree.verified_at, broken)


def sealing_delays(tenants: list[UUID] | None = None) -> dict[UUID, float]:
    """The age in seconds of the oldest unsealed event of each of these tenants, or of all; none where all is sealed."""
    whose = "" if tenants is None else f" AND e.tenant IN ({placeholders(len(tenants))})"
    ids = [t if connection.vendor == "postgresql" else t.hex for t in tenants or []]
    found = run_prepared(OLDEST.format(whose=whose), [*ids, MAX_EVENTS])
    now = database_time() if found else None
    return {as_uuid(tenant): max((now - _parse_time(at)).total_seconds(), 0.0) for tenant, at in found if now}


def count_halted_logs() -> int:
    """How many tenants' logs are halted, because the stored tree does not match the last signed head."""
    return Tree.objects.exclude(halted="").count()


def _parse_time(at: datetime | str) -> datetime:
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# How the tenant's log stands, in one line, for the badge on each of the auditor's pages.


@dataclass(frozen=True)
class LogStatus:
    """`look` is a colour: ok, warn, bad or none."""

    look: str
    words: str
    more: str
    verified_at: datetime | None = None


def log_status(tenant: UUID) -> LogStatus:
    """The state of signing, and of the last verification. Two or three statements."""
    return describe_integrity(integrity(tenant))


def describe_integrity(found: Integrity) -> LogStatus:
    """Describe the state: broken before late."""
    if found.ok is False:
        return LogStatus("bad", "Broken", f"Do not rely on these records: {found.broken}", found.last_verified_at)
    if not found.sealed_upto:
        return LogStatus("", "Not signed yet", "Each subject has its own hash chain. Verify it on the subject's page.")
    entries = f"{found.sealed_upto} entr{'y is' if found.sealed_upto == 1 else 'ies are'} signed"
    if found.is_late:
        return LogStatus("warn", "Signing is late", f"{entries}; an event has waited for {round(found.behind_s)} s")
    if found.ok is None:
        return LogStatus("", "Sealed", f"{entries}; the whole log was not verified yet")
    return LogStatus("ok", "Verified", entries, found.last_verified_at)
