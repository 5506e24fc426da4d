"""Let a resource be touched again that was put in quarantine, once people have approved exactly that."""

from actions.types.clear_quarantine.executor import ClearQuarantine

__all__ = ["ClearQuarantine"]
