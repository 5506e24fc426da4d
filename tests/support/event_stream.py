"""A reader of event streams, as the HTML Standard (9.2.6) tells browsers to read them. Fed piece by piece."""

import codecs
from dataclasses import dataclass, field


@dataclass
class Told:
    type: str
    data: str
    id: str


@dataclass
class EventStream:
    """`feed` bytes as they come; whole events gather in `events`."""

    events: list[Told] = field(default_factory=list)
    last_id: str = ""
    retry: int | None = None
    comments: int = 0

    def __post_init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest, self._is_first, self._data, self._type = "", True, [], ""

    def feed(self, data: bytes, *, final: bool = False) -> None:
        text = self._decode(data, final)
        if self._is_first and text:
            text, self._is_first = text.removeprefix("\ufeff"), False
        self._rest += text
        while (line := self._take_line(final)) is not None:
            self._line(line)

    def _take_line(self, final: bool) -> str | None:
        ends = [n for n in (self._rest.find("\r"), self._rest.find("\n")) if n >= 0]
        if not ends:
            return None
        end = min(ends)
        if self._rest[end] == "\r" and end + 1 == len(self._rest) and not final:
            return None  # the LF of a CR LF may still come
        width = 2 if self._rest[end : end + 2] == "\r\n" else 1
        line, self._rest = self._rest[:end], self._rest[end + width :]
        return line

    def _line(self, line: str) -> None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\x00" not in value:
            self.last_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)

    def _dispatch(self) -> None:
        if self._data:
            self.events.append(Told(self._type or "message", "\n".join(self._data), self.last_id))
        self._data, self._type = [], ""
