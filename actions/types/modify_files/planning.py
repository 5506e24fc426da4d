"""From changes, or from an executed plan, to a plan: one step per file with its precondition and undo. Read-only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from actions.types.modify_files.survey import NEW_FILE_MODE, Spot
from actions.types.protocol import Draft, PlanRefused, Target, error
from actions.types.tree import Seen
from audit.changes.document import Change
from audit.changes.masking import mask

TITLES = {"create": "Create", "modify": "Modify", "delete": "Delete"}
PARTICIPLES = {"create": "created", "modify": "modified", "delete": "deleted"}
LANGUAGES = {
    "c": "c",
    "cfg": "ini",
    "conf": "nginx",
    "css": "css",
    "go": "go",
    "html": "html",
    "ini": "ini",
    "java": "java",
    "js": "javascript",
    "json": "json",
    "md": "markdown",
    "py": "python",
    "rb": "ruby",
    "rs": "rust",
    "sh": "bash",
    "sql": "sql",
    "tf": "terraform",
    "toml": "toml",
    "ts": "typescript",
    "xml": "xml",
    "yaml": "yaml",
    "yml": "yaml",
}


@dataclass(frozen=True)
class Wanted:
    """One file as it shall be: ``after`` is ``None`` for a deletion; ``mode`` and ``owner`` are given when undoing."""

    here: Spot
    operation: str
    after: bytes | None
    index: int = -1  # of the change in the parameters that holds the bytes
    restores: str = ""  # or the step of the undone action whose before-image holds them
    mode: int | None = None
    owner: tuple[int, int] | None = None
    sweep: tuple[str, ...] = ()  # directories to remove afterwards if they are empty, innermost first


def draft(wanted: Sequence[Wanted], target: Target, free_bytes: int) -> Draft:
    """Return the plan that makes every file as wanted, in the order given."""
    if sum(len(want.after or b"") for want in wanted) > free_bytes:
        raise PlanRefused(
            f"The disk has only {free_bytes} bytes free, fewer than the new contents need. Make room first."
        )
    steps = [_step(n, want) for n, want in enumerate(wanted, 1)]
    changes = [_change(step["key"], want, target.mask_key) for step, want in zip(steps, wanted, strict=True)]
    kept = {step["key"]: want.here.seen.data for step, want in zip(steps, wanted, strict=True) if want.here.seen}
    return Draft(
        resources=[{"kind": "file", "name": f"{target.environment}:{want.here.path}"} for want in wanted],
        changes=changes,
        steps=steps,
        preconditions=[step["precondition"] for step in steps],
        compensations=[{"step": step["key"], **step["compensation"]} for step in steps],
        observations={"free_bytes": str(free_bytes)},
        summary=_summary(wanted, changes, target),
        before_images=kept,
    )


def state_of(seen: Seen | None) -> dict[str, Any]:
    """Return a file's state as it stands in preconditions and specs."""
    if seen is None:
        return {"exists": False}
    return {"exists": True, "sha256": seen.sha256, "mode": seen.mode_text, "uid": seen.uid, "gid": seen.gid}


def _after(want: Wanted) -> dict[str, Any]:
    if want.after is None:
        return {"exists": False}
    seen = want.here.seen
    mode = want.mode if want.mode is not None else (seen.mode if seen else NEW_FILE_MODE)
    after = {"exists": True, "sha256": hashlib.sha256(want.after).hexdigest(), "mode": f"{mode:04o}"}
    owner = want.owner or ((seen.uid, seen.gid) if seen else None)
    return after | ({"uid": owner[0], "gid": owner[1]} if owner else {})


def _step(n: int, want: Wanted) -> dict[str, Any]:
    path, before = want.here.path, state_of(want.here.seen)
    return {
        "key": f"{n:03d}:{path}",
        "title": f"{TITLES[want.operation]} {path}",
        "target": path,
        "operation": want.operation,
        "after": [],
        "precondition": {"path": path, **before},
        "compensation": _compensation(want),
        "spec": {
            "path": path,
            "operation": want.operation,
            "before": before,
            "after": _after(want),
            "index": want.index,
            "restores": want.restores,
            "make": list(want.here.missing),
            "sweep": list(want.sweep),
        },
    }


