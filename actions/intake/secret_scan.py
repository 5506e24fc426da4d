"""
Screening: what no submission of any type may carry. Every screener sees every submission before anything is stored.

A screener is a function from a submission to issues; register one with `screener`. An error refuses the submission.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from actions.intake.submission import Submission
from actions.types.protocol import Issue
from audit.changes.masking import find_secrets

Screener = Callable[[Submission], Iterable[Issue]]
_screeners: list[Screener] = []
MAX_FINDINGS = 20


def register_screener(function: Screener) -> Screener:
    """Have every submission screened by this function."""
    _screeners.append(function)
    return function


def screen(submission: Submission) -> Iterator[Issue]:
    for look in _screeners:
        yield from look(submission)


@register_screener
def find_secret_issues(submission: Submission) -> Iterator[Issue]:
    """Refuse probable secrets anywhere in a submission, naming the place and never the value."""
    found = 0
    for path, text in _texts(submission):
        for finding in find_secrets(text):
            found += 1
            if found > MAX_FINDINGS:
                return
            where = f" (line {finding.line}, column {finding.column})"
            yield Issue(
                "error",
                f"This looks like a secret: {finding.kind}{where}. Secrets must not enter actions; put the value into "
                "the target's own secret store and refer to it.",
                path,
            )


def _texts(s: Submission) -> Iterator[tuple[str, str]]:
    for name in ("title", "reason", "ticket", "external_url"):
        yield name, getattr(s, name)
    yield from _strings(s.parameters, "parameters")
    yield from _strings(s.checks, "checks")
    yield from _strings(s.target, "target")
    yield from _strings(s.recovery, "recovery")


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _strings(inner, f"{path}.{n}")
