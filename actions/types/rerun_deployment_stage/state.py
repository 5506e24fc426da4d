"""The state of a deployment: which of its stages have succeeded, as its own tools and Interlock write it.

``state.json`` in the deployment's directory, replaced whole: ``{"format": "interlock.deployment/1", "stages": {name:
{"result": "succeeded" | "failed" | "running" | …, "key"?, "exit_code"?, "ended"?, "at"?, "duration_ms"?}}}``. What else
is in it is kept as it is.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from actions.types.protocol import Target
from actions.types.rerun_deployment_stage.apply import CONTROL, DeploymentDir
from actions.types.shared.executor_base import StepRefused
from actions.types.shared.fs_state import exclusive_lock, open_directory, open_subdirectory, read_state, write_state
from actions.types.shared.safe_path import Unreachable
from audit.log.canonical_json import canonical

STATE, LOCK = "state.json", "lock"
FORMAT = "interlock.deployment/1"
Entry = dict[str, Any] | None


def entry_digest(entry: Entry) -> str:
    return hashlib.sha256(canonical(entry)).hexdigest()


def entry_image(entry: Entry) -> bytes:
    """An entry as a before-image."""
    return json.dumps(entry, sort_keys=True).encode()


def parse_entry_image(image: bytes | None, digest: str) -> Entry:
    """The entry of a before-image. Raises Refused when it is not the one that was planned with."""
    entry: Entry = json.loads(image) if image is not None else {}
    if image is None or entry_digest(entry) != digest:
        raise StepRefused("no_image", "The stage's earlier state is not kept any more, so it cannot be put back.")
    return entry


def read_deployment_state(place: DeploymentDir) -> dict[str, Any]:
    """Return the state. Raises Unreachable when there is none, or none that can be read."""
    shown = f"{place.path}/{STATE}"
    found = read_state(place.fd, STATE, shown)
    if found is None:
        raise Unreachable("no_state", f"{shown} does not exist: this deployment has not run yet.")
    stages = found.get("stages") if isinstance(found, dict) else None
    if not isinstance(stages, dict) or found.get("format") != FORMAT or not all(map(is_entry, stages.values())):
        raise Unreachable("corrupt", f"{shown} is not of the format {FORMAT}. Repair it.")
    return found


def is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("result"), str)


def read_entry(place: DeploymentDir, stage: str) -> Entry:
    found: Entry = read_deployment_state(place)["stages"].get(stage)
    return found


def has_succeeded(entry: Entry) -> bool:
    return entry is not None and entry["result"] == "succeeded"


def write_entry(place: DeploymentDir, stage: str, entry: Entry) -> None:
    state = read_deployment_state(place)
    stages = {name: each for name, each in state["stages"].items() if name != stage}
    write_state(place.fd, STATE, {**state, "stages": stages if entry is None else {**stages, stage: entry}})


def new_entry(result: str, key: str, ended: dict[str, Any] | None = None) -> dict[str, Any]:
    told = {name: ended[name] for name in ("ended", "exit_code", "duration_ms")} if ended else {}
    return {"result": result, "key": key, "at": datetime.now(UTC).isoformat(timespec="seconds"), **told}


@contextmanager
def open_deployment(target: Target, path: str) -> Iterator[DeploymentDir]:
    """Open a deployment's directory to look. Raises Unreachable."""
    with open_directory(target.root, path) as fd:
        yield DeploymentDir(fd, path)


@contextmanager
def lock_deployment(
    target: Target, path: str, stopping: Callable[[], bool], deadline: float, patience_s: float = 2
) -> Iterator[DeploymentDir]:
    """Open a deployment's directory to run a stage, alone; a stage may take long, so others are not kept waiting."""
    with ExitStack() as stack:
        fd = stack.enter_context(open_directory(target.root, path))
        control = stack.enter_context(open_subdirectory(fd, CONTROL, f"{path}/{CONTROL}", make=0o700))
        until = min(deadline, time.monotonic() + patience_s)
        stack.enter_context(exclusive_lock(control, LOCK, until, stopping))
        yield DeploymentDir(fd, path)
