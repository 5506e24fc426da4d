"""Change the rules themselves: publish or retire a guard policy, or replace an environment's matrix."""

from actions.types.config_change.executor import ConfigChange

__all__ = ["ConfigChange"]
