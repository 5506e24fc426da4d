"""The sections of the diagnostics: processes, sockets, the machine, the files below the root.

A host is shared, so an environment sees the processes that work below its root (by working directory or program file)
and their sockets. Only where an admin set ``host_facts`` does it see those of the whole host.
"""

from __future__ import annotations

import heapq
import os
import re
import socket
import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from actions.types.protocol import StepContext, Target
from actions.types.shared.safe_path import open_root
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


def visible_processes(target: Target) -> tuple[list[psutil.Process], int]:
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
    mine, total = visible_processes(ctx.target)
    rows = [_process_row(process.info, ctx.target.mask_key) for process in mine]
    rows.sort(key=lambda row: (-row["rss_bytes"], row["pid"]))
    return {"scope": "host" if sees_host(ctx.target) else "environment", "host_count": total, "rows": rows}


def _process_row(info: dict[str, Any], key: bytes) -> dict[str, Any]:
    cpu, memory = info["cpu_times"], info["memory_info"]
    return {
        "pid": info["pid"],
        "ppid": info["ppid"] or 0,
        "name": mask(_printable(info["name"]), key),
        "user": _printable(info["username"]),
        "status": _printable(info["status"]),
        "cpu_s": round(cpu.user + cpu.system) if cpu else 0,
        "rss_bytes": memory.rss if memory else 0,
        "age_s": max(0, round(time.time() - (info["create_time"] or time.time()))),
        "command": masked_command([_printable(part) for part in info["cmdline"] or []], key),
    }


def masked_command(arguments: list[str], key: bytes) -> str:
    """Return a command line with the values of secret-looking flags, and whatever looks like a secret, masked."""
    out: list[str] = []
    covers_next = False
    for argument in arguments:
        flag = SECRET_FLAG.fullmatch(argument)
        if covers_next and not argument.startswith("-"):
            out.append(_masked_value(argument, key))
        elif flag and flag["value"]:
            out.append(argument[: flag.start("value")] + _masked_value(flag["value"], key))
        else:
            out.append(argument)
        covers_next = bool(flag and not flag["value"] and argument.startswith("-"))
    return mask(" ".join(out), key)[:COMMAND_CHARS]


def _masked_value(value: str, key: bytes) -> str:
    return f"⟦secret:{fingerprint(value, key)}⟧"


def _printable(value: object) -> str:
    return str(value or "").encode("utf-8", "backslashreplace").decode()


def sockets(ctx: StepContext) -> dict[str, Any]:
    """The sockets on which the environment's processes listen (TCP) or receive (UDP)."""
    mine, _ = visible_processes(ctx.target)
    names = {process.info["pid"]: _printable(process.info["name"]) for process in mine}
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


# The machine: load, memory, uptime, mounts. Integers and strings only, so that they can be hashed.


PSEUDO = {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "debugfs", "tracefs", "securityfs", "bpf", "pstore"}


def load(ctx: StepContext) -> dict[str, Any]:
    """Load averages over 1, 5 and 15 minutes, and the processors they are shared by."""
    one, five, fifteen = os.getloadavg()
    return {"1m": f"{one:.2f}", "5m": f"{five:.2f}", "15m": f"{fifteen:.2f}", "processors": os.cpu_count() or 1}


def memory(ctx: StepContext) -> dict[str, Any]:
    """Memory and swap in bytes."""
    main, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        "bytes": {"total": main.total, "available": main.available, "used": main.used},
        "used_percent": round(main.percent),
        "swap_bytes": {"total": swap.total, "used": swap.used},
    }


def uptime(ctx: StepContext) -> dict[str, Any]:
    """When the machine was started, and its clock."""
    now, booted = time.time(), psutil.boot_time()
    return {"uptime_s": max(0, round(now - booted)), "booted_at": _utc_from_s(booted), "clock_at": _utc_from_s(now)}


def _utc_from_s(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


def mounts(ctx: StepContext) -> dict[str, Any]:
    """The file system that holds the root; every real one of the host where ``host_facts`` is set."""
    found = [part for part in psutil.disk_partitions(all=True) if part.fstype not in PSEUDO]
    if not sees_host(ctx.target):
        root = ctx.target.root.resolve() if ctx.target.root else Path("/")
        holding = [part for part in found if root.is_relative_to(part.mountpoint)]
        found = [max(holding, key=lambda part: len(part.mountpoint))] if holding else []
    rows = [
        {"mountpoint": part.mountpoint, "device": part.device, "type": part.fstype, "options": part.opts[:200]}
        for part in sorted(found, key=lambda part: part.mountpoint)
    ]
    return {"scope": "host" if sees_host(ctx.target) else "environment", "rows": rows}


# Files below an environment's root, by name and size; no file is opened, no link followed.


MAX_ENTRIES = 50_000
MAX_LISTED = 15


def files(ctx: StepContext) -> dict[str, Any]:
    """Count what is below the root: files, directories, links, others, bytes; name the largest and the newest files."""
    counts = {"files": 0, "directories": 0, "links": 0, "others": 0, "bytes": 0}
    seen: list[tuple[int, int, str]] = []
    complete = True
    with open_root(ctx.target.root) as root_fd:
        for where, directories, names, fd in os.fwalk(".", follow_symlinks=False, dir_fd=root_fd):
            for name in (*directories, *names):
                _count_entry(fd, name, where, counts, seen)
            if sum(counts.values()) - counts["bytes"] > MAX_ENTRIES or ctx.stopping():
                complete = False
                break
    largest = heapq.nlargest(MAX_LISTED, seen)
    newest = heapq.nlargest(MAX_LISTED, seen, key=lambda entry: entry[1])
    return {
        "counts": counts,
        "complete": complete,
        "largest": [{"path": path, "bytes": size} for size, _, path in largest],
        "newest": [{"path": path, "modified_at": _utc_from_ns(modified)} for _, modified, path in newest],
    }


def _count_entry(fd: int, name: str, where: str, counts: dict[str, int], seen: list[tuple[int, int, str]]) -> None:
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return  # gone since it was listed
    if stat.S_ISDIR(found.st_mode):
        counts["directories"] += 1
    elif stat.S_ISLNK(found.st_mode):
        counts["links"] += 1
    elif not stat.S_ISREG(found.st_mode):
        counts["others"] += 1
    else:
        counts["files"] += 1
        counts["bytes"] += found.st_size
        seen.append((found.st_size, found.st_mtime_ns, printable_name(os.path.normpath(f"{where}/{name}"))))


def printable_name(name: str) -> str:
    """Return a file name as valid text: bytes that are none become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")[:500]


def _utc_from_ns(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).isoformat().replace("+00:00", "Z")


def disk(ctx: StepContext) -> dict[str, Any]:
    """The file system that holds the root: bytes and inodes, in all, used and free to the worker."""
    with open_root(ctx.target.root) as root_fd:
        found = os.fstatvfs(root_fd)
    total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    return {
        "bytes": {"total": total, "used": used, "free": free},
        "used_percent": round(100 * used / (used + free)) if used + free else 0,
        "inodes": {"total": found.f_files, "free": found.f_favail},
        "read_only": bool(found.f_flag & os.ST_RDONLY),
    }
