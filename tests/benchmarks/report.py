"""Numbers to text: medians, and ratios of the same round, because machines drift by half within minutes."""

import os
import platform
import sys
from collections.abc import Sequence
from statistics import median

import psutil

from tests.benchmarks.contest import Contender, Lap

Rounds = Sequence[dict[str, Lap]]


def machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; load before: {load}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def table(contenders: Sequence[Contender], rounds: Rounds) -> str:
    """One row per contender: the median rate, every round's, and what an action cost."""
    head = ("", "actions/s", "rounds", "statements", "WAL KiB", "CPU ms", "server CPU ms")
    rows = [head, *(_row(c.name, [r[c.name] for r in rounds]) for c in contenders)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:]])


def _row(name: str, laps: Sequence[Lap]) -> tuple[str, ...]:
    def mid(values: Sequence[float], digits: int = 2) -> str:
        return f"{median(values):.{digits}f}"

    return (
        name,
        mid([lap.rate for lap in laps], 0),
        " ".join(f"{lap.rate:.0f}" for lap in laps),
        mid([lap.statements for lap in laps]),
        mid([lap.wal_kib for lap in laps], 1),
        mid([lap.cpu_ms for lap in laps]),
        mid([lap.server_cpu_ms for lap in laps]),
    )


def ratios(contenders: Sequence[Contender], rounds: Rounds, ours: str) -> str:
    """Ours over each contender, and over each family's best mode: the median of same-round ratios, and their range."""
    lines = [f"{ours} against (median of same-round ratios; range):"]
    families: dict[str, list[str]] = {}
    for c in contenders:
        if c.name != ours:
            families.setdefault(c.family, []).append(c.name)
            lines.append(_ratio(c.name, [r[ours].rate / r[c.name].rate for r in rounds]))
    for family, names in families.items():
        if len(names) > 1:
            lines.append(
                _ratio(f"{family}, best of each round", [r[ours].rate / max(r[n].rate for n in names) for r in rounds])
            )
    return "\n".join(lines)


def _ratio(name: str, values: Sequence[float]) -> str:
    return f"  {name:<30} {median(values):6.2f} x   ({min(values):.2f} to {max(values):.2f})"


def quantiles(values_ms: Sequence[float]) -> str:
    """p50, p95 and maximum of at least one value."""
    ordered = sorted(values_ms)
    return (
        f"p50 {ordered[len(ordered) // 2]:.1f}  p95 {ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]:.1f}"
        f"  max {ordered[-1]:.1f}"
    )


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
