"""Effects in threads: which run for which action, which ended, which timed out; and what a worker does each second
meanwhile.
"""

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
    """A context under way: its script, and what the script waits for."""

    context: ActionContext
    script: Workflow
    pending: Transition | None = None
    is_abandoned: bool = False
    commit_unknown: bool = False
    """Whether its write met an error, so that it may have arrived or not."""
    is_new: bool = False
    """Whether its write has taken another's place and was not offered yet."""
    results: list[tuple[str, EffectResult]] = field(default_factory=list)
    """What launched effects came to, which the script has not heard yet."""
    awaits: bool = False
    """Whether the script waits for what it launched."""

    def is_hurried(self) -> bool:
        """Whether nothing of it should rest any longer: the run is to stop, and waits for all that it launched."""
        return self.context.is_breaking_off or self.context.action.stop_requested_at is not None

    def take_results(self) -> list[tuple[str, EffectResult]]:
        """Hand over what has results."""
        results, self.results, self.awaits = self.results, [], False
        return results


@dataclass
class Effect:
    """An effect in a thread, or waiting for one. `key` is empty for one that its script waits for alone."""

    active: ActiveAction
    call: Callable[[], Any]
    key: str = ""
    overdue_s: float = FOREVER
    began_at: float = FOREVER
    """When a thread took it up: the time for which it waits for one is not its own."""

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
        """What begins later, and when. It has no thread; whoever takes the action over finds its intent open."""
        self.done: SimpleQueue[Future[Any]] = SimpleQueue()
        self.leaked: set[Future[Any]] = set()
        """What still ran when nobody waited for it any longer."""
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
        """Begin what has rested long enough, or is in a hurry; forget what nobody carries any longer."""
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
        """How many actions only wait for something that begins later."""
        running_ids = {id(effect.active) for effect in self.running.values()}
        return len({id(effect.active) for _, effect in self.resting} - running_ids)

    def _begin(self, effect: Effect) -> None:
        future = self.pool.submit(effect.run)
        self.running[future] = effect
        future.add_done_callback(self.done.put)

    def of(self, active: ActiveAction) -> bool:
        """Whether an effect of this one is in the air."""
        return any(effect.active is active for effect in self.running.values())

    def actions(self) -> set[UUID]:
        """The actions that have an effect in the air."""
        return {effect.action_id for effect in self.running.values()}

    def ended(self, timeout: float) -> list[tuple[Effect, EffectResult]]:
        """Take what ended since the last look; waits up to `timeout` seconds for the first."""
        found = []
        if self.resting:
            timeout = max(0.0, min(timeout, min(at for at, _ in self.resting) - time.monotonic()))
        with suppress(Empty):
            found.append(self.done.get(timeout=timeout) if timeout else self.done.get_nowait())
            while True:
                found.append(self.done.get_nowait())
        return [(self.running.pop(future), future.result()) for future in found if future in self.running]

    def all_ended(self, timeout: float) -> list[tuple[Effect, EffectResult]]:
        """Wait for all of them, up to `timeout` seconds; take what has ended."""
        done, _ = wait(self.running, timeout=timeout)
        return [(self.running.pop(future), future.result()) for future in done]

    def timed_out(self, active: dict[UUID, ActiveAction]) -> list[tuple[Effect, EffectResult]]:
        """
        Take what is past its time, of what is active: somebody must be there who can say so of the action.

        Its threads cannot be ended, so that new ones take their place, and what waited for a thread waits for those.
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
        """Wait for nothing any longer; return the actions whose effects cannot be called back."""
        running = {future: f for future, f in self.running.items() if not future.cancel() and not future.done()}
        self.leaked |= set(running)
        self.running.clear()
        self.resting.clear()
        return {effect.action_id for effect in running.values()}

    def is_quiet(self) -> bool:
        """Whether nothing runs any more, not even what nobody waits for."""
        return all(future.done() for future in self.leaked)

    def close(self) -> None:
        self.pool.shutdown(wait=False)

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, thread_name_prefix=f"effect-{self.queue}")


def _result_of(call: Callable[[], Any]) -> EffectResult:
    try:
        return EffectResult(call())
    except Exception as error:  # handed to the script, which decides what it means
        return EffectResult(error=error)


# What a runner looks after about once a second while effects are in the air.


EVERY_S = 1.0


class Heartbeat:
    """Tell long effects of a stop that somebody asked for, and let people read what they write meanwhile."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def look(self, active: dict[UUID, ActiveAction], effects: EffectPool) -> None:
        if not effects or time.monotonic() - self.last < EVERY_S:
            return
        self.last = time.monotonic()
        asked = Action.objects.filter(pk__in=list(active), stop_requested_at__isnull=False)
        for wish in asked.only(*STOP_FIELDS):
            copy_stop_request(active[wish.pk].context.action, wish)
        flush_lines(c.context for c in active.values())
        prometheus_counters.flush_counters()
