"""Create or update `.venv` from the lock files: `python3 -I config/run/install.py [run|dev]`. Standard library only.

Everything is pinned with hashes. A stamp, written last and atomically, records what is installed; while it matches,
nothing is done. An interrupted installation is repeated. Concurrent runs wait for one another.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "interlock-stamp.json"
LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}


def main(profile):
    if sys.version_info < (3, 11):
        have = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            "Interlock needs Python 3.11 or newer; %s is %s. Try: make PYTHON=python3.12 run" % (sys.executable, have)
        )
    with open(str(ROOT / ".install.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_current(profile):
            install(profile)


def is_current(profile):
    """Whether the installed packages match the lock files. The dev profile includes the run profile."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return False
    return PYTHON.exists() and stamp["digest"] == digest() and stamp["profile"] in (profile, "dev")


def digest():
    parts = [ROOT / name for name in (*LOCKS.values(), "requirements-bootstrap.lock", "pyproject.toml")]
    content = "\0".join([sys.version, str(ROOT), *(path.read_text() for path in parts)])
    return hashlib.sha256(content.encode()).hexdigest()


def install(profile):
    print_line("installing what Interlock needs into .venv (once, and when %s changes)" % LOCKS[profile])
    STAMP.unlink(missing_ok=True)
    if not PYTHON.exists() or python_version(PYTHON) != sys.version:
        run_command(sys.executable, "-m", "venv", "--clear", VENV)
    run_command(PYTHON, "-m", "pip", "install", "-q", "--require-hashes", "-r", ROOT / "requirements-bootstrap.lock")
    uv = [PYTHON, "-m", "uv", "-q", "pip"]
    run_command(*uv, "sync", "--python", PYTHON, "--require-hashes", ROOT / LOCKS[profile])
    run_command(*uv, "install", "--python", PYTHON, "--no-deps", "--no-build-isolation", "-e", ROOT)
    draft = STAMP.with_suffix(".new")
    draft.write_text(json.dumps({"profile": profile, "digest": digest()}))
    os.replace(str(draft), str(STAMP))


def python_version(python):
    asked = subprocess.run([str(python), "-c", "import sys; print(sys.version)"], capture_output=True, text=True)
    return asked.stdout.strip()


def run_command(*command):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = environment["UV_NO_PROGRESS"] = "1"
    done = subprocess.run([str(part) for part in command], cwd=str(ROOT), env=environment)
    if done.returncode:
        shown = " ".join(str(part) for part in command)
        sys.exit(
            "The installation failed at: %s\nSee the error above, then run `make run` again; it continues from here."
            % shown
        )


def print_line(text):
    print("interlock │ " + text, flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "run")
