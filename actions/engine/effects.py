"""Effects in threads: which run for which action, which ended, which timed out; and the housekeeping of each second."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

from actions.engine import prometheus_counters
from actions.engine.failpoints import failpoint
from actions.lifecycle.context import ActionContext, EffectResult, EffectTimeout, RunEffect, StartEffect, Workflow
from actions.lifecycle.transitions import Transition
from actions.models import Action
from actions.run.stop import STOP_FIELDS, copy_stop_request
from actions.run.transcript import flush_lines

FOREVER = float("inf")


@dataclass
class ActiveAction:
    """A running workflow with its context, and what the workflow waits for."""

    context: ActionContext
    script: Workflow
    pending: Transition | None = None
    is_abandoned: bool = False
    commit_unknown: bool = False
    """Whether its commit met a database error, so that its outcome is unknown."""
    is_new: bool = False
    """Whether its transition replaced an earlier one and was not committed yet."""
    results: list[tuple[str, EffectResult]] = field(default_factory=list)
    """Results of started effects that the workflow has not received yet."""
    awaits: bool = False
    """Whether the workflow waits for effects that it started."""

    def is_hurried(self) -> bool:
        """Whether delayed effects should start now: the run is to stop, and waits for all of them."""
        return self.context.is_breaking_off or self.context.action.stop_requested_at is not None

    def take_results(self) -> list[tuple[str, EffectResult]]:
        """Take the results received so far."""
        results, self.results, self.awaits = self.results, [], False
        return results


@dataclass
class Effect:
    """An effect in a thread, or waiting for a thread. `key` is empty if its workflow waits for it alone."""

    active: ActiveAction
    call: Callable[[], Any]
    key: str = ""
    overdue_s: float = FOREVER
    began_at: float = FOREVER
    """When a thread started it: waiting for a thread does not count towards its time."""

    def run(self) -> EffectResult:
        self.began_at = time.monotonic()
        return _result_of(self.call)

    @property
    def action_id(self) -> UUID:
        return self.active.context.action.pk


class EffectPool:
    """The threads of one runner. Used from the runner's thread only; at most `threads` effects run at once."""

    def __init__(self, queue: str, threads: int) -> None:
        self.queue, self.threads = queue, threads
        self.running: dict[Future[Any], Effect] = {}
        self.resting: list[tuple[float, Effect]] = []
        """
        Delayed effects with their start times. They hold no thread; a worker that takes over finds the intent open.
        """
        self.done: SimpleQueue[Future[Any]] = SimpleQueue()
        self.leaked: set[Future[Any]] = set()
        """Effects that still run although no workflow waits for them."""
        self.pool = self._new_pool()

    def __len__(self) -> int:
        return len(self.running) + len(self.resting)

    def submit(self, active: ActiveAction, asked: RunEffect | StartEffect) -> None:
        if isinstance(asked, RunEffect):
            self._begin(Effect(active, asked.call))
            return
        effect = Effect(active, asked.call, asked.key, asked.overdue_s)
        if asked.delay_s > 0:
            self.resting.append((time.monotonic() + asked.delay_s, effect))
            failpoint("resting")
        else:
            self._begin(effect)

    def start_due(self, active: dict[UUID, ActiveAction]) -> None:
        """Start delayed effects whose time has come or whose run is to stop; drop those of abandoned actions."""
        now = time.monotonic()
        resting, self.resting = self.resting, []
        for at, effect in resting:
            it = effect.active
            if active.get(effect.action_id) is not it or it.is_abandoned:
                continue
            if at <= now or it.is_hurried():
                self._begin(effect)
            else:
                self.resting.append((at, effect))

    def count_delayed(self) -> int:
        """How many actions wait only for a delayed effect."""
        running_ids = {id(effect.active) for effect in self.running.values()}
        return len({id(effect.active) for _, effect in self.resting} - running_ids)

    def _begin(self, effect: Effect) -> None:
        future = self.pool.submit(effect.run)
        self.running[future] = effect
        future.add_done_callback(self.done.put)

    def of(self, active: ActiveAction) -> bool:
        """Whether an effect of this action is running."""
        return any(effect.active is active for effect in self.running.values())

    def actions(self) -> set[UUID]:
        """The actions with a running effect."""
        return {effect.action_id for effect in self.running.values()}

    def ended(self, timeout: float) -> list[tuple[Effect, EffectResult]]:
        """Take the effects that ended since the last call; wait up to `timeout` seconds for the first."""
        found = []
        if self.resting:
            timeout = max(0.0, min(timeout, min(at for at, _ in self.resting) - time.monotonic()))
        with suppress(Empty):
            found.append(self.done.get(timeout=timeout) if timeout else self.done.get_nowait())
            while True:
                found.append(self.done.get_nowait())
        return [(self.running.pop(future), future.result()) for future in found if future in self.running]

    def all_ended(self, timeout: float) -> list[tuple[Effect, EffectResult]]:
        """Wait for all effects, up to `timeout` seconds; take those that ended."""
        done, _ = wait(self.running, timeout=timeout)
        return [(self.running.pop(future), future.result()) for future in done]

    def timed_out(self, active: dict[UUID, ActiveAction]) -> list[tuple[Effect, EffectResult]]:
        """
        Take the effects of active actions that exceeded their time.

        Their threads cannot be ended, so the pool gets new ones, and effects that waited for a thread move to those.
        """
        now = time.monotonic()
        late = [
            future
            for future, effect in self.running.items()
            if effect.began_at + effect.overdue_s < now
            and not future.done()
            and active.get(effect.action_id) is effect.active
        ]
        found = [(self.running.pop(future), EffectResult(error=EffectTimeout())) for future in late]
        if late:
            self.leaked |= set(late)
            used, self.pool = self.pool, self._new_pool()
            for future in [f for f in self.running if f.cancel()]:
                self._begin(self.running.pop(future))
            used.shutdown(wait=False)
        return found

    def forget(self) -> set[UUID]:
        """Stop waiting for effects; return the actions whose effects still run and cannot be stopped."""
        running = {future: f for future, f in self.running.items() if not future.cancel() and not future.done()}
        self.leaked |= set(running)
        self.running.clear()
        self.resting.clear()
        return {effect.action_id for effect in running.values()}

    def is_quiet(self) -> bool:
        """Whether no effect runs any more, abandoned ones included."""
        return all(future.done() for future in self.leaked)

    def close(self) -> None:
        self.pool.shutdown(wait=False)

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, thread_name_prefix=f"effect-{self.queue}")


def _result_of(call: Callable[[], Any]) -> EffectResult:
    try:
        return EffectResult(call())
    except Exception as error:  # the workflow receives it and decides
        return EffectResult(error=error)


# Housekeeping, about once a second while effects run.


EVERY_S = 1.0


class Heartbeat:
    """Pass stop requests to long effects, and flush their log lines so that people can read them."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def look(self, active: dict[UUID, ActiveAction], effects: EffectPool) -> None:
        if not effects or time.monotonic() - self.last < EVERY_S:
            return
        self.last = time.monotonic()
        asked = Action.objects.filter(pk__in=list(active), stop_requested_at__isnull=False)
        for request in asked.only(*STOP_FIELDS):
            copy_stop_request(active[request.pk].context.action, request)
        flush_lines(c.context for c in active.values())
        prometheus_counters.flush_counters()
