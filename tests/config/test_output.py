"""What `make run` prints: labelled whole lines, whoever writes, however they come."""

import io
import os
from pathlib import Path

import pytest

from config.run.log_multiplexer import LINE_BYTES, LogMultiplexer


def write(pipe: Path, data: bytes) -> None:
    with pipe.open("wb", buffering=0) as end:
        end.write(data)


def test_every_line_is_labelled_and_none_is_torn(tmp_path: Path) -> None:
    shown = io.StringIO()
    output = LogMultiplexer(shown)
    output.follow("web", tmp_path / "web.pipe")
    output.follow("beat", tmp_path / "beat.pipe")
    write(tmp_path / "web.pipe", b"one\ntw")
    write(tmp_path / "beat.pipe", b"tick\n")
    write(tmp_path / "web.pipe", "o – with ünïcode\n\n".encode())
    output.say("ready")
    output.close()
    lines = shown.getvalue().splitlines()
    assert sorted(lines) == sorted(
        ["web       │ one", "web       │ two – with ünïcode", "beat      │ tick", "interlock │ ready"]
    )


def test_a_line_without_end_is_shown_in_parts(tmp_path: Path) -> None:
    shown = io.StringIO()
    output = LogMultiplexer(shown)
    output.follow("web", tmp_path / "web.pipe")
    write(tmp_path / "web.pipe", b"x" * (LINE_BYTES + 1))
    output.close()
    assert shown.getvalue().count("x") == LINE_BYTES + 1


def test_the_supervisors_own_trimmings_are_left_out(tmp_path: Path) -> None:
    shown = io.StringIO()
    output = LogMultiplexer(shown)
    output.follow("interlock", tmp_path / "own.pipe")
    write(tmp_path / "own.pipe", b"2026-11-21 04:52:56,626 WARN exited: web (exit status 1; not expected)\n")
    write(tmp_path / "own.pipe", b"2026-11-21 04:52:56,626 WARN received SIGTERM indicating exit request\n")
    output.close()
    assert shown.getvalue() == "interlock │ exited: web (exit status 1; not expected)\n"


def test_a_terminal_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    gone = os.fdopen(writing, "w")
    output = LogMultiplexer(gone)
    output.say("is anybody there?")
    output.say("no")
    output.close()
    with pytest.raises(BrokenPipeError):
        gone.close()
