"""A PostgreSQL of a test's own, to stop and to start again under the same address; the shared one is not touched."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection

from config.services.service_urls import database_settings
from tests import servers

OPTIONS = {**servers.POSTGRES_OPTIONS, "max_connections": "60", "shared_buffers": "32MB"}


class PostgreSQL:
    """Running inside its `with` block, unless it was stopped. What was committed is there after each start."""

    def __init__(self) -> None:
        self.base = servers.scratch_directory()
        self.url = servers.postgresql_url(self.base)
        self.process: subprocess.Popen[bytes] | None = None
        servers.make_postgresql(self.base)

    def __enter__(self) -> "PostgreSQL":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop(signal.SIGQUIT)

    def start(self) -> None:
        connection.close()  # of the test itself, which the last stop has broken
        self.process = servers.run_postgresql(self.base, OPTIONS)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends every connection in order; SIGQUIT is a crash, after which the log is replayed."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None


@contextmanager
def moved_to(server: PostgreSQL) -> Iterator[None]:
    """Let this process's own connection lead there, over tables of the same making."""
    known = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update({k: database_settings(server.url, Path())[k] for k in ("NAME", "USER", "HOST")})
    ContentType.objects.clear_cache()
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        connection.close()
        connection.settings_dict.update(known)
        ContentType.objects.clear_cache()
