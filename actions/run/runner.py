"""
The runner: carries many scripts at once, runs their effects in threads, and commits what they yield in groups.

One transaction holds any mix of stages of any number of actions (measured: 25–50 times cheaper than a task per stage
per action). Scripts and the database are touched by one thread only. A write that does not stick is offered again on a
fresh snapshot while the lease still holds; otherwise the action is somebody else's and its script is closed.

A database that goes away is waited for. What cannot be told afterwards (did that commit arrive?) is let go of, and read
anew by whoever claims it next: the ledger knows.
"""

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from actions.case import Asked, Effect, Landed, Launch, Result, load_cases, read_rules_again
from actions.lifecycle import write
from actions.models import Action
from actions.nudge import heard, nudge
from actions.preflight.script import preflight
from actions.run.claim import claim, release
from actions.run.crash_points import reached
from actions.run.endings import gave_up, give_up, tell
from actions.run.every_second import EverySecond
from actions.run.flights import Carried, Flight, Flights
from actions.run.lease import LeaseHolder
from actions.run.script import run
from actions.run.stopping import take_wish
from actions.scheduling.standing import as_they_stand
from audit.database.statements import prepared_reads
from audit.log.events import read_chain_heads

log = structlog.get_logger(__name__)
SCRIPTS = {"decide": preflight, "execute": run}
GATHER_S = 0.002
FILLED = 10
"""Ids are asked for in tens, the last one repeated, so that few texts of a query are prepared."""
LOOK_AGAIN_S = 0.25
COMPANY_S = 0.04
"""The least time between two claims of a drain that has carried all it claimed."""
GRACE_S = 8.0
AWAY_PAUSE_S = 0.25
AWAY = (OperationalError, InterfaceError)
"""What the database, or the way to it, raises when it is not there just now."""


