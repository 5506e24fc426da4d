"""The parameters that describe a probe, as a form and the API know them, and the questions they stand for.

Shared by ``rerun_healthcheck`` and by the checks of an action.
"""

from __future__ import annotations

import re
from typing import Any

from actions.types.probing import Ask, ask_url, url_fault
from actions.types.protocol import Issue, Target, error

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})|[0-9A-Fa-f:.]{2,45}")

URL = {"title": "URL", "type": "string", "minLength": 8, "maxLength": 2000, "x-widget": "url"}
HOST_NAME = {
    "title": "Host",
    "description": "A name or an address.",
    "type": "string",
    "minLength": 1,
    "maxLength": 253,
}
PORT = {"title": "Port", "type": "integer", "minimum": 1, "maximum": 65535}
HTTP_DETAILS: dict[str, Any] = {
    "method": {"title": "Method", "type": "string", "enum": ["GET", "HEAD"], "default": "GET"},
    "expected_status": {
        "title": "Expected status",
        "description": "Any of these; without it, any 2xx or 3xx. Redirects are not followed.",
        "type": "array",
        "items": {"type": "integer", "minimum": 100, "maximum": 599},
        "minItems": 1,
        "maxItems": 20,
    },
    "body_contains": {
        "title": "Body contains",
        "description": "Text that must be in the first 1 MiB of the body.",
        "type": "string",
        "minLength": 1,
        "maxLength": 1000,
    },
}
TIMEOUT = {"title": "Timeout (s)", "description": "For one try.", "type": "integer", "minimum": 1, "maximum": 60}
INTERVAL = {"title": "Interval (s)", "description": "Between tries.", "type": "integer", "minimum": 0, "maximum": 60}
TIMES = {"type": "integer", "minimum": 1, "maximum": 20}


def faults_of_question(question: dict[str, Any], prefix: str = "") -> list[Issue]:
    """Return what is wrong with a (schema-valid) question beyond its schema. Pure; resolves no name."""
    issues = []
    if "url" in question:
        fault = url_fault(question["url"])
        if fault:
            issues.append(error(fault, f"{prefix}url"))
    elif not HOST.fullmatch(question["host"]):
        issues.append(
            error("This is neither a host name nor an address. Leave out scheme, port and path.", f"{prefix}host")
        )
    if question.get("method") == "HEAD" and "body_contains" in question:
        issues.append(error("A HEAD request has no body. Use GET, or leave this out.", f"{prefix}body_contains"))
    if "url" not in question:
        only = [name for name in HTTP_DETAILS if name in question]
        issues += [
            error("Only a URL can be asked for this. Give url instead of host and port.", prefix + n) for n in only
        ]
    return issues


def ask_of(question: dict[str, Any], target: Target) -> Ask:
    """Return the question for the network; ``allow_private_targets`` and ``ca_file`` are the environment's settings."""
    common: dict[str, Any] = {
        "timeout_s": question.get("timeout_s", 10),
        "allow_private": target.settings.get("allow_private_targets") is True,
        "ca_file": target.settings.get("ca_file"),
    }
    if "url" not in question:
        return Ask(question["host"], question["port"], **common)
    return ask_url(
        question["url"],
        method=question.get("method", "GET"),
        expected=tuple(question.get("expected_status", ())),
        body_contains=question.get("body_contains", ""),
        **common,
    )
