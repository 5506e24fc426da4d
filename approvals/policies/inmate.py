"""The evaluating process itself: `python -m approvals.policies.inmate`, started and killed by `cell`."""

import resource
import sys
from pathlib import Path
from typing import Any

from approvals.policies import engine
from approvals.policies.cell import FOREVER, MOST_MEMORY_BYTES, receive, send
from approvals.policies.schema import FACTS

ERRORS = (ValueError, RuntimeError, TypeError, KeyError, MemoryError)


def main() -> None:
    """The evaluating process: answers questions on standard input until it closes."""
    engine.holds("true", dict.fromkeys(FACTS, "") | {"now": "2026-01-01T00:00:00+00:00"})
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST_MEMORY_BYTES, size + MOST_MEMORY_BYTES))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    send(sink, {"ready": True})
    facts: dict[str, Any] = {}
    while True:
        try:
            question = receive(source, FOREVER)
        except EOFError:
            return
        if "many" in question:
            for each in question["many"]:
                send(sink, {"rulings": [ruled(source, each) for source in question["sources"]]})
            continue
        if "facts" in question:
            facts = question["facts"]
        send(sink, answer_to(question, facts))


def ruled(source: str, facts: dict[str, Any]) -> tuple[bool | None, str]:
    """What one expression comes to on one set of facts: a value, or the error."""
    try:
        return engine.holds_briefly(source, facts), ""
    except engine.Faulty as faulty:
        return None, str(faulty)
    except ERRORS as error:
        return None, said(error)


def answer_to(question: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    try:
        if "check" in question:
            engine.compiled(question["check"])
            return {"faults": []}
        if "holds" in question:
            return {"value": engine.holds(question["holds"], facts)}
        return {}
    except engine.Faulty as faulty:
        return {"faults": faulty.faults, "error": str(faulty)}
    except ERRORS as error:
        return {"error": said(error)}


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


if __name__ == "__main__":
    main()
