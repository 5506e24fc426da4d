"""
A worker's lease: the row whose id fences every write of the worker.

One lease per process and queue, renewed by a thread with its own database connection. A worker that could not renew in
time finds its lease ended and takes a new one; it can no longer write under the old one.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models.functions import Now

from actions.controls.nodes import own_scope, register_node
from actions.controls.worker_queues import WorkerScope
from actions.models import Lease

log = structlog.get_logger(__name__)


class LeaseHolder:
    """Keeps one lease alive from `current()` to `end()`. Not shared between processes."""

    def __init__(self, queue: str, ttl_s: float | None = None, scope: WorkerScope | None = None) -> None:
        self.queue = queue
        self.scope = scope if scope is not None else own_scope()
        self.ttl_s = ttl_s if ttl_s is not None else settings.INTERLOCK.lease_s
        self._id: int | None = None
        self._sure_until = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def current(self) -> int:
        """Return the id of the live lease; create one and start renewing if there is none."""
        with self._lock:
            if self._id is None:
                self._id = self._take()
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_forever, name=f"lease-{self.queue}", daemon=True)
                self._thread.start()
            return self._id

    def end(self, why: str = "the worker stopped") -> None:
        """End the lease and release its actions, so that others can take over at once."""
        self._ended.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2)
        with self._lock:
            lease, self._id = self._id, None
        self._ended.clear()
        if lease is not None:
            Lease.objects.filter(pk=lease, ended_at=None).update(ended_at=Now(), ended_why=why)

    def in_doubt(self) -> bool:
        """Whether the lease may have been ended: it was not renewed within its time."""
        return time.monotonic() > self._sure_until

    def renew(self) -> bool:
        """Extend the lease by its lifetime; False if it was ended elsewhere."""
        lease = self._id
        if lease is None:
            return False
        later = Now() + timedelta(seconds=self.ttl_s)
        if Lease.objects.filter(pk=lease, ended_at=None).update(renewed_at=Now(), expires_at=later):
            self._sure_until = time.monotonic() + self.ttl_s
            return True
        with self._lock:
            if self._id == lease:
                self._id = None
        return False

    def _take(self) -> int:
        worker = f"{socket.gethostname()}:{os.getpid()}"
        later = Now() + timedelta(seconds=self.ttl_s)
        self._sure_until = time.monotonic() + self.ttl_s
        if self.scope.node:
            register_node(self.scope.node)
        where = {"node": self.scope.node, "serves": list(self.scope.serves)}
        return Lease.objects.create(queue=self.queue, worker=worker, expires_at=later, **where).pk

    def _renew_forever(self) -> None:
        try:
            while not self._ended.wait(self.ttl_s / 3):
                if self._id is not None:
                    renew_quietly(self.renew)
        finally:
            connection.close()


def renew_quietly(renew: Callable[[], bool]) -> None:
    """A renewal that meets a database error is retried at the next interval; only time can end the lease."""
    try:
        if not renew():
            log.warning("lease_lost")
    except DatabaseError as error:
        log.warning("lease_renewal_failed", error=str(error))
        connection.close()
