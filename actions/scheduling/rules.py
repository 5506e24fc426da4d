"""What keeps an action from starting, as SQL that rides along in statements that are made anyway."""

RUNNING = ("in_progress", "verifying", "rolling_back")
"""The states that caps count."""

IS_OPEN = """NOT EXISTS (
            SELECT 1 FROM actions_environmenthold h
            WHERE h.environment_id = a.environment_id AND h.lifted_at IS NULL)"""
"""True of an action `a` unless the switch of its environment is set."""

COVERS = """c.tenant_id = a.tenant_id AND (c.environment_id IS NULL OR c.environment_id = a.environment_id)
            AND (c.type = '' OR c.type = a.type)"""
"""True of a cap `c` that counts `a`."""

IS_UNCAPPED = f"NOT EXISTS (SELECT 1 FROM actions_cap c WHERE {COVERS})"

CAPS = f"""SELECT c.id, c.tenant_id, c.environment_id, c.type, c.most - (
            SELECT count(*) FROM actions_action a
            WHERE {COVERS} AND a.state IN ('in_progress','verifying','rolling_back')
        ) - (
            SELECT count(*) FROM actions_action a
            WHERE {COVERS} AND a.state = 'approved' AND a.lease_id IS NOT NULL
        ) AS free FROM actions_cap c"""
"""Every cap, and how many more it lets start; what a worker has claimed to start counts already."""
