"""What `make test`, `make lint`, `make soak` and `make bench` run: `python -m tests.suite [all|lint|soak|bench]`.

Everything static is checked before anything runs; then the whole suite on PostgreSQL, then on SQLite. All findings of a
stage are shown before it fails.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
STATIC = {
    "ruff": ["ruff", "check", "--output-format", "concise"],
    "format": ["ruff", "format", "--check", "--output-format", "concise"],
    "types": ["mypy"],
    "floors": ["lint-imports", "--no-logo"],
}
NO_SECRETS = {"INTERLOCK_SECRET_KEY": "only to read the settings", "INTERLOCK_KEK": "A" * 43 + "="}
"""The type checker loads the settings, which refuse to load without keys."""
PYTEST = [
    "pytest",
    "-q",
    "-n",
    os.environ.get("JOBS", "2"),
    "--dist",
    "worksteal",
    "--maxfail",
    "50",
    "--durations",
    "10",
]
SUITE = {
    "tests on PostgreSQL": ([*PYTEST], {"INTERLOCK_TEST_DB": "postgresql", "INTERLOCK_TEST_ONCE": "1"}),
    "tests on SQLite": ([*PYTEST], {"INTERLOCK_TEST_DB": "sqlite", "INTERLOCK_TEST_ONCE": "1"}),
}


def main(stage: str, more: list[str]) -> int:
    if stage == "lint":
        return static()
    if stage == "soak":
        return run("soak", ["pytest", "-q", "-s", "-m", "soak", "--timeout", "0", *more], {})
    if stage == "bench":
        return run("bench", ["python", "-m", "tests.benchmarks", *more], {})
    return static() or max([run(name, [*command, *more], env) for name, (command, env) in SUITE.items()])


def static() -> int:
    return max([run(name, command, NO_SECRETS) for name, command in STATIC.items()])


def run(name: str, command: list[str], environment: dict[str, str]) -> int:
    print(f"── {name}", flush=True)
    began = time.monotonic()
    ran = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, env={**os.environ, **environment})
    verdict = "ok" if ran.returncode == 0 else f"FAILED (exit {ran.returncode})"
    print(f"── {name}: {verdict} in {time.monotonic() - began:.0f} s\n", flush=True)
    return ran.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "all", sys.argv[2:]))
