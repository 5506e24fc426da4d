"""SQL conditions that keep an action from starting, embedded in other statements."""

RUNNING = ("in_progress", "verifying", "rolling_back")
"""The states that concurrency limits count."""

IS_NOT_FROZEN = """NOT EXISTS (
            SELECT 1 FROM actions_freeze h
            WHERE h.environment_id = a.environment_id AND h.lifted_at IS NULL)"""
"""True of an action `a` unless its environment is frozen."""

LIMIT_COVERS = """c.tenant_id = a.tenant_id AND (c.environment_id IS NULL OR c.environment_id = a.environment_id)
            AND (c.type = '' OR c.type = a.type)"""
"""True of a concurrency limit `c` that covers `a`."""

IS_UNLIMITED = f"NOT EXISTS (SELECT 1 FROM actions_concurrencylimit c WHERE {LIMIT_COVERS})"

FREE_LIMITS = f"""SELECT c.id, c.tenant_id, c.environment_id, c.type, c.most - (
            SELECT count(*) FROM actions_action a
            WHERE {LIMIT_COVERS} AND a.state IN ('in_progress','verifying','rolling_back')
        ) - (
            SELECT count(*) FROM actions_action a
            WHERE {LIMIT_COVERS} AND a.state = 'approved' AND a.lease_id IS NOT NULL
        ) AS free FROM actions_concurrencylimit c"""
"""Every concurrency limit, and how many more it admits; dequeued actions count already."""


PASSES_BREAKER = """NOT EXISTS (
            SELECT 1 FROM actions_circuitbreaker b WHERE b.key = a.breaker_key AND b.state <> 'closed'
                AND (b.probe_id IS NULL OR b.probe_id <> a.id))"""
"""True of `a` unless its circuit breaker is open, or half-open with another action as its probe."""


IS_FIRST_AT_RESOURCES = """NOT EXISTS (
            SELECT 1 FROM actions_resourcelock w JOIN actions_resourcelock o ON o.key = w.key
            WHERE w.action_id = a.id AND NOT w.held
                AND (o.action_id < w.action_id OR (o.held AND o.action_id <> w.action_id)))"""
"""True of `a` unless another action is before it at a resource that it waits for."""
