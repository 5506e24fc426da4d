"""What the machine that runs the tests lets them do to it."""

import os
import shutil
import subprocess
import tempfile
from functools import lru_cache


@lru_cache(maxsize=1)
def may_mount() -> bool:
    """Whether a file system in memory can be mounted, and is gone again."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as place:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "try", place], capture_output=True)
        return mounted.returncode == 0 and subprocess.run(["umount", place]).returncode == 0


def may_compile() -> bool:
    return shutil.which("cc") is not None
