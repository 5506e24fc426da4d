"""A POST goes only where it may, once, and what came back is told in words."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from audit.outgoing.webhook import DeliveryFailed, post, url_fault


class Receiver(BaseHTTPRequestHandler):
    """Takes what comes to /ok, and answers otherwise elsewhere."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.path, body, self.headers.get("X-Signature")))  # type: ignore[attr-defined]
        status = {"/ok": 202, "/busy": 429, "/moved": 302}.get(self.path, 500)
        self.send_response(status)
        self.send_header("Location", "/ok")
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "10000000" if self.path == "/endless" else "6")
        self.end_headers()
        self.wfile.write(b"no\x1bway" if self.path != "/endless" else b"x" * 5000)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.heard = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_it_is_sent_once_and_redirects_are_not_followed(receiver) -> None:
    base = f"http://127.0.0.1:{receiver.server_port}"
    assert post(f"{base}/ok", b"{}", {"X-Signature": "s"}, allow_private=True) == 202
    with pytest.raises(DeliveryFailed) as moved:
        post(f"{base}/moved", b"{}", {}, allow_private=True)
    assert moved.value.status == 302
    assert [path for path, *_ in receiver.heard] == ["/ok", "/moved"] and receiver.heard[0][2] == "s"


def test_what_it_answered_is_told_and_how_long_to_wait(receiver) -> None:
    base = f"http://127.0.0.1:{receiver.server_port}"
    with pytest.raises(DeliveryFailed, match="429: no.way") as busy:
        post(f"{base}/busy", b"{}", {}, allow_private=True)
    assert busy.value.retry_after_s == 7
    with pytest.raises(DeliveryFailed, match="500"):
        post(f"{base}/endless", b"{}", {}, allow_private=True)


def test_private_addresses_are_never_asked_unless_allowed(receiver) -> None:
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f000001"):
        with pytest.raises(DeliveryFailed, match="loopback or private"):
            post(f"http://{host}:{receiver.server_port}/ok", b"{}", {})
    with pytest.raises(DeliveryFailed, match="never"):
        post("http://169.254.169.254/latest", b"{}", {}, allow_private=True)
    assert not receiver.heard


def test_nobody_there_is_told_in_words() -> None:
    with pytest.raises(DeliveryFailed, match="refused"):
        post("http://127.0.0.1:9/x", b"{}", {}, allow_private=True)


@pytest.mark.parametrize("url", ["ftp://a/b", "http://", "https://u:p@host/", "http://a b/", "nothing", "http://[::1"])
def test_an_address_that_cannot_be_posted_to_is_refused_before_anything(url: str) -> None:
    assert url_fault(url)
    with pytest.raises(DeliveryFailed):
        post(url, b"", {})
