"""Many functions at the same moment, each on a connection of its own."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection, connections

from audit.errors import Problem


def at_once(functions: Sequence[Callable[[], Any]], together: int = 60) -> list[str]:
    """Run them all from one starting line; return, in order, "ok" or the code of the problem each met.

    Whatever else is raised is raised here. At most `together` threads; every connection is closed again.
    """
    assert len(functions) <= together
    start, told, faults = threading.Barrier(len(functions)), [""] * len(functions), []

    def attempt(n: int) -> None:
        try:
            connection.ensure_connection()
            start.wait(30)
            functions[n]()
            told[n] = "ok"
        except Problem as problem:
            told[n] = problem.code
        except Exception as fault:  # a thread of a test: what it raised is raised where it can be seen
            faults.append(fault)
            start.abort()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if faults:
        raise faults[0]
    return told
