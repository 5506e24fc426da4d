"""The action type ``clear_quarantine``: release a quarantined resource by an approved action."""

from actions.types.clear_quarantine.executor import ClearQuarantine

__all__ = ["ClearQuarantine"]
