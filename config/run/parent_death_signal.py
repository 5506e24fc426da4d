"""Run a command that dies with its parent: `python -I config/run/parent_death_signal.py SIGNAL COMMAND…`. Standard
library only.

Linux sends SIGNAL when the parent is gone, however it went; elsewhere the command merely runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(how: signal.Signals, parent: int | None = None) -> None:
    """Ask the kernel for `how` when the parent dies; if `parent` is gone already, send it at once."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(how))
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), how)


if __name__ == "__main__":
    die_with_parent(signal.Signals[sys.argv[1]])
    os.execvp(sys.argv[2], sys.argv[2:])
