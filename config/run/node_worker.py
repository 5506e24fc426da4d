"""A worker for a node, or for some environments only. Run as `python -m config.run.node_worker`, with INTERLOCK_NODE,
INTERLOCK_ENVIRONMENTS or both set, and the other settings as on every process.

It becomes a Celery worker of two processes: one can decide while the other executes.
"""

import os
import sys

from actions.controls.worker_queues import WorkerScope
from config.env import Environment, load
from config.run.processes import worker

PROCESSES = 2


def command(environment: Environment) -> list[str]:
    """The command of a worker for only this node or these environments; its name says which."""
    scope = WorkerScope(environment.node, tuple(environment.environments))
    name = "node." + scope.node if scope.node else scope.route("agent")
    queues = ",".join(scope.route(queue) for queue in ("decide", "execute"))
    return worker(name, queues, processes=PROCESSES)


def main() -> int:
    environment = load()
    if not (environment.node or environment.environments):
        print(
            "Set what this worker is for: INTERLOCK_NODE=web-1, or INTERLOCK_ENVIRONMENTS=acme/prod,acme/staging. "
            "Start a worker for everything else with `celery -A config.celery worker`.",
            file=sys.stderr,
        )
        return 2
    arguments = command(environment)
    os.execv(arguments[0], arguments)


if __name__ == "__main__":
    sys.exit(main())
