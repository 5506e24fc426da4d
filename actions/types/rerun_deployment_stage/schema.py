"""The schemas of ``rerun_deployment_stage``: its parameters, and the deployments that an environment declares. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs

from actions.types.protocol import Issue, Target, error
from actions.types.shared.safe_path import path_fault
from audit.log.canonical_json import canonical

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"
STAGE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
COMMAND = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100}
MAYBE_COMMAND = {"anyOf": [COMMAND, {"type": "null"}]}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Rerun a deployment stage",
    "description": "Run one failed stage of a deployment again, and the stages after it if asked.",
    "type": "object",
    "additionalProperties": False,
    "required": ["deployment", "stage"],
    "properties": {
        "deployment": {
            "title": "Deployment",
            "description": "One of the deployments in the environment's settings.",
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "x-widget": "deployment",
        },
        "stage": {
            "title": "Stage",
            "description": "The stage to run again. Every stage before it must have succeeded.",
            "type": "string",
            "minLength": 1,
            "maxLength": 63,
            "x-widget": "stage",
        },
        "and_following": {
            "title": "And the stages after it",
            "description": "Each starts when the one before it has succeeded.",
            "type": "boolean",
            "default": False,
        },
        "force": {
            "title": "Even if it has succeeded",
            "description": "Also run a stage that succeeded already.",
            "type": "boolean",
            "default": False,
        },
    },
}

DEPLOYMENT_SETTINGS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["stages"],
    "properties": {
        "root": {"type": "string", "minLength": 1, "maxLength": 900},
        "environment": {
            "type": "object",
            "propertyNames": {"pattern": VARIABLE},
            "additionalProperties": {"type": "string"},
            "maxProperties": 100,
        },
        "stages": {
            "type": "array",
            "minItems": 1,
            "maxItems": 50,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "command"],
                "properties": {
                    "name": {"type": "string", "pattern": STAGE},
                    "command": COMMAND,
                    "timeout_s": {"type": "integer", "minimum": 1, "maximum": 86_400},
                    "undo": MAYBE_COMMAND,
                    "check": MAYBE_COMMAND,
                },
            },
        },
    },
}
_settings = jsonschema_rs.validator_for(DEPLOYMENT_SETTINGS)


@dataclass(frozen=True)
class Stage:
    """One stage as declared: commands are argument lists, no shell reads them."""

    name: str
    command: tuple[str, ...]
    timeout_s: int = 600
    undo: tuple[str, ...] = ()
    check: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deployment:
    """One deployment as declared. ``root`` holds its state and is where its commands run, below the environment's."""

    name: str
    root: str
    stages: tuple[Stage, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def stage(self, name: str) -> Stage | None:
        return next((stage for stage in self.stages if stage.name == name), None)


def command_digest(deployment: Deployment, stage: Stage) -> str:
    """SHA-256 (hex) of everything that decides what a stage does: what a plan names, without the variables' values."""
    told = {
        "command": list(stage.command),
        "undo": list(stage.undo),
        "check": list(stage.check),
        "timeout_s": stage.timeout_s,
        "environment": deployment.environment,
        "root": deployment.root,
    }
    return hashlib.sha256(canonical(told)).hexdigest()


def parse_deployment(name: str, target: Target) -> tuple[Deployment | None, list[Issue]]:
    """Return a deployment of the environment, or why there is none that can be used."""
    known = target.settings.get("deployments")
    known = known if isinstance(known, dict) else {}
    if name not in known:
        names = ", ".join(sorted(map(str, known))) or "none yet; an admin adds them to its settings"
        return None, [error(f"{target.environment} has no deployment {name!r}. It has: {names}.", "deployment")]
    said = known[name]
    faults = settings_faults(name, said)
    if faults:
        words = "The environment's settings have this deployment wrong ({}). An admin corrects it."
        return None, [error(words.format(fault), "deployment") for fault in faults]
    stages = tuple(
        Stage(
            each["name"],
            tuple(each["command"]),
            each.get("timeout_s", 600),
            tuple(each.get("undo") or ()),
            tuple(each.get("check") or ()),
        )
        for each in said["stages"]
    )
    return Deployment(name, root_setting(name, said), stages, dict(said.get("environment", {}))), []


def root_setting(name: str, said: dict[str, Any]) -> str:
    return str(said.get("root", f"deployments/{name}"))


def settings_faults(name: str, said: Any) -> list[str]:
    """Say what is wrong with one deployment of an environment's settings, which no schema has seen before."""
    found = [f"{'.'.join(map(str, e.instance_path)) or 'it'}: {e.message}" for e in _settings.iter_errors(said)]
    if found:
        return found
    if fault := path_fault(root_setting(name, said)):
        found.append(f"root: {fault}")
    names = [stage["name"] for stage in said["stages"]]
    if len(names) != len(set(names)):
        found.append("two stages have the same name")
    texts = [part for stage in said["stages"] for key in ("command", "undo", "check") for part in stage.get(key) or ()]
    if any("\0" in text for text in [*texts, *said.get("environment", {}).values()]):
        found.append("a NUL character in a command or in environment")
    if any(variable.startswith("INTERLOCK_") for variable in said.get("environment", {})):
        found.append("environment: names that begin with INTERLOCK_ are Interlock's own")
    return found
