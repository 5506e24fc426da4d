"""What one attempt at a step used: time, processor, memory, bytes. Measured where it runs, and told where it ends.

Units: seconds and bytes; what cannot be known honestly is None. docs/watching.md says what each number means.
"""

import mmap
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from actions.models import JournalEntry

REPORTED = ("cpu_s", "read_bytes", "written_bytes", "peak_memory_bytes")
"""What an executor may add through `ctx.measure`, of what it used outside of its thread."""
MAX_VALUE = 2**53 - 1
SUMMED = ("duration_s", "cpu_s", "read_bytes", "written_bytes")


class Meter:
    """The use of one attempt, from its making to `read`. Made and read in the attempt's thread; `look` from any."""

    def __init__(self) -> None:
        self.began, self.cpu_began, self.io_began = time.monotonic(), time.thread_time(), io_of_thread()
        self.worker_memory = memory_of_worker()
        self.reported: dict[str, float] = {}

    def report(self, **used: float) -> None:
        """Take what the executor says was used beside its thread: sums are added up, of memory the most counts.

        Names: `REPORTED`. What is no such name, or no number that can be, is left out: it must not fail a step.
        """
        for name, value in used.items():
            if name not in REPORTED or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if not 0 <= value <= MAX_VALUE:
                continue
            known = self.reported.get(name, 0)
            self.reported[name] = max(known, value) if name == "peak_memory_bytes" else min(MAX_VALUE, known + value)

    def look(self) -> None:
        """Note how much memory the worker holds just now."""
        self.worker_memory = max(self.worker_memory or 0, memory_of_worker() or 0) or None

    def read(self) -> dict[str, Any]:
        """The attempt's metrics, as its journal line keeps them."""
        self.look()
        theirs, peak = self.reported, self.reported.get("peak_memory_bytes")
        io = _difference(io_of_thread(), self.io_began)
        return {
            "duration_s": round(time.monotonic() - self.began, 6),
            "cpu_s": round(time.thread_time() - self.cpu_began + theirs.get("cpu_s", 0), 6),
            "peak_memory_bytes": int(peak) if peak is not None else self.worker_memory,
            "memory_of": "step" if peak is not None else "worker",
            "read_bytes": _sum(io[0] if io else None, theirs.get("read_bytes")),
            "written_bytes": _sum(io[1] if io else None, theirs.get("written_bytes")),
        }


def io_of_thread() -> tuple[int, int] | None:
    """Bytes that this thread has passed through read and write calls; None where the system does not count them."""
    with suppress(OSError, ValueError, IndexError), open("/proc/thread-self/io", "rb") as file:
        lines = file.read().split(b"\n", 2)
        return int(lines[0].split()[1]), int(lines[1].split()[1])
    return None


def memory_of_worker() -> int | None:
    """Resident memory of this process, which all that it runs shares; None where the system does not tell."""
    with suppress(OSError, ValueError, IndexError), open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE
    return None


def _difference(now: tuple[int, int] | None, then: tuple[int, int] | None) -> tuple[int, int] | None:
    return (max(0, now[0] - then[0]), max(0, now[1] - then[1])) if now and then else None


def _sum(ours: int | None, theirs: float | None) -> int | None:
    return None if ours is None and theirs is None else int(min(MAX_VALUE, (ours or 0) + (theirs or 0)))


def usage_by_step(lines: Iterable[JournalEntry]) -> dict[str, list[dict[str, Any]]]:
    """The metrics of each attempt, also those to undo, by step."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        if line.metrics:
            found.setdefault(line.step, []).append(line.metrics)
    return found


def total_usage(parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Several attempts together: sums, and the most memory. What is unknown of all stays None; None without any."""
    if not parts:
        return None
    found: dict[str, Any] = {}
    for name in SUMMED:
        known = [p[name] for p in parts if p.get(name) is not None]
        found[name] = round(sum(known), 6) if known else None
    most = max(parts, key=lambda p: p.get("peak_memory_bytes") or 0)
    found["peak_memory_bytes"], found["memory_of"] = most.get("peak_memory_bytes"), most.get("memory_of", "worker")
    return {"attempts": len(parts), **found}


def usage_facts(metrics: dict[str, Any] | None) -> dict[str, int]:
    """What an event says of them: whole numbers."""
    if not metrics:
        return {}
    ms = {f"{name}_ms": round(1000 * metrics[f"{name}_s"]) for name in ("duration", "cpu")}
    return ms | {k: v for k in ("read_bytes", "written_bytes") if (v := metrics.get(k)) is not None}