class Runner:
    """Carries the actions of one queue. `drain()` is called from one thread; keep one runner per process and queue."""

    def __init__(self, queue: str, lease: LeaseHolder | None = None) -> None:
        self.queue = queue
        self.lease = lease or LeaseHolder(queue)
        self.scope, self.route = self.lease.scope, self.lease.scope.route(queue)
        self.most = settings.INTERLOCK.claim_size
        self.threads = settings.INTERLOCK.effect_threads
        self.carried: dict[UUID, Carried] = {}
        self.flights = Flights(queue, self.threads)
        self.halt = threading.Event()
        self.last_claim = 0.0
        self.second = EverySecond()
        self.last_take = 0
        self.full_claim = self.has_called = False
        self.strays = False
        """Whether our lease may hold actions that are not carried."""
        self.away_since: float | None = None

    def drain(self) -> int:
        """Claim and carry until no more is known to wait; return how many actions were taken up."""
        self.has_called = False
        try:
            taken = 0 if self.halt.is_set() else self._patiently(self._claim)
            while self.carried or self.strays or self._expects_more():
                if self.halt.is_set():
                    self._wind_down()
                    return taken
                taken += self._patiently(self._turn if self.carried or self.strays else self._claim)
            return taken
        except Exception:
            self._abandon()
            raise

    def _turn(self) -> int:
        if self.strays and self._let_strays_go():
            return self._claim()
        self._gather()
        self.second.look(self.carried, self.flights)
        self._give_up_waiting()
        self._commit()
        return self._claim() if self._may_claim() else 0

    def _patiently(self, part: Callable[[], int]) -> int:
        """Do a part of a drain. If the database is away, wait a moment, and give up when that outlasts the lease."""
        try:
            done = part()
        except AWAY as error:
            self._note_absence(error)
            if time.monotonic() - (self.away_since or 0) > self.lease.ttl_s:
                raise
            self.halt.wait(AWAY_PAUSE_S)
            return 0
        self.away_since = None
        return done

    def _note_absence(self, error: Exception) -> None:
        log.warning("database_unavailable", queue=self.queue, error=str(error))
        connection.close()
        self.strays = True
        self.away_since = self.away_since or time.monotonic()

    def _let_strays_go(self) -> bool:
        """Free what our lease holds and nobody here carries: a claim or a last write whose answer was lost.

        What still has an effect in the air has to wait for its end, nobody may do it a second time beside us:
        then the answer is False.
        """
        busy = self.flights.actions() - self.carried.keys()
        held = Action.objects.filter(lease_id=self.lease.current()).exclude(pk__in=[*self.carried, *busy])
        held.update(lease=None)
        self.strays = bool(busy)
        return not busy

    def _may_claim(self) -> bool:
        """Claim besides what is carried, when there is room and reason: word has come that more waits."""
        is_busy = len(self.flights.effects) > self.threads
        if self.halt.is_set() or is_busy or not self.carried or not self._room():
            return False
        pause = settings.INTERLOCK.linger_ms / 1000 if self.full_claim else LOOK_AGAIN_S
        return time.monotonic() - self.last_claim >= pause and (self.full_claim or heard(self.route))

    def _expects_more(self) -> bool:
        """With nothing carried: whether to claim again in this drain.

        Under steady submission a claim a moment later finds a batch where one at once finds a few, and a batch costs
        hardly more than one action. Nobody waits who comes after a pause: a drain begins with a claim.
        """
        if not self.last_take:
            return False
        pause = settings.INTERLOCK.linger_ms / 1000 if self.full_claim else COMPANY_S
        self.halt.wait(max(0.0, self.last_claim + pause - time.monotonic()))
        return not self.halt.is_set() and (self.full_claim or heard(self.route))

    def _claim(self) -> int:
        self.last_claim = time.monotonic()
        room, lease = self._room(), self.lease.current()
        found = claim(self.queue, lease, room, self.scope)
        if not found.ids and self.lease.in_doubt() and not self.lease.renew():
            found = claim(self.queue, lease := self.lease.current(), room, self.scope)
        ids, self.full_claim, self.last_take = found.ids, found.more, len(found.ids)
        if not ids:
            return 0
        if self.full_claim and not self.has_called:  # more than we can take: another worker should hear of it now
            nudge(self.route, force=True)
            self.has_called = True
        reached("claimed")
        with prepared_reads():
            cases = load_cases([*ids, *ids[-1:] * (-len(ids) % FILLED)], lease, found.at)
        for case in cases:
            script = give_up(case, "executor_missing", case.fault) if case.fault else SCRIPTS[self.queue](case)
            case.halting = self.halt.is_set
            carried = Carried(case, script)
            self.carried[case.action.pk] = carried
            self._feed(carried, None)
        return len(ids)

    def _room(self) -> int:
        """How many more to carry; those that only wait for a retry take little of it."""
        return max(0, self.most - len(self.carried) + min(self.flights.asleep(), 3 * self.most))

    def _feed(self, carried: Carried, value: Any) -> None:
        """Give a script what it waited for, and take up what it asks next."""
        asked = self._sent(carried, value)
        while isinstance(asked, Launch) or (isinstance(asked, Landed) and carried.landed):
            if isinstance(asked, Launch):
                self._submit(carried, asked)
                asked = self._sent(carried, None)
            else:
                asked = self._sent(carried, carried.heard())
        if isinstance(asked, Landed):
            carried.awaits = True
        elif isinstance(asked, Effect):
            self._submit(carried, asked)
        elif asked is not None:
            carried.pending = asked

    def _sent(self, carried: Carried, value: Any) -> Asked | None:
        """What a script asks next; None if it came to its end."""
        try:
            return carried.script.send(value)
        except StopIteration:
            self._let_go(carried)
            return None
        except AWAY as error:
            self.carried.pop(carried.case.action.pk, None)
            self._note_absence(error)
            return None
        except Exception as error:  # a fault of ours in one script must not take the others down
            log.exception("script_failed", action=str(carried.case.action.pk), queue=self.queue)
            if carried.given_up:
                self._let_go(carried)
                raise
            carried.given_up = True
            words = f"Interlock met an error of its own: {type(error).__name__}: {error}"
            carried.script = give_up(carried.case, "internal_error", words)
            return next(carried.script)

    def _submit(self, carried: Carried, asked: Effect | Launch) -> None:
        if not self.halt.is_set():
            self.flights.submit(carried, asked)

    def _land(self, ended: list[tuple[Flight, Result]]) -> None:
        """Take what effects came to: to its script at once, or beside the others that the script launched."""
        for flight, result in ended:
            carried = flight.carried
            if self.carried.get(flight.action_id) is not carried or (self.halt.is_set() and gave_up(result)):
                continue  # its intent stays open, which tells whoever takes the action up
            if flight.key:
                carried.landed.append((flight.key, result))
            else:
                self._feed(carried, result)

    def _tell_landed(self) -> None:
        """Let scripts that wait for what they launched hear all that has landed by now."""
        for carried in [c for c in self.carried.values() if c.awaits and c.landed]:
            self._feed(carried, carried.heard())

    def _let_go(self, carried: Carried) -> None:
        self.carried.pop(carried.case.action.pk, None)
        if carried.case.action.lease_id is not None:
            try:
                release([carried.case.action.pk], carried.case.lease)
            except AWAY as error:
                self._note_absence(error)

    def _gather(self) -> None:
        """Collect effects that ended: wait for the first when there is nothing to commit, then a moment for more."""
        self.flights.take_off(self.carried)
        anything = self._offered()
        timeout = 0 if anything else LOOK_AGAIN_S
        while self.flights and not self.halt.is_set():
            ended = self.flights.ended(timeout)
            if not ended:
                break
            self._land(ended)
            timeout = GATHER_S
        self._tell_landed()

    def _give_up_waiting(self) -> None:
        """Let scripts hear of effects that overran their time."""
        late = self.flights.overran(self.carried)
        for flight, _ in late:
            log.error("effect_overran", action=str(flight.action_id), step=flight.key)
        self._land(late)
        self._tell_landed()

    def _offered(self) -> list[Carried]:
        """What can be written now. A run that is given up waits until no effect of its own is in the air."""
        return [c for c in self.carried.values() if c.pending and not (c.given_up and self.flights.of(c))]

    def _commit(self) -> None:
        """Make durable what is pending, all in one transaction, and feed the scripts."""
        waiting = self._offered()
        if not waiting:
            return
        for c in waiting:
            assert c.pending is not None
            c.pending.lease, c.pending.head, c.pending.capped = c.case.lease, c.case.head, c.case.is_capped
            c.is_new = False
        group = [c.pending for c in waiting if c.pending]
        reached("before_commit", group)
        try:
            stuck = {w.action.pk for w in write(group)}
        except AWAY:
            for c in waiting:
                c.is_unsure = True
            raise
        except Exception:  # one of them cannot be written, which must not keep the others from it
            log.exception("group_failed", queue=self.queue, actions=len(group))
            stuck = self._one_by_one(waiting)
        reached("after_commit", group)
        written = [c for c in waiting if c.case.action.pk in stuck]
        self._notice_changed_rules(written)
        for c in written:
            w, c.pending, c.is_unsure = c.pending, None, False
            assert w is not None and w.head is not None
            c.case.head, c.case.now = w.head, w.at or c.case.now
            for line in w.checkpoints:
                c.case.ledger.add(line)
            self.full_claim = self.full_claim or bool(w.capped and w.release)  # somebody may have waited for its place
            tell(w)
            self._feed(c, True)
        self._offer_again([c for c in waiting if c.pending and not c.is_new and c.case.action.pk not in stuck])

    def _notice_changed_rules(self, written: list[Carried]) -> None:
        """A write tells the epoch of the rules: where it is another one, judge by the new rules from now on."""
        changed = [c for c in written if c.pending and c.pending.epoch != c.case.epoch]
        if changed:
            read_rules_again([c.case for c in changed])
        for c in changed:
            c.case.epoch = c.pending.epoch if c.pending else c.case.epoch

    def _one_by_one(self, waiting: list[Carried]) -> set[UUID]:
        """Write each alone, and give up those that cannot be written; return the ids of those that stuck."""
        stuck: set[UUID] = set()
        for c in waiting:
            assert c.pending is not None
            try:
                stuck |= {w.action.pk for w in write([c.pending])}
            except AWAY:
                for lost in waiting:
                    self.carried.pop(lost.case.action.pk, None)
                raise
            except Exception as error:
                if c.given_up:
                    raise
                c.given_up = c.is_new = True
                words = f"Interlock met an error of its own: {type(error).__name__}. The log has the details."
                c.script.close()
                c.script = give_up(c.case, "internal_error", words)
                c.pending = next(c.script)  # type: ignore[assignment]
        return stuck

    def _offer_again(self, lost: list[Carried]) -> None:
        """Let scripts make anew what did not stick; let go of those whose last word may have arrived after all."""
        for c in [c for c in lost if c.is_unsure]:
            c.script.close()
            self.carried.pop(c.case.action.pk, None)
            self.strays = True
        self._reload([c for c in lost if not c.is_unsure])
        for c in lost:
            if c.case.action.pk in self.carried:
                c.pending = None
                self._feed(c, False)

    def _reload(self, lost: list[Carried]) -> None:
        """Refresh what moved on: carry on if it is the same action in the same state under our lease, else close."""
        if not lost:
            return
        now: dict[UUID, Any] = as_they_stand(c.case.action.pk for c in lost)
        chain = read_chain_heads([c.case.action.pk for c in lost])
        for c in lost:
            ours, theirs = c.case.action, now.get(c.case.action.pk)
            is_ours = theirs is not None and theirs.state == ours.state and theirs.lease_id == c.case.lease
            if theirs is None or not (is_ours and theirs.may_go_on):
                log.info("action_moved_on", action=str(ours.pk), state=theirs.state if theirs else None)
                c.script.close()
                self.carried.pop(ours.pk, None)
                self.strays = self.strays or (theirs is not None and theirs.lease_id == c.case.lease)
                continue
            ours.seq, c.case.head, c.case.is_capped = theirs.seq, chain[ours.pk], theirs.is_capped
            take_wish(ours, theirs)

    def _wind_down(self) -> None:
        """The worker is to stop: give running effects a moment, commit what they came to, let go of the rest.

        An effect that gave up because of the stop leaves its intent open; whoever takes the action up next probes it.
        What still runs is not let go of: nobody may do it a second time beside us. It is free when our lease expires.
        """
        self._land(self.flights.all_ended(GRACE_S))
        self._tell_landed()
        self._commit()
        self._release_idle()

    def _release_idle(self) -> None:
        """Let go of every action but those whose effect cannot be called back; afterwards nothing is carried."""
        busy = self.flights.forget()
        idle = [pk for pk in self.carried if pk not in busy]
        self.carried.clear()
        if idle:
            release(idle, self.lease.current())

    def _abandon(self) -> None:
        """After an error of our own: let running effects end, then end the lease; the sweep frees what it held."""
        while self.flights.effects and not self.halt.is_set():
            self.flights.ended(LOOK_AGAIN_S)
        self.flights.forget()
        self.carried.clear()
        self.strays, self.away_since = False, None
        connection.close()
        self.lease.end("the worker met an error of its own")

    def stop(self, why: str = "the worker stopped") -> None:
        """Let go of everything: for a worker that shuts down. While an effect still runs, the lease is kept alive."""
        self.flights.close()
        self._release_idle()
        if self.flights.is_quiet():
            self.lease.end(why)
