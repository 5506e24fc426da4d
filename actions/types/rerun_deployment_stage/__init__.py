"""The action type ``rerun_deployment_stage``: failed stages of a declared deployment, run again one by one."""

from actions.types.rerun_deployment_stage.executor import RerunDeploymentStage

__all__ = ["RerunDeploymentStage"]
