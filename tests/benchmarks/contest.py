"""Let contenders take turns: every round gives each of them a fresh database on the same server."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.ground import Ground, cpu_of

REPO = Path(__file__).resolve().parents[2]
PATIENCE_S = 30


class TurnFailed(RuntimeError):
    """A contender did not complete what it was given; the message ends with what it last said."""


@dataclass(frozen=True)
class Contender:
    """Who: shown name, the module that plays the turn, its mode, and the family whose best mode counts."""

    name: str
    module: str
    mode: str
    family: str
    template: str = "template0"
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lap:
    """What one turn took, per action where it says so."""

    rate: float
    statements: float
    wal_kib: float
    cpu_ms: float
    server_cpu_ms: float
    facts: dict[str, Any]


def take(ground: Ground, contender: Contender, n: int) -> Lap:
    """Play one turn and read what it cost between GO and DONE. Raises TurnFailed."""
    ground.empty_redis()
    log = ground.base / "turn.log"
    with ground.database(contender.template) as database, log.open("wb") as errors:
        command = [
            sys.executable,
            "-m",
            contender.module,
            "--url",
            ground.url_of(database),
            "--n",
            str(n),
            "--mode",
            contender.mode,
        ]
        environment = {**ground.environment(database), **contender.environment}
        process = subprocess.Popen(
            command, cwd=REPO, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            return _measure(ground, database, process, n)
        except (TurnFailed, BrokenPipeError) as error:
            said = log.read_text(errors="replace")[-3000:]
            raise TurnFailed(f"{contender.name}: {error}\n{said}") from None
        finally:
            end(process)


def _measure(ground: Ground, database: str, process: "subprocess.Popen[str]", n: int) -> Lap:
    assert process.stdin is not None
    expect(process, "READY")
    child = psutil.Process(process.pid)
    before, cpu = ground.read(database), cpu_of(child)
    process.stdin.write("GO\n")
    process.stdin.flush()
    facts = json.loads(expect(process, "DONE"))
    cpu, after = cpu_of(child) - cpu, ground.read(database)
    return Lap(
        rate=n / facts.pop("seconds"),
        statements=(after.statements - before.statements) / n,
        wal_kib=(after.wal_bytes - before.wal_bytes) / 1024 / n,
        cpu_ms=1000 * cpu / n,
        server_cpu_ms=1000 * (after.server_cpu_s - before.server_cpu_s) / n,
        facts=facts,
    )


def expect(process: "subprocess.Popen[str]", word: str) -> str:
    """Read lines until one starts with `word`; return its rest. Raises TurnFailed when the process ends instead."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line[len(word) :].strip()
    raise TurnFailed(f"ended with {process.wait()} before it said {word}")


def end(process: "subprocess.Popen[str]") -> None:
    """Close its stdin, which ends a turn; kill it, with all it started, if it stays."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
    for one in psutil.wait_procs(family, timeout=2)[1]:
        one.kill()


def rounds(
    ground: Ground, contenders: Sequence[Contender], n: int, count: int, say: Callable[[str], None]
) -> list[dict[str, Lap]]:
    """Play `count` rounds; the order turns by one each time, so that nobody always follows the same neighbour."""
    found = []
    for number in range(count):
        turned = [*contenders[number % len(contenders) :], *contenders[: number % len(contenders)]]
        laps: dict[str, Lap] = {}
        for contender in turned:
            lap = laps[contender.name] = take(ground, contender, n)
            say(f"round {number + 1}/{count}  {contender.name:<28} {lap.rate:8.0f} /s")
        found.append({c.name: laps[c.name] for c in contenders})
    return found
