"""A body that may not be received is refused from its headers: at once, and without keeping any of it."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.processes import Group, free_port, server

HUGE = 300 * 1024 * 1024


@pytest.fixture
def daphne(product_environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[Group, int]]:
    port = free_port()
    with server(product_environment, tmp_path / "web.log", port) as started:
        yield started, port


def send(port: int, *headers: str, body_bytes: int) -> tuple[bytes, float]:
    """Send headers and as much of a body as is taken; return the answer and the seconds until its first byte."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        lines = ["POST /api/actions HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *headers, "", ""]
        raw.sendall("\r\n".join(lines).encode())
        began = time.monotonic()
        answer = raw.recv(65536)
        took = time.monotonic() - began
        chunk, left = b" " * 1_048_576, body_bytes
        try:
            while left > 0:
                raw.sendall(chunk)
                left -= len(chunk)
        except OSError:  # the server has closed the connection, as it should
            pass
        return answer, took


def test_a_huge_body_is_refused_from_its_headers(daphne: tuple[Group, int]) -> None:
    started, port = daphne
    process = psutil.Process(started.process.pid)
    before = process.memory_info().rss
    answer, took = send(port, f"Content-Length: {HUGE}", body_bytes=HUGE)
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"code": "too_large"' in answer
    assert b"8,388,608" in answer, "the limit is named"
    assert took < 1.0
    assert process.memory_info().rss - before < 50 * 1024 * 1024


def test_a_body_of_unknown_length_is_refused_from_its_headers(daphne: tuple[Group, int]) -> None:
    answer, _ = send(daphne[1], "Transfer-Encoding: chunked", body_bytes=0)
    assert answer.startswith(b"HTTP/1.1 411 ") and b"length_required" in answer


def test_the_server_goes_on_after_a_refusal(daphne: tuple[Group, int]) -> None:
    _, port = daphne
    send(port, f"Content-Length: {HUGE}", body_bytes=1_048_576)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert raw.recv(65536).startswith(b"HTTP/1.1 200 ")
