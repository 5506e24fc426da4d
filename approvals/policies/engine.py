"""
CEL, in the process that may die of it. Nothing but `approvals.policies.inmate` runs this.

Two traps of the library are closed here: an expression must have the type bool, and only a value that *is* True counts;
a false result, an error and an unknown are all truthy objects.
"""

import re
from datetime import datetime
from functools import lru_cache
from typing import Any

from cel_expr_python import cel  # type: ignore[import-untyped]

from approvals.policies.schema import FACTS, MOST_RESOURCES

MOST_CHARACTERS = 4_096
T = cel.Type
TYPES = {
    "int": T.INT,
    "double": T.DOUBLE,
    "bool": T.BOOL,
    "string": T.STRING,
    "timestamp": T.TIMESTAMP,
    "strings": T.List(T.STRING),
    "resources": T.List(T.Map(T.STRING, T.DYN)),
}
FAULT = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


class Faulty(ValueError):
    """An expression that cannot be a policy; `faults` are (line, column, message), from 1."""

    def __init__(self, faults: list[tuple[int, int, str]]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"line {line}, column {column}: {message}" for line, column, message in faults))


@lru_cache(maxsize=1)
def environment() -> Any:
    return cel.NewEnv(variables={name: TYPES[fact.kind] for name, fact in FACTS.items()})


@lru_cache(maxsize=512)
def compiled(source: str) -> Any:
    """Compile one expression against the fact schema. Raises Faulty with every fault's line and column."""
    if len(source) > MOST_CHARACTERS:
        raise Faulty([(1, 1, f"At most {MOST_CHARACTERS:,} characters; this has {len(source):,}.")])
    if not source.strip():
        raise Faulty([(1, 1, "Write an expression, such as: plan.deletes > 0")])
    try:
        expression = environment().compile(source)
    except RuntimeError as error:
        raise Faulty(faults_of(str(error))) from None
    if expression.return_type() != T.BOOL:
        found = expression.return_type().name().lower()
        raise Faulty([(1, 1, f"A policy says true or false; this is of type {found}.")])
    return expression


def faults_of(text: str) -> list[tuple[int, int, str]]:
    found = [(int(m[1]), int(m[2]), m[3].removesuffix(" (in container '')")) for m in FAULT.finditer(text)]
    return found or [(1, 1, text.splitlines()[0][:300])]


def holds(source: str, facts: dict[str, Any]) -> bool:
    """Whether an expression is true of these facts. Raises Faulty, or ValueError with the error it came to."""
    data = {**facts, "now": datetime.fromisoformat(facts["now"])}
    result = compiled(source).eval(data=data)
    if result.type() != T.BOOL:
        raise ValueError(_too_many(str(result.value()), facts) or str(result.value())[:300])
    return result.value() is True


def _too_many(error: str, facts: dict[str, Any]) -> str:
    if "resources" in facts or "resources" not in error:
        return ""
    return f"It reads `resources`, and this plan has more than {MOST_RESOURCES:,}. Split it, or count with `plan`."


def holds_briefly(source: str, facts: dict[str, Any]) -> bool:
    """As `holds`, several times faster: first with the facts that the expression names, then with all of them.

    A fact that is missing can only make it err, or not matter; so whatever is no error is what all facts come to.
    """
    try:
        return holds(source, {name: facts[name] for name in names_in(source)} | {"now": facts["now"]})
    except (KeyError, ValueError, RuntimeError):
        return holds(source, facts)


@lru_cache(maxsize=512)
def names_in(source: str) -> tuple[str, ...]:
    """The facts whose names stand in an expression; some of them may stand in a text, and none is missed."""
    bare = "".join(source.split())
    return tuple(name for name in FACTS if name in bare)
