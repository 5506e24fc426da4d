"""The checks of an action: read the real target before it counts as completed.

A check is one of ``{"kind": "http", "url", …}``, ``{"kind": "tcp", "host", "port"}`` and ``{"kind": "file", "path",
"sha256" | "exists" | "contains"}``; ``check_schema`` has the details.
"""

from __future__ import annotations

import time
from typing import Any

from actions.types.protocol import Issue, Target, error, never
from actions.types.shared.net_probe import (
    HOST_NAME,
    HTTP_DETAILS,
    INTERVAL,
    PORT,
    TIMEOUT,
    TIMES,
    URL,
    probe_faults,
    probe_repeatedly,
    to_probe_request,
)
from actions.types.shared.safe_path import Unreachable, open_parent, open_root, path_fault, read_file

MAX_CHECKS = 50
FILE_LIMIT = 16 * 1024 * 1024  # bytes of a file that is read for a check
TRIES = {"title": "Tries", "description": "Retry until it passes, at most so often.", "default": 1, **TIMES}
NAME = {"title": "Name", "type": "string", "minLength": 1, "maxLength": 100}
WHEN: dict[str, Any] = {
    "during": {
        "title": "Also while it runs",
        "description": "Repeated during the run; a failure stops it.",
        "type": "boolean",
    },
    "before_no_return": {
        "title": "Before the point of no return",
        "description": "Must hold before a step begins that cannot be undone. Where no check says so, all but those "
        "that say no must.",
        "type": "boolean",
    },
}

check_schema: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Checks",
    "description": "Checks that must pass before the action completes. A failed check rolls the run back.",
    "type": "array",
    "maxItems": MAX_CHECKS,
    "items": {
        "type": "object",
        "required": ["kind"],
        "oneOf": [
            {
                "title": "HTTP",
                "additionalProperties": False,
                "required": ["kind", "url"],
                "properties": {
                    "kind": {"const": "http"},
                    "name": NAME,
                    "url": URL,
                    **HTTP_DETAILS,
                    **WHEN,
                    "timeout_s": TIMEOUT,
                    "tries": TRIES,
                    "interval_s": INTERVAL,
                },
            },
            {
                "title": "TCP",
                "additionalProperties": False,
                "required": ["kind", "host", "port"],
                "properties": {
                    "kind": {"const": "tcp"},
                    "name": NAME,
                    "host": HOST_NAME,
                    "port": PORT,
                    **WHEN,
                    "timeout_s": TIMEOUT,
                    "tries": TRIES,
                    "interval_s": INTERVAL,
                },
            },
            {
                "title": "File",
                "additionalProperties": False,
                "required": ["kind", "path"],
                "anyOf": [{"required": ["sha256"]}, {"required": ["exists"]}, {"required": ["contains"]}],
                "properties": {
                    "kind": {"const": "file"},
                    "name": NAME,
                    **WHEN,
                    "path": {
                        "title": "Path",
                        "description": "Relative to the environment's root.",
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 1024,
                        "x-widget": "path",
                    },
                    "sha256": {"title": "SHA-256", "type": "string", "pattern": "^[0-9a-f]{64}$"},
                    "exists": {"title": "Exists", "type": "boolean"},
                    "contains": {"title": "Contains", "type": "string", "minLength": 1, "maxLength": 1000},
                },
            },
        ],
    },
}


def validate_checks(checks: list[dict[str, Any]], target: Target) -> list[Issue]:
    """Return what is wrong with (schema-valid) checks, with fields such as ``checks.0.url``. Pure."""
    issues: list[Issue] = []
    for n, check in enumerate(checks):
        prefix = f"checks.{n}."
        if check["kind"] != "file":
            issues += probe_faults(check, prefix)
            continue
        fault = path_fault(check["path"])
        if fault:
            issues.append(error(fault, f"{prefix}path"))
        if target.root is None:
            issues.append(error("This environment has no root directory, so no file can be checked.", f"{prefix}path"))
        if check.get("exists") is False and {"sha256", "contains"} & check.keys():
            issues.append(error("A file that must not exist has no content. Leave one out.", f"{prefix}exists"))
    return issues


