"""A small HTTP service on loopback that answers in the ways a probe must survive, and counts who came."""

import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path, self.headers.get("Host", "")))
        routes: dict[str, Callable[[], None]] = {
            "/": lambda: self._answer(200, b"all is well"),
            "/down": lambda: self._answer(503, b"down"),
            "/elsewhere": lambda: self._redirect(),
            "/large": lambda: self._answer(200, b"x" * (3 << 20)),
            "/slow": lambda: time.sleep(3),
            "/drip": self._drip,
        }
        routes.get(self.path.partition("?")[0], lambda: self._answer(404, b""))()

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # the probe had read enough

    def _redirect(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/followed")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _drip(self) -> None:
        """One header byte at a time: no single read ever times out."""
        for _ in range(60):
            try:
                self.wfile.write(b"H")
                self.wfile.flush()
            except OSError:
                return
            time.sleep(0.1)

    def log_message(self, format: str, *args: Any) -> None:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, str]] = []
        self.connections = 0

    def get_request(self) -> tuple[socket.socket, Any]:
        self.connections += 1
        return super().get_request()


class Service:
    """`start` and `stop` fit setup_module and teardown_module; `asked` and `connections` are what it saw."""

    def start(self) -> None:
        self.server = _Server()
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    @property
    def connections(self) -> int:
        return self.server.connections

    @property
    def asked(self) -> list[tuple[str, str, str]]:
        return self.server.asked

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"
