"""Counts what really goes to PostgreSQL: each execute, executemany and COPY of the psycopg cursors of this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

TRANSACTION_WORDS = ("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT")


@contextmanager
def statements(monkeypatch: Any) -> Iterator[list[str]]:
    """Yield the list that statements are written to as they are sent, transaction control left out."""
    seen: list[str] = []

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(cursor: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
            text = query if isinstance(query, str) else query.as_string(cursor)
            if not text.lstrip().upper().startswith(TRANSACTION_WORDS):
                seen.append(" ".join(text.split())[:160])
            return method(cursor, query, *args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in ("execute", "executemany", "copy"):
            patch.setattr(psycopg.Cursor, name, counted(getattr(psycopg.Cursor, name)))
        yield seen
