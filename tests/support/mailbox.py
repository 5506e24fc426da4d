"""A real SMTP server and a real web server on sockets, which keep what they are given."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Smtp(socketserver.ThreadingTCPServer):
    """Speaks enough SMTP for Django; `refuses` answers that many messages with a temporary failure first."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, refuses: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.messages: list[str] = []
        self.refuses = refuses


class Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        self.say("220 here")
        while line := self.rfile.readline():
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                self.say("354 go on")
                body = b"".join(iter(self.rfile.readline, b".\r\n"))
                if server.refuses > 0:
                    server.refuses -= 1
                    self.say("451 try later")
                else:
                    server.messages.append(body.decode())
                    self.say("250 kept")
            elif verb == b"QUIT":
                return self.say("221 bye")
            else:
                self.say("250 ok")

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        server.received.append((self.path, json.loads(body)))
        if to := getattr(server, "redirects_to", ""):
            self.send_response(307)
            self.send_header("Location", to)
        else:
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@contextmanager
def running(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def web_server() -> Any:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.daemon_threads = True
    server.received = []
    return server
