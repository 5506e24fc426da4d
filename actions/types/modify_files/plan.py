"""Plan changes of files, or their undo: read the target, find faults, one step per file. Read-only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from actions.types.modify_files.schema import FILE_LIMIT
from actions.types.protocol import Draft, Issue, PlanRefused, Target, error
from actions.types.shared.safe_path import FileSnapshot, Unreachable, enter_directory, open_parent, read_file
from audit.changes.document import Change
from audit.changes.masking import mask

NEW_FILE_MODE = 0o644


@dataclass(frozen=True)
class TargetFile:
    """One path as it is now: the file (``None``: nothing there) and the missing parent directories, outermost first."""

    path: str
    seen: FileSnapshot | None
    missing: tuple[str, ...] = ()


def inspect_target(root_fd: int, path: str) -> TargetFile:
    """Look at one path. Raises Unreachable when it cannot be a regular file reached without links."""
    try:
        with open_parent(root_fd, path) as (fd, name):
            return TargetFile(path, read_file(fd, name, path, FILE_LIMIT))
    except Unreachable as exc:
        if exc.code != "missing_parent":
            raise
    return TargetFile(path, None, missing_parents(root_fd, path))


def missing_parents(root_fd: int, path: str) -> tuple[str, ...]:
    parts = path.split("/")[:-1]
    fd = os.dup(root_fd)
    try:
        for depth, part in enumerate(parts):
            shown = "/".join(parts[: depth + 1])
            try:
                here = enter_directory(fd, part, shown)
            except Unreachable as exc:
                if exc.code != "missing_parent":
                    raise
                return tuple("/".join(parts[: n + 1]) for n in range(depth, len(parts)))
            os.close(fd)
            fd = here
    finally:
        os.close(fd)
    return ()


def inspect_change(root_fd: int, n: int, change: dict[str, Any]) -> tuple[TargetFile | None, list[Issue]]:
    """Return one (well-formed) change's path as it is now, and why the change does not fit it."""
    here = None
    try:
        here = inspect_target(root_fd, change["path"])
        faults = misfit_faults(here, change["operation"], change.get("content")) or writability_faults(root_fd, here)
    except Unreachable as exc:
        faults = [str(exc)]
    return here, [error(fault, f"changes.{n}.path") for fault in faults]


def misfit_faults(here: TargetFile, operation: str, content: str | None) -> list[str]:
    path, seen = here.path, here.seen
    if operation == "create":
        return [f"{path} exists already. Use operation modify to replace its content."] if seen else []
    if seen is None:
        advice = "Use operation create to make it." if operation == "modify" else "Leave it out."
        return [f"{path} does not exist. {advice}"]
    faults = ownership_faults(here)
    if seen.nlink > 1:
        faults.append(f"{path} has {seen.nlink} hard links; changing it here would leave the other names as they are.")
    if not is_text(seen.data):
        faults.append(f"{path} is not UTF-8 text, so its change cannot be shown. Only text files can be changed.")
    if operation == "modify" and content is not None and seen.data == content.encode():
        faults.append(f"{path} already has exactly this content. Leave it out.")
    return faults


def ownership_faults(here: TargetFile) -> list[str]:
    """A replaced file is a new one, so its owner can only be kept by root or by the owner."""
    if here.seen is None or os.geteuid() in (0, here.seen.uid):
        return []
    return [f"{here.path} belongs to user id {here.seen.uid}; the worker (user id {os.geteuid()}) could not keep that."]


def writability_faults(root_fd: int, here: TargetFile) -> list[str]:
    """Return whether the worker may write in the nearest directory that exists."""
    nearest = here.missing[0] if here.missing else here.path
    with open_parent(root_fd, nearest) as (fd, _):
        if os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=True):
            return []
    where = nearest.rpartition("/")[0] or "the environment's root"
    return [f"The worker may not write in {where}. An admin gives its user (id {os.geteuid()}) that right."]


def is_text(data: bytes) -> bool:
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# The plan: one step per file with its precondition and undo.


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
class FileChange:
    """One file as it shall be: ``after`` is ``None`` for a deletion; ``mode`` and ``owner`` are given when undoing."""

    here: TargetFile
    operation: str
    after: bytes | None
    index: int = -1  # of the change in the parameters that holds the bytes
    restores: str = ""  # or the step of the undone action whose before-image holds them
    mode: int | None = None
    owner: tuple[int, int] | None = None
    sweep: tuple[str, ...] = ()  # directories to remove afterwards if they are empty, innermost first


def build_draft(wanted: Sequence[FileChange], target: Target, free_bytes: int) -> Draft:
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


