"""The process that evaluates CEL, and may die of it: `python -m approvals.policies.sandbox.worker`.

`approvals.policies.sandbox.process` starts it and kills it. Two traps of the library are closed here: an expression
must have the type bool, and only a value that *is* True counts: a false result, an error and an unknown are truthy.
"""

import re
import resource
import sys
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from cel_expr_python import cel  # type: ignore[import-untyped]

from approvals.policies.fact_schema import FACTS, MAX_RESOURCES
from approvals.policies.sandbox.process import FOREVER, MAX_MEMORY_BYTES, receive, send

MAX_CHARACTERS = 4_096
CelType = cel.Type
TYPES = {
    "int": CelType.INT,
    "double": CelType.DOUBLE,
    "bool": CelType.BOOL,
    "string": CelType.STRING,
    "timestamp": CelType.TIMESTAMP,
    "strings": CelType.List(CelType.STRING),
    "resources": CelType.List(CelType.Map(CelType.STRING, CelType.DYN)),
}
FAULT = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


class InvalidExpression(ValueError):
    """An expression that cannot be a policy; `faults` are (line, column, message), from 1."""

    def __init__(self, faults: list[tuple[int, int, str]]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"line {line}, column {column}: {message}" for line, column, message in faults))


@lru_cache(maxsize=1)
def cel_environment() -> Any:
    return cel.NewEnv(variables={name: TYPES[fact.kind] for name, fact in FACTS.items()})


@lru_cache(maxsize=512)
def compile_expression(source: str) -> Any:
    """Compile one expression against the fact schema. Raises InvalidExpression with every fault's line and column."""
    if len(source) > MAX_CHARACTERS:
        raise InvalidExpression([(1, 1, f"At most {MAX_CHARACTERS:,} characters; this has {len(source):,}.")])
    if not source.strip():
        raise InvalidExpression([(1, 1, "Write an expression, such as: plan.deletes > 0")])
    try:
        expression = cel_environment().compile(source)
    except RuntimeError as error:
        raise InvalidExpression(parse_faults(str(error))) from None
    if expression.return_type() != CelType.BOOL:
        found = expression.return_type().name().lower()
        raise InvalidExpression([(1, 1, f"A policy must be true or false; this is of type {found}.")])
    return expression


def parse_faults(text: str) -> list[tuple[int, int, str]]:
    found = [(int(m[1]), int(m[2]), m[3].removesuffix(" (in container '')")) for m in FAULT.finditer(text)]
    return found or [(1, 1, text.splitlines()[0][:300])]


def is_true(source: str, facts: dict[str, Any]) -> bool:
    """Whether an expression is true of these facts. Raises InvalidExpression; ValueError with CEL's error."""
    data = {**facts, "now": datetime.fromisoformat(facts["now"])}
    result = compile_expression(source).eval(data=data)
    if result.type() != CelType.BOOL:
        raise ValueError(_describe_too_many(str(result.value()), facts) or str(result.value())[:300])
    return result.value() is True


def _describe_too_many(error: str, facts: dict[str, Any]) -> str:
    if "resources" in facts or "resources" not in error:
        return ""
    return f"It reads `resources`, and this plan has more than {MAX_RESOURCES:,}. Split it, or count with `plan`."


def is_true_of_named_facts(source: str, facts: dict[str, Any]) -> bool:
    """As `is_true`, several times faster: first with the facts that the expression names, then with all of them.

    A missing fact can only cause an error or not matter, so any other result is that of all facts.
    """
    try:
        return is_true(source, {name: facts[name] for name in names_in(source)} | {"now": facts["now"]})
    except (KeyError, ValueError, RuntimeError):
        return is_true(source, facts)


@lru_cache(maxsize=512)
def names_in(source: str) -> tuple[str, ...]:
    """The facts whose names are in an expression, perhaps inside a string; none is missed."""
    bare = "".join(source.split())
    return tuple(name for name in FACTS if name in bare)


ERRORS = (ValueError, RuntimeError, TypeError, KeyError, MemoryError)


def main() -> None:
    """Answer questions on standard input until it closes."""
    is_true("true", dict.fromkeys(FACTS, "") | {"now": "2026-01-01T00:00:00+00:00"})
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
        if "batch" in question:
            for each in question["batch"]:
                send(sink, {"policy_results": [evaluate_expression(source, each) for source in question["sources"]]})
            continue
        if "facts" in question:
            facts = question["facts"]
        send(sink, answer(question, facts))


def evaluate_expression(source: str, facts: dict[str, Any]) -> tuple[bool | None, str]:
    """The result of one expression on one set of facts: a value, or the error."""
    try:
        return is_true_of_named_facts(source, facts), ""
    except InvalidExpression as faulty:
        return None, str(faulty)
    except ERRORS as error:
        return None, describe_error(error)


def answer(question: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    try:
        if "check" in question:
            compile_expression(question["check"])
            return {"faults": []}
        if "is_true" in question:
            return {"value": is_true(question["is_true"], facts)}
        return {}
    except InvalidExpression as faulty:
        return {"faults": faulty.faults, "error": str(faulty)}
    except ERRORS as error:
        return {"error": describe_error(error)}


def describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


if __name__ == "__main__":
    main()
