"""The action type ``collect_diagnostics``: read-only facts of an environment."""

from actions.types.collect_diagnostics.executor import CollectDiagnostics

__all__ = ["CollectDiagnostics"]
