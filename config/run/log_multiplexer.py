"""The output of `make run`: every line labelled with the process that wrote it."""

import os
import re
import selectors
import stat
import threading
from pathlib import Path
from typing import TextIO

WIDTH = 9
SUPERVISOR_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ (WARN|ERRO|CRIT) ")
EXPECTED_LINES = (
    "received SIGTERM indicating exit request",
    "stopped: ",
)  # requested by the launcher, which prints it itself
LINE_BYTES = 32_768  # a longer line is shown in parts


class LogMultiplexer:
    """Merge the processes' pipes into one stream, whole lines only, so that two never mix."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_mute = False
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._partial: dict[int, bytes] = {}
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def follow(self, name: str, pipe: Path) -> None:
        """Show what is written to the named pipe `pipe` (made here), under `name`."""
        if not pipe.exists() or not stat.S_ISFIFO(pipe.stat().st_mode):
            pipe.unlink(missing_ok=True)
            os.mkfifo(pipe, 0o600)
        descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # read and write: never at its end
        self._partial[descriptor] = b""
        self._selector.register(descriptor, selectors.EVENT_READ, name)

    def say(self, text: str) -> None:
        self._write("interlock", text)

    def close(self) -> None:
        """Show what is still in the pipes, then stop."""
        self._closing.set()
        self._reader.join(timeout=5)

    def _read(self) -> None:
        while True:
            is_last = self._closing.is_set()
            ready = self._selector.select(0 if is_last else 0.1)
            for key, _ in ready:
                self._take(key.fd, key.data)
            if is_last and not ready:
                return

    def _take(self, descriptor: int, name: str) -> None:
        try:
            read = self._partial[descriptor] + os.read(descriptor, 65536)
        except BlockingIOError:
            return
        *lines, rest = read.split(b"\n")
        if len(rest) > LINE_BYTES:
            lines, rest = [*lines, rest], b""
        self._partial[descriptor] = rest
        for line in lines:
            text = SUPERVISOR_PREFIX.sub("", line.decode(errors="replace").rstrip())
            if text and not text.startswith(EXPECTED_LINES):
                self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        with self._lock:
            if self._is_mute:
                return
            try:
                print(f"{name:<{WIDTH}} │ {text}", file=self._stream, flush=True)
            except (OSError, ValueError):  # the terminal is gone; go on to the orderly end
                self._is_mute = True
