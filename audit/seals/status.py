"""Whether a tenant's log is sealed and verified, as far as is known now: cheap enough for every page."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

from audit.clock import database_time
from audit.seals.models import Tree
from audit.seals.unsealed import HORIZON, UNSEALED, as_uuid, marks
from audit.statements import run_prepared

MOST = 5_000
TOO_LONG_S = 60.0
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
        return self.behind_s > TOO_LONG_S


def integrity(tenant: UUID) -> Integrity:
    """Two statements, three while something is unsealed on PostgreSQL."""
    tree = Tree.objects.filter(tenant=tenant).first()
    behind_s = behind([tenant]).get(tenant, 0.0)
    if tree is None:
        return Integrity(None, 0, behind_s, None, "")
    broken = tree.broken or (f"Sealing stopped: {tree.halted}" if tree.halted else "")
    ok = False if broken else None if tree.verified_at is None else True
    return Integrity(ok, tree.size, behind_s, tree.verified_at, broken)


def behind(tenants: list[UUID] | None = None) -> dict[UUID, float]:
    """The age in seconds of the oldest unsealed event of each of these tenants, or of all; none where all is sealed."""
    whose = "" if tenants is None else f" AND e.tenant IN ({marks(len(tenants))})"
    ids = [t if connection.vendor == "postgresql" else t.hex for t in tenants or []]
    found = run_prepared(OLDEST.format(whose=whose), [*ids, MOST])
    now = database_time() if found else None
    return {as_uuid(tenant): max((now - _moment(at)).total_seconds(), 0.0) for tenant, at in found if now}


def halted_logs() -> int:
    """How many tenants' logs are not sealed further, because what they would be built on is in doubt."""
    return Tree.objects.exclude(halted="").count()


def _moment(at: datetime | str) -> datetime:
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return found if found.tzinfo else found.replace(tzinfo=UTC)
