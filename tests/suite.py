"""What the commands of the Makefile run: `python -m tests.suite test|test-all|lint|soak|bench`.

`test` and `test-all` check everything static before anything runs. Then `test` runs all but the slow tests on
PostgreSQL, and those that depend on the dialect on SQLite; `test-all` runs everything on both. All findings of a stage
are shown before it fails. Which test belongs where its markers say (pyproject.toml).
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
PYTEST = ["pytest", "-q", "-n", os.environ.get("JOBS", "2"), "--dist", "worksteal", "--maxfail", "50", "-rs"]
QUICK, EVERYTHING = "not slow and not soak", "not soak"
POSTGRESQL, SQLITE = {"INTERLOCK_TEST_DB": "postgresql"}, {"INTERLOCK_TEST_DB": "sqlite"}
SUITES = {
    "test": {
        "tests on PostgreSQL": ([*PYTEST, "--durations", "10", "-m", QUICK], POSTGRESQL),
        "tests of the dialect on SQLite": ([*PYTEST, "-m", f"(dialect or sqlite) and {QUICK}"], SQLITE),
    },
    "test-all": {
        "all tests on PostgreSQL": ([*PYTEST, "--durations", "40", "-m", EVERYTHING], POSTGRESQL),
        "all tests on SQLite": ([*PYTEST, "--durations", "40", "-m", EVERYTHING], SQLITE),
    },
}


def main(stage: str, more: list[str]) -> int:
    if stage == "lint":
        return static()
    if stage == "soak":
        return run("soak", ["pytest", "-q", "-s", "-m", "soak", "--timeout", "0", *more], {})
    if stage == "bench":
        return run("bench", ["python", "-m", "tests.benchmarks", *more], {})
    return static() or max([run(name, [*command, *more], env) for name, (command, env) in SUITES[stage].items()])


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
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "test", sys.argv[2:]))
