"""Facts of the machine and the environment at the time of a failure, by the readers of `collect_diagnostics`."""

import socket
import threading
import time
from typing import Any

from actions.storable import storable
from actions.types.collect_diagnostics.executor import NEED_ROOT, SECTIONS, bounded
from actions.types.protocol import StepContext, Target

READ = ("disk", "load", "memory", "uptime", "processes", "sockets", "files")
PATIENCE_S = 6.0


def host_facts(target: Target, patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """
    {"machine", "sections": {name: data}}, of the machine that this runs on; a section that cannot be read says why.

    A file system that hangs must not hang us: what is not read in time is left out, and its thread left behind.
    """
    found: dict[str, Any] = {}
    until = time.monotonic() + patience_s
    ctx = StepContext(
        target=target,
        step={},
        parameters={},
        idempotency_key="",
        deadline=until,
        stopping=lambda: time.monotonic() > until,
    )
    wanted = [name for name in READ if target.root is not None or name not in NEED_ROOT]
    thread = threading.Thread(target=_read, args=(ctx, wanted, found), name="interlock-diagnostics", daemon=True)
    thread.start()
    thread.join(patience_s)
    sections = {name: found.get(name, {"problem": "not read in time"}) for name in wanted}
    return {"machine": socket.gethostname(), "node": target.node, "sections": sections}


def _read(ctx: StepContext, wanted: list[str], into: dict[str, Any]) -> None:
    for name in wanted:
        try:
            into[name] = bounded(storable(SECTIONS[name][1](ctx)))
        except Exception as error:  # whatever a machine in trouble makes of it: the diagnostics say so
            into[name] = {"problem": f"{type(error).__name__}: {error}"[:300]}
