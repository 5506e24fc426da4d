"""Ask a stage's own check whether the stage is done: exit code 0 says yes, 1 says no, anything else says nothing."""

from __future__ import annotations

import subprocess

from actions.types.rerun_deployment_stage.keeping import Place, environment_for
from actions.types.rerun_deployment_stage.rules import Deployment, Stage

CHECK_S = 30


def check_says(place: Place, stage: Stage, deployment: Deployment) -> bool | None:
    """Run the check (declared to change nothing), killed after 30 s; ``None`` when it cannot tell."""
    try:
        done = subprocess.run(
            stage.check,
            cwd=place.real,
            env=environment_for(deployment, stage, "check"),
            timeout=CHECK_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {0: True, 1: False}.get(done.returncode)