def state_of(seen: FileSnapshot | None) -> dict[str, Any]:
    """Return a file's state as it stands in preconditions and specs."""
    if seen is None:
        return {"exists": False}
    return {"exists": True, "sha256": seen.sha256, "mode": seen.mode_text, "uid": seen.uid, "gid": seen.gid}


def _expected_state(want: FileChange) -> dict[str, Any]:
    if want.after is None:
        return {"exists": False}
    seen = want.here.seen
    mode = want.mode if want.mode is not None else (seen.mode if seen else NEW_FILE_MODE)
    after = {"exists": True, "sha256": hashlib.sha256(want.after).hexdigest(), "mode": f"{mode:04o}"}
    owner = want.owner or ((seen.uid, seen.gid) if seen else None)
    return after | ({"uid": owner[0], "gid": owner[1]} if owner else {})


def _step(n: int, want: FileChange) -> dict[str, Any]:
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
            "after": _expected_state(want),
            "index": want.index,
            "restores": want.restores,
            "make": list(want.here.missing),
            "sweep": list(want.sweep),
        },
    }


def _compensation(want: FileChange) -> dict[str, str]:
    path, seen = want.here.path, want.here.seen
    if want.operation == "create":
        made = ", and the directories made for it if they are empty" if want.here.missing else ""
        return {"kind": "reversible", "title": f"Delete {path}{made}"}
    if want.operation == "delete" and seen is not None and seen.xattrs:
        lost = ", ".join(seen.xattrs)
        return {"kind": "lossy", "title": f"Restore content, mode and owner of {path}, but not its attributes {lost}"}
    return {"kind": "reversible", "title": f"Restore content, mode and owner of {path}"}


def _change(key: str, want: FileChange, mask_key: bytes) -> Change:
    seen, after = want.here.seen, _expected_state(want)
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


def _summary(wanted: Sequence[FileChange], changes: Sequence[Change], target: Target) -> str:
    count = {name: sum(want.operation == name for want in wanted) for name in TITLES}
    told = ", ".join(f"{n} {PARTICIPLES[name]}" for name, n in count.items() if n)
    lines = f"+{sum(c.adds for c in changes)} -{sum(c.dels for c in changes)} lines"
    return f"{len(wanted)} file{'s' if len(wanted) != 1 else ''} in {target.environment}: {told} ({lines})"


def invert_step(step: dict[str, Any], here: TargetFile, before_image: Callable[[str], bytes | None]) -> FileChange:
    """Return what undoes one executed step. Raises PlanRefused when the file is not as that step left it."""
    spec = step["spec"]
    if not matches_state(spec["after"], here.seen):
        raise PlanRefused([error(describe_drift(spec["path"], spec["after"], here.seen), spec["path"])])
    before = spec["before"]
    if not before["exists"]:
        return FileChange(here, "delete", None, sweep=tuple(reversed(spec["make"])))
    content = before_image(step["key"])
    if content is None:
        raise PlanRefused(
            f"The content of {spec['path']} before the change is not kept any more, so it cannot be restored."
        )
    operation = "modify" if here.seen else "create"
    mode, owner = int(before["mode"], 8), (before["uid"], before["gid"])
    return FileChange(here, operation, content, restores=step["key"], mode=mode, owner=owner)


def matches_state(state: dict[str, Any], seen: FileSnapshot | None) -> bool:
    """Return whether a file is in the recorded state; an owner counts where one is recorded."""
    if seen is None or not state["exists"]:
        return (seen is not None) == state["exists"]
    owner = state.get("uid", seen.uid), state.get("gid", seen.gid)
    return (seen.sha256, seen.mode_text, (seen.uid, seen.gid)) == (state["sha256"], state["mode"], owner)


def describe_drift(path: str, state: dict[str, Any], seen: FileSnapshot | None) -> str:
    """Say in words how a file differs from the recorded state. Names digests and modes, never content."""
    if seen is None:
        return f"{path} was deleted since. Propose the change again."
    if not state["exists"]:
        return f"{path} exists now. Propose the change again."
    if seen.sha256 != state["sha256"]:
        return f"{path} has been changed since (expected sha256 {state['sha256'][:12]}, found {seen.sha256[:12]})."
    if seen.mode_text != state["mode"]:
        return f"The mode of {path} has been changed since (expected {state['mode']}, found {seen.mode_text})."
    return f"The owner of {path} has been changed since (now {seen.uid}:{seen.gid})."


def read_free_bytes(root_fd: int) -> int:
    found = os.fstatvfs(root_fd)
    return found.f_bavail * found.f_frsize