def checks_during_run(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The checks that are asked during the run. Pure."""
    return [c for c in checks if c.get("during")]


def checks_before_irreversible(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The checks that must hold before what cannot be undone: those that say so, or all that do not say no. Pure."""
    declared = [c for c in checks if c.get("before_no_return")]
    return declared or [c for c in checks if c.get("before_no_return") is not False]


def run_checks(checks: list[dict[str, Any]], target: Target, deadline: float = float("inf")) -> list[dict[str, Any]]:
    """Run every check, one after the other, whatever the others came to.

    Returns a row ``{"name", "kind", "ok", "detail", "duration_ms", "facts"}`` per check. Never raises: a check that
    cannot be run does not hold. ``deadline`` is on the monotonic clock; past it, the remaining checks do not hold.
    """
    return [_run(check, target, deadline) for check in checks]


def _run(check: dict[str, Any], target: Target, deadline: float) -> dict[str, Any]:
    started = time.monotonic()
    kind = str(check.get("kind"))
    try:
        ok, detail, facts = (_file if kind == "file" else _service)(check, target, deadline)
    except Exception as exc:  # the outermost edge of a check: whatever went wrong, it does not hold
        ok, detail, facts = False, f"the check could not be run ({type(exc).__name__}: {exc})", {}
    took_ms = int((time.monotonic() - started) * 1000)
    name = check.get("name") or check_name(check, target)
    return {"name": name, "kind": kind, "ok": ok, "detail": detail, "duration_ms": took_ms, "facts": facts}


def check_name(check: dict[str, Any], target: Target) -> str:
    """Return what a check is called when nobody named it; never shows a URL's query."""
    if check.get("kind") == "file":
        return f"file {check.get('path')}"
    try:
        return f"{check['kind']} {to_probe_request(check, target).shown}"
    except (KeyError, ValueError):
        return str(check.get("kind"))


def _service(check: dict[str, Any], target: Target, deadline: float) -> tuple[bool, str, dict[str, Any]]:
    faults = probe_faults(check)
    if faults:
        return False, faults[0].message, {}
    answers = []
    ask = to_probe_request(check, target)
    for answer in probe_repeatedly(ask, check.get("tries", 1), check.get("interval_s", 1), never, deadline):
        answers.append(answer)
        if answer.ok or answer.code == "address_refused":
            break
    if not answers:
        return False, "no time was left for this check", {}
    last = answers[-1]
    again = f" (try {len(answers)})" if len(answers) > 1 else ""
    return last.ok, last.detail + again, {**last.facts(), "tries": len(answers)}


def _file(check: dict[str, Any], target: Target, deadline: float) -> tuple[bool, str, dict[str, Any]]:
    path = check["path"]
    try:
        with open_root(target.root) as root_fd, open_parent(root_fd, path) as (fd, name):
            seen = read_file(fd, name, path, FILE_LIMIT)
    except Unreachable as exc:
        if exc.code != "missing_parent":
            return False, str(exc), {}
        seen = None
    wanted = check.get("exists", True)
    if seen is None:
        return not wanted, f"{path} does not exist", {"exists": False}
    facts = {"exists": True, "sha256": seen.sha256, "size_bytes": len(seen.data), "mode": seen.mode_text}
    if not wanted:
        return False, f"{path} exists, but must not", facts
    if check.get("sha256", seen.sha256) != seen.sha256:
        return False, f"{path} has sha256 {seen.sha256[:12]}…, expected {check['sha256'][:12]}…", facts
    if "contains" in check and check["contains"].encode() not in seen.data:
        return False, f"{path} does not contain the expected text", facts
    return True, f"{path} is as expected", facts
