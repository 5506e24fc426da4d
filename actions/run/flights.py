"""Effects in threads: what runs for whom, what ended, and what overran its time and cannot be called back."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

from actions.case import Case, Effect, Launch, Overran, Result, Script
from actions.lifecycle import Write
from actions.run.crash_points import reached

FOREVER = float("inf")


@dataclass
class Carried:
    """A case under way: its script, and what the script waits for."""

    case: Case
    script: Script
    pending: Write | None = None
    given_up: bool = False
    is_unsure: bool = False
    """Whether its write met an error, so that it may have arrived or not."""
    is_new: bool = False
    """Whether its write has taken another's place and was not offered yet."""
    landed: list[tuple[str, Result]] = field(default_factory=list)
    """What launched effects came to, which the script has not heard yet."""
    awaits: bool = False
    """Whether the script waits for what it launched."""

    def is_hurried(self) -> bool:
        """Whether nothing of it should rest any longer: the run is to stop, and waits for all that it launched."""
        return self.case.is_breaking_off or self.case.action.stop_requested_at is not None

    def heard(self) -> list[tuple[str, Result]]:
        """Hand over what has landed."""
        landed, self.landed, self.awaits = self.landed, [], False
        return landed


@dataclass
class Flight:
    """An effect in a thread, or waiting for one. `key` is empty for one that its script waits for alone."""

    carried: Carried
    call: Callable[[], Any]
    key: str = ""
    overdue_s: float = FOREVER
    began_at: float = FOREVER
    """When a thread took it up: the time for which it waits for one is not its own."""

    def run(self) -> Result:
        self.began_at = time.monotonic()
        return _result_of(self.call)

    @property
    def action_id(self) -> UUID:
        return self.carried.case.action.pk


class Flights:
    """The threads of one runner. Used from the runner's thread only; at most `threads` effects run at once."""

    def __init__(self, queue: str, threads: int) -> None:
        self.queue, self.threads = queue, threads
        self.effects: dict[Future[Any], Flight] = {}
        self.resting: list[tuple[float, Flight]] = []
        """What begins later, and when. It has no thread; whoever takes the action over finds its intent open."""
        self.done: SimpleQueue[Future[Any]] = SimpleQueue()
        self.adrift: set[Future[Any]] = set()
        """What still ran when nobody waited for it any longer."""
        self.pool = self._new_pool()

    def __len__(self) -> int:
        return len(self.effects) + len(self.resting)

    def submit(self, carried: Carried, asked: Effect | Launch) -> None:
        if isinstance(asked, Effect):
            self._begin(Flight(carried, asked.call))
            return
        flight = Flight(carried, asked.call, asked.key, asked.overdue_s)
        if asked.delay_s > 0:
            self.resting.append((time.monotonic() + asked.delay_s, flight))
            reached("resting")
        else:
            self._begin(flight)

    def take_off(self, carried: dict[UUID, Carried]) -> None:
        """Begin what has rested long enough, or is in a hurry; forget what nobody carries any longer."""
        now = time.monotonic()
        resting, self.resting = self.resting, []
        for at, flight in resting:
            it = flight.carried
            if carried.get(flight.action_id) is not it or it.given_up:
                continue
            if at <= now or it.is_hurried():
                self._begin(flight)
            else:
                self.resting.append((at, flight))

    def asleep(self) -> int:
        """How many actions only wait for something that begins later."""
        flying = {id(flight.carried) for flight in self.effects.values()}
        return len({id(flight.carried) for _, flight in self.resting} - flying)

    def _begin(self, flight: Flight) -> None:
        future = self.pool.submit(flight.run)
        self.effects[future] = flight
        future.add_done_callback(self.done.put)

    def of(self, carried: Carried) -> bool:
        """Whether an effect of this one is in the air."""
        return any(flight.carried is carried for flight in self.effects.values())

    def actions(self) -> set[UUID]:
        """The actions that have an effect in the air."""
        return {flight.action_id for flight in self.effects.values()}

    def ended(self, timeout: float) -> list[tuple[Flight, Result]]:
        """Take what ended since the last look; waits up to `timeout` seconds for the first."""
        found = []
        if self.resting:
            timeout = max(0.0, min(timeout, min(at for at, _ in self.resting) - time.monotonic()))
        with suppress(Empty):
            found.append(self.done.get(timeout=timeout) if timeout else self.done.get_nowait())
            while True:
                found.append(self.done.get_nowait())
        return [(self.effects.pop(future), future.result()) for future in found if future in self.effects]

    def all_ended(self, timeout: float) -> list[tuple[Flight, Result]]:
        """Wait for all of them, up to `timeout` seconds; take what has ended."""
        done, _ = wait(self.effects, timeout=timeout)
        return [(self.effects.pop(future), future.result()) for future in done]

    def overran(self, carried: dict[UUID, Carried]) -> list[tuple[Flight, Result]]:
        """
        Take what is past its time, of what is carried: somebody must be there who can say so of the action.

        Its threads cannot be ended, so that new ones take their place, and what waited for a thread waits for those.
        """
        now = time.monotonic()
        late = [
            future
            for future, flight in self.effects.items()
            if flight.began_at + flight.overdue_s < now
            and not future.done()
            and carried.get(flight.action_id) is flight.carried
        ]
        found = [(self.effects.pop(future), Result(error=Overran())) for future in late]
        if late:
            self.adrift |= set(late)
            used, self.pool = self.pool, self._new_pool()
            for future in [f for f in self.effects if f.cancel()]:
                self._begin(self.effects.pop(future))
            used.shutdown(wait=False)
        return found

    def forget(self) -> set[UUID]:
        """Wait for nothing any longer; return the actions whose effects cannot be called back."""
        running = {future: f for future, f in self.effects.items() if not future.cancel() and not future.done()}
        self.adrift |= set(running)
        self.effects.clear()
        self.resting.clear()
        return {flight.action_id for flight in running.values()}

    def is_quiet(self) -> bool:
        """Whether nothing runs any more, not even what nobody waits for."""
        return all(future.done() for future in self.adrift)

    def close(self) -> None:
        self.pool.shutdown(wait=False)

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, thread_name_prefix=f"effect-{self.queue}")


def _result_of(call: Callable[[], Any]) -> Result:
    try:
        return Result(call())
    except Exception as error:  # handed to the script, which decides what it means
        return Result(error=error)
