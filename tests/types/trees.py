"""A directory tree as something two of which can be compared, and a root with a few files in it."""

import os
import stat
from pathlib import Path

SECRET = "hunter2-Zq8vT4nWx1"
APP = f"name: shop\nreplicas: 2\npassword: {SECRET}\n"


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Every path below root with its kind, mode, owner and content. Without times: no undo restores them all."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        content: object = None
        if stat.S_ISREG(info.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(info.st_mode):
            content = os.readlink(path)
        found[str(path.relative_to(root))] = (oct(info.st_mode), info.st_uid, info.st_gid, content)
    return found


def furnish(root: Path) -> Path:
    """etc/app.yaml (0640, holds a secret), etc/run.sh (0755), old.txt."""
    (root / "etc").mkdir()
    (root / "etc/app.yaml").write_text(APP)
    (root / "etc/app.yaml").chmod(0o640)
    (root / "etc/run.sh").write_text("#!/bin/sh\necho hello\n")
    (root / "etc/run.sh").chmod(0o755)
    (root / "old.txt").write_text("Grüße\n")
    return root


def create(path: str, content: str = "new\n") -> dict[str, str]:
    return {"path": path, "operation": "create", "content": content}


def modify(path: str, content: str = "new\n") -> dict[str, str]:
    return {"path": path, "operation": "modify", "content": content}


def delete(path: str) -> dict[str, str]:
    return {"path": path, "operation": "delete"}
