"""The schemas of ``redeploy_service``: its parameters, and the services that an environment declares. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from actions.types.protocol import Issue, Target, error
from actions.types.shared.net_probe import HOST_NAME, HTTP_DETAILS, PORT, TIMEOUT, URL, probe_faults, to_probe_request
from actions.types.shared.safe_path import path_fault
from audit.log.canonical_json import canonical
from audit.outgoing.webhook import refusal_reason

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"
OWN_VARIABLES = "INTERLOCK_"

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Redeploy a service",
    "description": "Switch a service to another release, or restart the one it runs. Give a release or an artifact.",
    "type": "object",
    "additionalProperties": False,
    "required": ["service"],
    "oneOf": [
        {"title": "Release", "required": ["release"]},
        {"title": "Artifact", "required": ["artifact"]},
    ],
    "properties": {
        "service": {
            "title": "Service",
            "description": "One of the services in the environment's settings.",
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "x-widget": "service",
        },
        "release": {
            "title": "Release",
            "description": "A directory in the service's releases. The one that runs now: it is restarted.",
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "x-widget": "release",
        },
        "artifact": {
            "title": "Artifact",
            "description": "Instead of a release: a directory below artifacts in the environment's root, such as "
            "web/1.4.2. It is copied as a new release.",
            "type": "string",
            "minLength": 1,
            "maxLength": 900,
            "x-widget": "path",
        },
    },
}

SERVICE_SETTINGS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["root", "command", "health"],
    "properties": {
        "root": {"type": "string", "minLength": 1, "maxLength": 900},
        "command": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": 100},
        "environment": {
            "type": "object",
            "propertyNames": {"pattern": VARIABLE},
            "additionalProperties": {"type": "string"},
            "maxProperties": 100,
        },
        "health": {
            "type": "object",
            "additionalProperties": False,
            "oneOf": [{"required": ["url"]}, {"required": ["host", "port"]}],
            "properties": {"url": URL, "host": HOST_NAME, "port": PORT, **HTTP_DETAILS, "timeout_s": TIMEOUT},
        },
        "healthy_after": {"type": "integer", "minimum": 1, "maximum": 20},
        "health_interval_s": {"type": "number", "minimum": 0.05, "maximum": 60},
        "health_deadline_s": {"type": "number", "minimum": 1, "maximum": 3600},
        "grace_s": {"type": "integer", "minimum": 1, "maximum": 600},
        "keep_releases": {"type": "integer", "minimum": 2, "maximum": 1000},
    },
}
_settings = jsonschema_rs.validator_for(SERVICE_SETTINGS)


@dataclass(frozen=True)
class Service:
    """One service as its environment declares it. ``root`` is relative to the environment's root; times in seconds."""

    name: str
    root: str
    command: tuple[str, ...]
    environment: dict[str, str]
    health: dict[str, Any]
    healthy_after: int = 3
    health_interval_s: float = 1
    health_deadline_s: float = 30
    grace_s: int = 10
    keep_releases: int = 0

    def run(self) -> dict[str, Any]:
        """How it is run: what its record holds beside the release."""
        return {"command": list(self.command), "environment": self.environment, "grace_s": self.grace_s}


def run_digest(run: dict[str, Any]) -> str:
    """SHA-256 (hex) of how a service is run: what a plan names instead of the environment variables' values."""
    kept = {name: run[name] for name in ("command", "environment", "grace_s")}
    return hashlib.sha256(canonical(kept)).hexdigest()


def parse_service(name: str, target: Target) -> tuple[Service | None, list[Issue]]:
    """Return a service of the environment, or why there is none that can be used."""
    known = target.settings.get("services")
    known = known if isinstance(known, dict) else {}
    if name not in known:
        names = ", ".join(sorted(map(str, known))) or "none yet; an admin adds them to its settings"
        return None, [error(f"{target.environment} has no service {name!r}. It has: {names}.", "service")]
    faults = settings_faults(known[name], target)
    if faults:
        words = "The environment's settings have this service wrong ({}). An admin corrects it."
        return None, [error(words.format(fault), "service") for fault in faults]
    said = dict(known[name])
    said["command"], said["environment"] = tuple(said["command"]), dict(said.get("environment", {}))
    return Service(name=name, **said), []


def settings_faults(said: Any, target: Target) -> list[str]:
    """Say what is wrong with one service of an environment's settings, which no schema has seen before."""
    found = [f"{'.'.join(map(str, e.instance_path)) or 'it'}: {e.message}" for e in _settings.iter_errors(said)]
    if found:
        return found
    if fault := path_fault(said["root"]):
        found.append(f"root: {fault}")
    if any("\0" in text for text in [*said["command"], *said.get("environment", {}).values()]):
        found.append("a NUL character in command or environment")
    if any(name.startswith(OWN_VARIABLES) for name in said.get("environment", {})):
        found.append(f"environment: names that begin with {OWN_VARIABLES} are Interlock's own")
    return found + [f"health: {fault.message}" for fault in probe_faults(said["health"])] + address_faults(said, target)


def address_faults(said: dict[str, Any], target: Target) -> list[str]:
    """A health probe that could never be made, told before anything is switched."""
    if probe_faults(said["health"]):
        return []
    ask = to_probe_request(said["health"], target)
    host = "127.0.0.1" if ask.host == "localhost" else ask.host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return []  # a name, which is judged when it is resolved
    why = refusal_reason(host, allow_private=ask.allow_private)
    return [f"health: {ask.host} is {why}"] if why else []