def _compensation(want: Wanted) -> dict[str, str]:
    path, seen = want.here.path, want.here.seen
    if want.operation == "create":
        made = ", and the directories made for it if they are empty" if want.here.missing else ""
        return {"kind": "reversible", "title": f"Delete {path}{made}"}
    if want.operation == "delete" and seen is not None and seen.xattrs:
        lost = ", ".join(seen.xattrs)
        return {"kind": "lossy", "title": f"Restore content, mode and owner of {path}, but not its attributes {lost}"}
    return {"kind": "reversible", "title": f"Restore content, mode and owner of {path}"}


def _change(key: str, want: Wanted, mask_key: bytes) -> Change:
    seen, after = want.here.seen, _after(want)
    return Change(
        key=key,
        target=want.here.path,
        kind="file",
        operation=want.operation,
        before=mask(seen.data.decode(), mask_key) if seen else None,
        after=mask(want.after.decode(), mask_key) if want.after is not None else None,
        before_digest=seen.sha256 if seen else None,
        after_digest=after.get("sha256"),
        before_mode=seen.mode_text if seen else None,
        after_mode=after.get("mode"),
        language=LANGUAGES.get(want.here.path.rpartition(".")[2].lower(), ""),
    )


def _summary(wanted: Sequence[Wanted], changes: Sequence[Change], target: Target) -> str:
    count = {name: sum(want.operation == name for want in wanted) for name in TITLES}
    told = ", ".join(f"{n} {PARTICIPLES[name]}" for name, n in count.items() if n)
    lines = f"+{sum(c.adds for c in changes)} -{sum(c.dels for c in changes)} lines"
    return f"{len(wanted)} file{'s' if len(wanted) != 1 else ''} in {target.environment}: {told} ({lines})"


def inverse(step: dict[str, Any], here: Spot, before_image: Callable[[str], bytes | None]) -> Wanted:
    """Return what undoes one executed step. Raises PlanRefused when the file is not as that step left it."""
    spec = step["spec"]
    if not matches(spec["after"], here.seen):
        raise PlanRefused([error(drifted(spec["path"], spec["after"], here.seen), spec["path"])])
    before = spec["before"]
    if not before["exists"]:
        return Wanted(here, "delete", None, sweep=tuple(reversed(spec["make"])))
    content = before_image(step["key"])
    if content is None:
        raise PlanRefused(
            f"The content of {spec['path']} before the change is not kept any more, so it cannot be restored."
        )
    operation = "modify" if here.seen else "create"
    mode, owner = int(before["mode"], 8), (before["uid"], before["gid"])
    return Wanted(here, operation, content, restores=step["key"], mode=mode, owner=owner)


def matches(state: dict[str, Any], seen: Seen | None) -> bool:
    """Return whether a file is in the recorded state; an owner counts where one is recorded."""
    if seen is None or not state["exists"]:
        return (seen is not None) == state["exists"]
    owner = state.get("uid", seen.uid), state.get("gid", seen.gid)
    return (seen.sha256, seen.mode_text, (seen.uid, seen.gid)) == (state["sha256"], state["mode"], owner)


def drifted(path: str, state: dict[str, Any], seen: Seen | None) -> str:
    """Say in words how a file differs from the recorded state. Names digests and modes, never content."""
    if seen is None:
        return f"{path} has been deleted since. Propose the change anew."
    if not state["exists"]:
        return f"{path} exists now, but should not. Propose the change anew."
    if seen.sha256 != state["sha256"]:
        return f"{path} has been changed since (expected sha256 {state['sha256'][:12]}, found {seen.sha256[:12]})."
    if seen.mode_text != state["mode"]:
        return f"The mode of {path} has been changed since (expected {state['mode']}, found {seen.mode_text})."
    return f"The owner of {path} has been changed since (now {seen.uid}:{seen.gid})."


def free_bytes(root_fd: int) -> int:
    found = os.fstatvfs(root_fd)
    return found.f_bavail * found.f_frsize
