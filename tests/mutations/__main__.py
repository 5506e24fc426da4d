"""Take each safeguard away in turn and see the tests go red: `python -m tests.mutations [words of a name…]`.

PostgreSQL and SQLite each get what belongs to them. Exit 1 if a mutant lives, or if the copy itself is not green.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.mutations.check import a_copy, run, without
from tests.mutations.mutants import MUTANTS


def main(wanted: list[str]) -> int:
    chosen = [m for m in MUTANTS if all(word in f"{m.law}: {m.name}" for word in wanted)]
    alive = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        tree = a_copy(Path(directory))
        for database in sorted({m.database for m in chosen}):
            tests = sorted({test for m in chosen if m.database == database for test in m.tests})
            clean = run(tree, tests, database)
            print(f"unmutated on {database}: {'green' if clean.is_green else 'RED'}", flush=True)
            alive += not clean.is_green
        for mutant in chosen:
            began = time.monotonic()
            with without(tree, mutant):
                ran = run(tree, mutant.tests, mutant.database)
            verdict = "ALIVE" if ran.is_green else f"killed by {' '.join(ran.failed())[7:107]}"
            print(f"{mutant.law}: {mutant.name}: {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
            alive += ran.is_green
    print(f"{len(chosen)} mutants, {alive} alive" if alive else f"{len(chosen)} mutants, none alive")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
