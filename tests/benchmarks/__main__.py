"""`make bench`: Interlock beside DBOS and Absurd, then submission alone, then latency on an idle machine.

Prints numbers and judges none: it fails only when an action did not complete. docs/benchmarks.md says what is measured.
"""

import subprocess
import sys
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec

from tests.benchmarks import report
from tests.benchmarks.contest import REPO, Contender, TurnFailed, rounds, take
from tests.benchmarks.ground import Ground
from tests.benchmarks.report import say

OURS = "Interlock"
PARTS = ("throughput", "submission", "latency")


def main() -> int:
    options = parse()
    ground = Ground()
    say(report.machine())
    say(ground.facts())
    migrated = migrate(ground)
    try:
        if "throughput" in options.parts:
            throughput(ground, migrated, options)
        for part in ("submission", "latency"):
            if part in options.parts:
                alone(ground, migrated, part, options.samples)
    except TurnFailed as failure:
        say(f"\nFAILED: {failure}")
        return 1
    return 0


def parse() -> Namespace:
    parser = ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--n", type=int, default=1000, help="actions in a turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=200, help="of submission and latency")
    parser.add_argument("--only", default="", help="only contenders whose name contains this")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}: use {', '.join(PARTS)}")
    return options


def contenders(migrated: str) -> list[Contender]:
    found = [
        Contender(OURS, "tests.benchmarks.interlock_turn", "", OURS, migrated),
        *(
            Contender(f"DBOS, {mode}", "tests.benchmarks.dbos_turn", mode, "DBOS")
            for mode in ("sequential", "started", "queued")
        ),
    ]
    if find_spec("absurdctl") is None:
        say("Absurd takes no part: absurdctl, which brings its schema, is not installed.")
        return found
    for count, words in (("1", "1 worker"), ("2", "2 workers")):
        found.append(Contender(f"Absurd, {words}", "tests.benchmarks.absurd_turn", count, "Absurd"))
    return found


def throughput(ground: Ground, migrated: str, options: Namespace) -> None:
    taking = [c for c in contenders(migrated) if options.only.lower() in c.name.lower()]
    say(
        f"\nCompleted actions of three no-op steps, {options.n} each, submission inside the clock, "
        f"{options.rounds} rounds\n"
    )
    found = rounds(ground, taking, options.n, options.rounds, say)
    say("\n" + report.table(taking, found))
    if any(c.name == OURS for c in taking) and len(taking) > 1:
        say("\n" + report.ratios(taking, found, OURS))


def alone(ground: Ground, migrated: str, part: str, samples: int) -> None:
    lap = take(ground, Contender(part, f"tests.benchmarks.{part}_turn", "", part, migrated), samples)
    say()
    for line in lap.facts["lines"]:
        say(line)
    if part == "submission":
        say(
            f"  statements {lap.statements:.1f}, WAL {lap.wal_kib:.1f} KiB, "
            f"CPU {lap.cpu_ms:.2f} ms + server {lap.server_cpu_ms:.2f} ms"
        )


def migrate(ground: Ground) -> str:
    """A migrated, empty database to copy for every turn of ours."""
    name = ground.make_template("migrated")
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v", "0"], cwd=REPO, env=ground.environment(name), check=True
    )
    return name


if __name__ == "__main__":
    sys.exit(main())
