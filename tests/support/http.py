"""HTTP as a program and as a browser speak it, with the standard library only."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlsplit

from tests.support.event_stream import EventStream, Told


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Program:
    """A program with a token."""

    def __init__(self, base: str, token: str) -> None:
        self.base, self.token = base, token

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request; a header's name is written with underscores. Errors are answers like any other."""
        sent = {"Authorization": f"Bearer {self.token}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(self.base + path, data, sent, method=method)
        return _answer(urllib.request.build_opener(), request)

    def get(self, path: str, **headers: str) -> Answer:
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self("POST", path, body or {}, **headers)

    def stream(self, path: str, last_id: str = "") -> Iterator[Told]:
        """The events of a stream as they come, until it ends or the reader has had enough."""
        parts = urlsplit(self.base)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "text/event-stream"}
        try:
            connection.request("GET", path, headers=headers | ({"Last-Event-ID": last_id} if last_id else {}))
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
            reader, known = EventStream(), 0
            while piece := answer.read1(65536):
                reader.feed(piece)
                yield from reader.events[known:]
                known = len(reader.events)
        finally:
            connection.close()


@dataclass
class Browser:
    """Somebody with cookies who fills in forms; no JavaScript."""

    base: str
    cookies: CookieJar = field(default_factory=CookieJar)

    def get(self, path: str) -> Answer:
        return self._open(urllib.request.Request(self.base + path))

    def sign_in(self, username: str, password: str) -> Answer:
        page = self.get("/account/sign-in/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token is not None
        form = {"csrfmiddlewaretoken": token[1], "username": username, "password": password}
        data = urllib.parse.urlencode(form).encode()
        return self._open(urllib.request.Request(f"{self.base}/account/sign-in/", data, {"Referer": self.base}))

    def _open(self, request: urllib.request.Request) -> Answer:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        return _answer(opener, request)


def _answer(opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> Answer:
    try:
        with opener.open(request, timeout=40) as got:
            return Answer(got.status, got.read(), dict(got.headers))
    except urllib.error.HTTPError as refused:
        with refused:
            return Answer(refused.code, refused.read(), dict(refused.headers))
