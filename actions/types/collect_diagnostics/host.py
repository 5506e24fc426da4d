"""Facts of the machine: load, memory, uptime and mounts. Whole numbers and strings only, so that they can be hashed."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from actions.types.collect_diagnostics.processes import sees_host
from actions.types.protocol import StepContext

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
    return {"uptime_s": max(0, round(now - booted)), "booted_at": _at(booted), "clock_at": _at(now)}


def _at(seconds: float) -> str:
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
