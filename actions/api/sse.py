"""The frames of an event stream (HTML Standard, 9.2.6): pure text in, bytes out."""

import re

LINE_END = re.compile(r"\r\n|\r|\n")
HEARTBEAT = b": still here\n\n"


def retry(milliseconds: int) -> bytes:
    """How long a client should wait before it reconnects."""
    return f"retry: {milliseconds}\n\n".encode()


def frame(data: str, *, id: int | None = None, event: str = "") -> bytes:
    """One event. A line end in the data starts another `data` line, so that any text survives, its line ends as LF."""
    lines = [f"id: {id}"] if id is not None else []
    if event:
        lines.append(f"event: {LINE_END.sub(' ', event)}")
    lines += [f"data: {line}" for line in LINE_END.split(data)]
    return ("\n".join(lines) + "\n\n").encode()


def last_event_id(header: str | None) -> int | None:
    """The seq that a reconnecting client saw last; None if the header is absent or not one of ours."""
    text = (header or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
