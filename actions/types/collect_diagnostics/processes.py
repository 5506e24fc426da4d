"""Processes and listening sockets that belong to an environment.

A host is shared, so an environment sees the processes that work below its root (by working directory or program file)
and their sockets. Only where an admin set ``host_facts`` does it see those of the whole host.
"""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import Any

import psutil

from actions.types.protocol import StepContext, Target
from audit.changes.masking import fingerprint, mask

COMMAND_CHARS = 160
SECRET_FLAG = re.compile(
    r"(?i)-{0,2}[\w-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|(?:api|access|private|auth)[_-]?key)"
    r"(?:=(?P<value>.+))?"
)
FIELDS = [
    "pid",
    "ppid",
    "name",
    "username",
    "status",
    "cmdline",
    "memory_info",
    "cpu_times",
    "create_time",
    "cwd",
    "exe",
]


def sees_host(target: Target) -> bool:
    return target.settings.get("host_facts") is True


def belonging(target: Target) -> tuple[list[psutil.Process], int]:
    """Return the processes this environment may see, and how many there are in all."""
    everything = list(psutil.process_iter(FIELDS))
    if sees_host(target):
        return everything, len(everything)
    root = target.root.resolve() if target.root else None
    return [process for process in everything if root and _is_below(process, root)], len(everything)


def _is_below(process: psutil.Process, root: Path) -> bool:
    places = (process.info["cwd"], process.info["exe"])
    return any(place and Path(place).is_relative_to(root) for place in places)


def processes(ctx: StepContext) -> dict[str, Any]:
    """The environment's processes, largest first: pid, name, user, CPU seconds, resident bytes, masked command line."""
    mine, total = belonging(ctx.target)
    rows = [_row(process.info, ctx.target.mask_key) for process in mine]
    rows.sort(key=lambda row: (-row["rss_bytes"], row["pid"]))
    return {"scope": "host" if sees_host(ctx.target) else "environment", "host_count": total, "rows": rows}


def _row(info: dict[str, Any], key: bytes) -> dict[str, Any]:
    cpu, memory = info["cpu_times"], info["memory_info"]
    return {
        "pid": info["pid"],
        "ppid": info["ppid"] or 0,
        "name": mask(_text(info["name"]), key),
        "user": _text(info["username"]),
        "status": _text(info["status"]),
        "cpu_s": round(cpu.user + cpu.system) if cpu else 0,
        "rss_bytes": memory.rss if memory else 0,
        "age_s": max(0, round(time.time() - (info["create_time"] or time.time()))),
        "command": masked_command([_text(part) for part in info["cmdline"] or []], key),
    }


def masked_command(arguments: list[str], key: bytes) -> str:
    """Return a command line with the values of secret-looking flags, and whatever looks like a secret, masked."""
    out: list[str] = []
    covers_next = False
    for argument in arguments:
        flag = SECRET_FLAG.fullmatch(argument)
        if covers_next and not argument.startswith("-"):
            out.append(_covered(argument, key))
        elif flag and flag["value"]:
            out.append(argument[: flag.start("value")] + _covered(flag["value"], key))
        else:
            out.append(argument)
        covers_next = bool(flag and not flag["value"] and argument.startswith("-"))
    return mask(" ".join(out), key)[:COMMAND_CHARS]


def _covered(value: str, key: bytes) -> str:
    return f"⟦secret:{fingerprint(value, key)}⟧"


def _text(value: object) -> str:
    return str(value or "").encode("utf-8", "backslashreplace").decode()


def sockets(ctx: StepContext) -> dict[str, Any]:
    """The sockets on which the environment's processes listen (TCP) or receive (UDP)."""
    mine, _ = belonging(ctx.target)
    names = {process.info["pid"]: _text(process.info["name"]) for process in mine}
    rows = []
    for found in psutil.net_connections(kind="inet"):
        is_open = found.status == psutil.CONN_LISTEN or (found.type == socket.SOCK_DGRAM and not found.raddr)
        if is_open and (found.pid in names or sees_host(ctx.target)):
            rows.append(
                {
                    "protocol": "tcp" if found.type == socket.SOCK_STREAM else "udp",
                    "address": found.laddr.ip if found.laddr else "",
                    "port": found.laddr.port if found.laddr else 0,
                    "pid": found.pid or 0,
                    "process": names.get(found.pid or 0, ""),
                }
            )
    rows.sort(key=lambda row: (row["protocol"], row["port"], row["address"], row["pid"]))
    return {"scope": "host" if sees_host(ctx.target) else "environment", "rows": rows}
