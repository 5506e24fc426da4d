"""The action type ``redeploy_service``: release directories, an atomic switch, a supervisor of the service's own."""

from actions.types.redeploy_service.executor import RedeployService

__all__ = ["RedeployService"]
