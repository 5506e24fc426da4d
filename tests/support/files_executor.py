"""
An executor for tests: each step writes one file below the environment's root, or sends one line that nobody takes back.

`after` is the graph (per step, from 1, those that it comes after), `final` the steps that cannot be undone, `fails` a
step that fails before it does anything, `stuck` the steps whose undo fails while a file `.mended` is not there.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actions.types.protocol import Draft, Issue, Outcome, Probe, StepContext, Target
from audit.changes.document import Change

STEPS = {"type": "array", "items": {"type": "integer", "minimum": 1}}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["after"],
    "properties": {
        "after": {"type": "array", "items": STEPS},
        "final": STEPS,
        "stuck": STEPS,
        "fails": {"type": "integer"},
    },
}
SENT, MENDED = ".sent", ".mended"


class FilesExecutor:
    name = "files"
    version = "1"
    title = "Files"
    description = "Writes one file per step. For tests."
    schema = SCHEMA
    security_level = "low"
    risk_class = "safe"
    changes_something = True

    def level_of(self, parameters: dict[str, Any]) -> str:
        return "low"

    def validate(self, parameters: dict[str, Any], target: Target) -> list[Issue]:
        return []

    def plan(self, parameters: dict[str, Any], target: Target) -> Draft:
        assert target.root is not None
        numbers = range(1, len(parameters["after"]) + 1)
        keys = {n: f"{n:03d}" for n in numbers}
        steps, images, changes = [], {}, []
        for n, after in zip(numbers, parameters["after"], strict=True):
            name, is_final = f"cell-{n}", n in parameters.get("final", ())
            now = read(target.root / name)
            if not is_final and now is not None:
                images[keys[n]] = now
            kind = "irreversible" if is_final else "reversible"
            steps.append(
                {
                    "key": keys[n],
                    "title": f"Write {name}",
                    "target": name,
                    "operation": "modify",
                    "after": [keys[m] for m in after],
                    "precondition": {} if is_final else {"sha256": digest(now)},
                    "compensation": {"kind": kind, "title": f"Put {name} back"},
                    "spec": {"name": name, "final": is_final},
                }
            )
            changes.append(Change(keys[n], name, "file", "modify", before="a\n", after="b\n", adds=1, dels=1))
        names = [step["target"] for step in steps]
        return Draft(
            resources=[{"kind": "file", "name": f"{target.environment}:{name}"} for name in names],
            changes=changes,
            steps=steps,
            order="graph",
            before_images=images,
            compensations=[{"step": step["key"], **step["compensation"]} for step in steps],
        )

    def plan_undo(
        self, plan_steps: list[dict[str, Any]], target: Target, before_image: Callable[[str], bytes | None]
    ) -> Draft:
        raise NotImplementedError

    def apply(self, ctx: StepContext) -> Outcome:
        if ctx.stopping():
            return Outcome(False, "stopped", "The run is stopping.")
        if ctx.parameters.get("fails") == int(ctx.step["key"]):
            return Outcome(False, "told_to_fail", "It was told to fail.")
        path = path_of(ctx)
        if ctx.step["spec"]["final"]:
            if ctx.idempotency_key not in sent(path.parent):
                append(path.parent / SENT, ctx.idempotency_key)
        else:
            replace(path, after_of(ctx))
        return Outcome(True)

    def probe(self, ctx: StepContext) -> Probe:
        path = path_of(ctx)
        if ctx.step["spec"]["final"]:
            return Probe.DONE if ctx.idempotency_key in sent(path.parent) else Probe.NOT_DONE
        return Probe.DONE if read(path) == after_of(ctx) else Probe.NOT_DONE

    def compensate(self, ctx: StepContext) -> Outcome:
        path = path_of(ctx)
        if int(ctx.step["key"]) in ctx.parameters.get("stuck", ()) and not (path.parent / MENDED).exists():
            return Outcome(False, "stuck", "It does not let itself be undone.")
        before = ctx.before_image()
        if before is None:
            path.unlink(missing_ok=True)
        else:
            replace(path, before)
        return Outcome(True)

    def probe_undo(self, ctx: StepContext) -> Probe:
        return Probe.DONE if digest(read(path_of(ctx))) == ctx.step["precondition"].get("sha256") else Probe.NOT_DONE

    def verify(self, steps: list[dict[str, Any]], target: Target) -> list[dict[str, Any]]:
        return []


def path_of(ctx: StepContext) -> Path:
    assert ctx.target.root is not None
    return ctx.target.root / str(ctx.step["spec"]["name"])


def after_of(ctx: StepContext) -> bytes:
    return f"by {ctx.idempotency_key}\n".encode()


def read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def digest(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()


def replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    os.replace(draft, path)


def append(path: Path, line: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def sent(root: Path) -> Counter[str]:
    path = root / SENT
    return Counter(path.read_text().split()) if path.exists() else Counter()


def cells(root: Path) -> dict[str, bytes]:
    """What stands in the files of the steps."""
    return {path.name: path.read_bytes() for path in sorted(root.glob("cell-*"))}
