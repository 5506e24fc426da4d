"""The policy sandbox: a process of its own in which policies are evaluated, limited in time and memory.

The CEL library is native code without a memory limit, so a policy could crash the worker. Here the worst case is that
the policy is cut off: the caller gets an error for that policy, and an error denies.
"""

import atexit
import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MAX_MEMORY_BYTES = 256 * 2**20
"""On top of what the process has when it is ready."""
MAX_S = 0.5
"""For one policy."""
START_S = 20.0
FOREVER = float("inf")
CUT_OFF = "It was cut off"
NOT_TRIED = f"{CUT_OFF} so often on other facts that it was not tried on these."
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class ExpressionResult:
    """The result of one expression: True, False, or None with the error."""

    value: bool | None
    error: str = ""

    @property
    def was_cut_off(self) -> bool:
        return self.error.startswith(CUT_OFF)


@dataclass(frozen=True)
class Fault:
    line: int
    column: int
    message: str


class SandboxProcess:
    """One evaluating process, started at first use and again after it was killed. Threads take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def check(self, source: str) -> list[Fault]:
        """Every fault of an expression, with line and column; empty if it can be a policy."""
        with self._lock:
            answer = self._ask({"check": source})
        if "faults" in answer:
            return [Fault(*fault) for fault in answer["faults"]]
        return [Fault(1, 1, answer["error"])]

    def evaluate(self, sources: Sequence[str], facts: dict[str, Any]) -> list[ExpressionResult]:
        """Evaluate expressions over one set of facts, in order, each with a time limit of its own."""
        if not sources:
            return []
        with self._lock:
            loaded = self._ask({"facts": facts})
            policy_results = []
            for source in sources:
                if self._process is None and not loaded.get("error"):
                    loaded = self._ask({"facts": facts})
                answer = loaded if loaded.get("error") else self._ask({"is_true": source})
                policy_results.append(ExpressionResult(answer.get("value"), answer.get("error", "")))
            return policy_results

    def evaluate_many(
        self, sources: Sequence[str], batch: Sequence[dict[str, Any]], patience: dict[str, int] | None = None
    ) -> list[list[ExpressionResult]]:
        """Evaluate the same expressions over many sets of facts, as `evaluate` would over each, but in one go.

        An evaluation that is cut off is tried again alone, so it affects no other set of facts. `patience` says how
        often each expression may be cut off from here on, and is counted down; one without any left is not tried.
        """
        found: list[list[ExpressionResult]] = []
        while len(found) < len(batch):
            tried = [s for s in sources if patience is None or patience.get(s, 1) > 0]
            answers = self._stream(tried, batch[len(found) :])
            if len(found) + len(answers) < len(batch):
                alone = self.evaluate(tried, batch[len(found) + len(answers)])
                for source, result in zip(tried, alone, strict=True):
                    if patience is not None and source in patience and result.was_cut_off:
                        patience[source] -= 1
                answers.append(alone)
            for policy_results in answers:
                by_source = dict(zip(tried, policy_results, strict=True))
                found.append([by_source.get(s, ExpressionResult(None, NOT_TRIED)) for s in sources])
        return found

    def close(self) -> None:
        with self._lock:
            self._kill()

    def _stream(self, sources: Sequence[str], batch: Sequence[dict[str, Any]]) -> list[list[ExpressionResult]]:
        """The answers for as many sets of facts as it takes until one is cut off; all of them if none is."""
        if not sources:
            return [[] for _ in batch]
        answers: list[list[ExpressionResult]] = []
        with self._lock:
            try:
                process = self._running()
                assert process.stdin is not None and process.stdout is not None
                send(process.stdin, {"batch": list(batch), "sources": list(sources)})
                while len(answers) < len(batch):
                    got = receive(process.stdout, time.monotonic() + MAX_S)["policy_results"]
                    answers.append([ExpressionResult(value, error) for value, error in got])
            except (OSError, EOFError, ValueError, KeyError):
                self._kill()
        return answers

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            process = self._running()
            assert process.stdin is not None and process.stdout is not None
            send(process.stdin, question)
            return receive(process.stdout, time.monotonic() + MAX_S)
        except TimeoutError:
            self._kill()
            return {"error": f"{CUT_OFF} after {MAX_S:g} s."}
        except (OSError, EOFError, ValueError):
            self._kill()
            return {"error": f"{CUT_OFF}: it needed more memory than allowed."}

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._owner != os.getpid():
            self._process = None  # inherited through a fork: the other process owns it
        if self._process is None:
            command = [sys.executable, "-m", "approvals.policies.sandbox.worker"]
            root = Path(__file__).resolve().parents[3]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=root
            )
            self._owner = os.getpid()
            assert self._process.stdout is not None
            receive(self._process.stdout, time.monotonic() + START_S)
        return self._process

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


SANDBOX = SandboxProcess()
atexit.register(SANDBOX.close)
check_expression = SANDBOX.check
evaluate_expressions = SANDBOX.evaluate
evaluate_batch = SANDBOX.evaluate_many


def send(pipe: IO[bytes], message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def receive(pipe: IO[bytes], until: float) -> dict[str, Any]:
    """Read one message without buffering; TimeoutError once `until` (monotonic) has passed."""
    size = _LENGTH.unpack(_read(pipe, _LENGTH.size, until))[0]
    return dict(json.loads(_read(pipe, size, until)))


def _read(pipe: IO[bytes], size: int, until: float) -> bytes:
    data = b""
    while len(data) < size:
        left = None if until == FOREVER else until - time.monotonic()
        if left is not None and (left <= 0 or not select.select([pipe.fileno()], [], [], left)[0]):
            raise TimeoutError
        part = os.read(pipe.fileno(), size - len(data))
        if not part:
            raise EOFError
        data += part
    return data
