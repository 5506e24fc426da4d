"""Taking actions into a worker's hands: one statement, no two workers ever the same action."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from actions.guarded_update import as_time, as_uuid
from actions.models import Action
from actions.states import TO_DECIDE, TO_EXECUTE
from audit.statements import run_prepared

STATES = {"decide": TO_DECIDE, "execute": TO_EXECUTE}

IS_NEXT = """NOT EXISTS (
            SELECT 1 FROM actions_resourceclaim w JOIN actions_resourceclaim o ON o.key = w.key
            WHERE w.action_id = a.id AND NOT w.held
                AND (o.action_id < w.action_id OR (o.held AND o.action_id <> w.action_id)))"""
"""True of `a` unless somebody is before it at a resource that it waits for."""

_POSTGRES = f"""
    UPDATE actions_action SET lease_id = %s WHERE id IN (
        SELECT a.id FROM actions_action a
        WHERE a.state = ANY(%s) AND a.lease_id IS NULL
            AND (a.state <> 'approved' OR ((a.not_before IS NULL OR a.not_before <= now())
                AND (a.expires_at IS NULL OR a.expires_at > now())))
            AND {IS_NEXT}
        ORDER BY a.priority DESC, a.id LIMIT %s FOR UPDATE SKIP LOCKED)
    AND EXISTS (SELECT 1 FROM actions_lease l WHERE l.id = %s AND l.ended_at IS NULL)
    RETURNING id, statement_timestamp()"""

_SQLITE = f"""
    UPDATE actions_action SET lease_id = %s WHERE id IN (
        SELECT a.id FROM actions_action a
        WHERE a.state IN (SELECT value FROM json_each(%s)) AND a.lease_id IS NULL
            AND (a.state <> 'approved'
                OR ((a.not_before IS NULL OR a.not_before <= strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now'))
                AND (a.expires_at IS NULL OR a.expires_at > strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now'))))
            AND {IS_NEXT}
        ORDER BY a.priority DESC, a.id LIMIT %s)
    AND EXISTS (SELECT 1 FROM actions_lease l WHERE l.id = %s AND l.ended_at IS NULL)
    RETURNING id, strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')"""


def claim(queue: str, lease: int, limit: int) -> tuple[list[UUID], datetime | None]:
    """
    Put up to `limit` actions that wait for this queue under a lease; return their ids, and the database's time.

    Takes row locks with SKIP LOCKED, so claims never wait for one another. A lease that has ended claims nothing. An
    approval whose time is up is left to the sweep, however late that is.
    """
    states = STATES[queue]
    if connection.vendor == "postgresql":
        parameters: list[Any] = [lease, list(states), limit, lease]
        statement = _POSTGRES
    else:
        parameters = [lease, '["' + '","'.join(states) + '"]', limit, lease]
        statement = _SQLITE
    rows = run_prepared(statement, parameters)
    ids = [as_uuid(r[0]) for r in rows]
    return ids, (as_time(rows[0][1]) if rows else None)


def release(action_ids: list[UUID], lease: int) -> None:
    """Let go of actions that a worker cannot carry on just now."""
    Action.objects.filter(pk__in=action_ids, lease_id=lease).update(lease=None)
