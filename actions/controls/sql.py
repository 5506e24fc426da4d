"""What keeps an action from starting, as SQL that rides along in statements that are made anyway."""

RUNNING = ("in_progress", "verifying", "rolling_back")
"""The states that caps count."""

IS_NOT_FROZEN = """NOT EXISTS (
            SELECT 1 FROM actions_freeze h
            WHERE h.environment_id = a.environment_id AND h.lifted_at IS NULL)"""
"""True of an action `a` unless the switch of its environment is set."""

LIMIT_COVERS = """c.tenant_id = a.tenant_id AND (c.environment_id IS NULL OR c.environment_id = a.environment_id)
            AND (c.type = '' OR c.type = a.type)"""
"""True of a cap `c` that counts `a`."""

IS_UNLIMITED = f"NOT EXISTS (SELECT 1 FROM actions_concurrencylimit c WHERE {LIMIT_COVERS})"

FREE_LIMITS = f"""SELECT c.id, c.tenant_id, c.environment_id, c.type, c.most - (
            SELECT count(*) FROM actions_action a
            WHERE {LIMIT_COVERS} AND a.state IN ('in_progress','verifying','rolling_back')
        ) - (
            SELECT count(*) FROM actions_action a
            WHERE {LIMIT_COVERS} AND a.state = 'approved' AND a.lease_id IS NOT NULL
        ) AS free FROM actions_concurrencylimit c"""
"""Every cap, and how many more it lets start; what a worker has claimed to start counts already."""


PASSES_BREAKER = """NOT EXISTS (
            SELECT 1 FROM actions_circuitbreaker b WHERE b.key = a.breaker_key AND b.state <> 'closed'
                AND (b.probe_id IS NULL OR b.probe_id <> a.id))"""
"""True of `a` unless the breaker of what it would do is open; or half-open, and another one is let through."""


IS_FIRST_AT_RESOURCES = """NOT EXISTS (
            SELECT 1 FROM actions_resourcelock w JOIN actions_resourcelock o ON o.key = w.key
            WHERE w.action_id = a.id AND NOT w.held
                AND (o.action_id < w.action_id OR (o.held AND o.action_id <> w.action_id)))"""
"""True of `a` unless somebody is before it at a resource that it waits for."""
