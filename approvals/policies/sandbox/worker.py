"""The evaluating process itself: `python -m approvals.policies.sandbox.worker`, started and killed by `cell`."""

import resource
import sys
from pathlib import Path
from typing import Any

from approvals.policies.fact_schema import FACTS
from approvals.policies.sandbox import cel
from approvals.policies.sandbox.process import FOREVER, MAX_MEMORY_BYTES, receive, send

ERRORS = (ValueError, RuntimeError, TypeError, KeyError, MemoryError)


def main() -> None:
    """The evaluating process: answers questions on standard input until it closes."""
    cel.is_true("true", dict.fromkeys(FACTS, "") | {"now": "2026-01-01T00:00:00+00:00"})
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MAX_MEMORY_BYTES, size + MAX_MEMORY_BYTES))
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
                send(sink, {"policy_results": [evaluate_expression(source, each) for source in question["sources"]]})
            continue
        if "facts" in question:
            facts = question["facts"]
        send(sink, answer(question, facts))


def evaluate_expression(source: str, facts: dict[str, Any]) -> tuple[bool | None, str]:
    """What one expression comes to on one set of facts: a value, or the error."""
    try:
        return cel.is_true_of_named_facts(source, facts), ""
    except cel.InvalidExpression as faulty:
        return None, str(faulty)
    except ERRORS as error:
        return None, describe_error(error)


def answer(question: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    try:
        if "check" in question:
            cel.compile_expression(question["check"])
            return {"faults": []}
        if "holds" in question:
            return {"value": cel.is_true(question["holds"], facts)}
        return {}
    except cel.InvalidExpression as faulty:
        return {"faults": faulty.faults, "error": str(faulty)}
    except ERRORS as error:
        return {"error": describe_error(error)}


def describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


if __name__ == "__main__":
    main()
