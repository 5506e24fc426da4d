"""The action type ``config_change``: publish or retire a policy, or replace an environment's matrix."""

from actions.types.config_change.executor import ConfigChange

__all__ = ["ConfigChange"]
