"""
The runner: drives many workflows at once, runs their effects in threads, and commits their transitions in groups.

One transaction holds any mix of stages of any number of actions (measured: 25–50 times cheaper than a task per stage
and action). Only one thread touches workflows and the database. A transition whose guard did not match is made again on
a fresh snapshot while the lease holds; otherwise another worker has the action, and its workflow is closed. The runner
waits for a database that is down. An action whose last commit has an unknown outcome is released, and read again by the
next worker: the journal knows.
"""

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from actions.controls.freeze import reload_with_limits
from actions.controls.worker_queues import take_pending, wake_up
from actions.engine.dequeue import dequeue, load_contexts, release, reload_rules
from actions.engine.effects import ActiveAction, Effect, EffectPool, Heartbeat
from actions.engine.failpoints import failpoint
from actions.engine.lease import LeaseHolder
from actions.engine.prometheus_counters import log_turn
from actions.lifecycle.commit import commit
from actions.lifecycle.context import AwaitEffects, EffectResult, RunEffect, StartEffect, WorkflowRequest
from actions.models import Action
from actions.preflight.workflow import preflight
from actions.run.stop import abandon, copy_stop_request, has_stopped_early
from actions.run.workflow import run_action
from audit.database.statements import prepared_reads
from audit.log.events import read_chain_heads

log = structlog.get_logger(__name__)
WORKFLOWS = {"decide": preflight, "execute": run_action}
GATHER_S = 0.002
FILLED = 10
"""Ids are queried in multiples of ten, the last one repeated, so that few statements are prepared."""
LOOK_AGAIN_S = 0.25
COMPANY_S = 0.04
"""The least time between two dequeues of a drain while everything dequeued is still active."""
GRACE_S = 8.0
AWAY_PAUSE_S = 0.25
DATABASE_AWAY = (OperationalError, InterfaceError)
"""Errors of a database that is unavailable for now."""


class Runner:
    """Runs the actions of one queue. Call `drain()` from one thread; keep one runner per process and queue."""

    def __init__(self, queue: str, lease: LeaseHolder | None = None) -> None:
        self.queue = queue
        self.lease = lease or LeaseHolder(queue)
        self.scope, self.route = self.lease.scope, self.lease.scope.route(queue)
        self.most = settings.INTERLOCK.batch_size
        self.threads = settings.INTERLOCK.effect_threads
        self.active: dict[UUID, ActiveAction] = {}
        self.effects = EffectPool(queue, self.threads)
        self.halt = threading.Event()
        self.last_dequeue = 0.0
        self.second = Heartbeat()
        self.last_count = 0
        self.is_full = self.has_called = False
        self.orphans = False
        """Whether the lease may hold actions that are not active here."""
        self.away_since: float | None = None

    def drain(self) -> int:
        """Dequeue and run until nothing more is known to wait; return how many actions were taken."""
        self.has_called = False
        try:
            taken = 0 if self.halt.is_set() else self._retry_while_away(self._dequeue)
            while self.active or self.orphans or self._expects_more():
                if self.halt.is_set():
                    self._wind_down()
                    return taken
                taken += self._retry_while_away(self._turn if self.active or self.orphans else self._dequeue)
            return taken
        except Exception:
            self._abandon()
            raise

    def _turn(self) -> int:
        if self.orphans and self._release_orphans():
            return self._dequeue()
        self._gather()
        self.second.look(self.active, self.effects)
        self._deliver_timeouts()
        self._commit()
        return self._dequeue() if self._may_dequeue() else 0

    def _retry_while_away(self, part: Callable[[], int]) -> int:
        """
        Run one round of a drain. If the database is down, wait a moment; abandon everything when that outlasts the
        lease.
        """
        try:
            done = part()
        except DATABASE_AWAY as error:
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
        self.orphans = True
        self.away_since = self.away_since or time.monotonic()

    def _release_orphans(self) -> bool:
        """
        Release actions that the lease holds but this runner does not run: the answer to a dequeue or commit was lost.

        Those with a running effect must wait for its end, because no worker may repeat it meanwhile: then return False.
        """
        busy = self.effects.actions() - self.active.keys()
        held = Action.objects.filter(lease_id=self.lease.current()).exclude(pk__in=[*self.active, *busy])
        held.update(lease=None)
        self.orphans = bool(busy)
        return not busy

    def _may_dequeue(self) -> bool:
        """Dequeue more while others are active, if there is capacity and a wake-up announced more work."""
        is_busy = len(self.effects.running) > self.threads
        if self.halt.is_set() or is_busy or not self.active or not self._room():
            return False
        pause = settings.INTERLOCK.linger_ms / 1000 if self.is_full else LOOK_AGAIN_S
        return time.monotonic() - self.last_dequeue >= pause and (self.is_full or take_pending(self.route))

    def _expects_more(self) -> bool:
        """
        With nothing active: whether to dequeue again in this drain.

        Under steady submission, a short pause finds a batch instead of a few actions, and a batch costs hardly more
        than one. After a pause nobody waits: a drain begins with a dequeue.
        """
        if not self.last_count:
            return False
        pause = settings.INTERLOCK.linger_ms / 1000 if self.is_full else COMPANY_S
        self.halt.wait(max(0.0, self.last_dequeue + pause - time.monotonic()))
        return not self.halt.is_set() and (self.is_full or take_pending(self.route))

    def _dequeue(self) -> int:
        self.last_dequeue = time.monotonic()
        room, lease = self._room(), self.lease.current()
        found = dequeue(self.queue, lease, room, self.scope)
        if not found.ids and self.lease.in_doubt() and not self.lease.renew():
            found = dequeue(self.queue, lease := self.lease.current(), room, self.scope)
        ids, self.is_full, self.last_count = found.ids, found.more, len(found.ids)
        if not ids:
            return 0
        if self.is_full and not self.has_called:  # more than this worker can take: wake up another one
            wake_up(self.route, force=True)
            self.has_called = True
        failpoint("claimed")
        with prepared_reads():
            contexts = load_contexts([*ids, *ids[-1:] * (-len(ids) % FILLED)], lease, found.at)
        for context in contexts:
            script = (
                abandon(context, "executor_missing", context.fault) if context.fault else WORKFLOWS[self.queue](context)
            )
            context.halting = self.halt.is_set
            active = ActiveAction(context, script)
            self.active[context.action.pk] = active
            self._feed(active, None)
        return len(ids)

    def _room(self) -> int:
        """How many more actions fit; those that only wait for a retry count little."""
        return max(0, self.most - len(self.active) + min(self.effects.count_delayed(), 3 * self.most))

    def _feed(self, active: ActiveAction, value: Any) -> None:
        """Send a workflow its result, and handle its next request."""
        asked = self._send(active, value)
        while isinstance(asked, StartEffect) or (isinstance(asked, AwaitEffects) and active.results):
            if isinstance(asked, StartEffect):
                self._submit(active, asked)
                asked = self._send(active, None)
            else:
                asked = self._send(active, active.take_results())
        if isinstance(asked, AwaitEffects):
            active.awaits = True
        elif isinstance(asked, RunEffect):
            self._submit(active, asked)
        elif asked is not None:
            active.pending = asked

    def _send(self, active: ActiveAction, value: Any) -> WorkflowRequest | None:
        """The next request of a workflow; None at its end."""
        try:
            return active.script.send(value)
        except StopIteration:
            self._release(active)
            return None
        except DATABASE_AWAY as error:
            self.active.pop(active.context.action.pk, None)
            self._note_absence(error)
            return None
        except Exception as error:  # a bug in one workflow must not stop the others
            log.exception("script_failed", action=str(active.context.action.pk), queue=self.queue)
            if active.is_abandoned:
                self._release(active)
                raise
            active.is_abandoned = True
            words = f"Internal error of Interlock: {type(error).__name__}: {error}"
            active.script = abandon(active.context, "internal_error", words)
            return next(active.script)

    def _submit(self, active: ActiveAction, asked: RunEffect | StartEffect) -> None:
        if not self.halt.is_set():
            self.effects.submit(active, asked)

    def _deliver(self, ended: list[tuple[Effect, EffectResult]]) -> None:
        """
        Take the result of an effect: send it to its workflow, or keep it with the others that the workflow started.
        """
        for effect, result in ended:
            active = effect.active
            if self.active.get(effect.action_id) is not active or (self.halt.is_set() and has_stopped_early(result)):
                continue  # its intent stays open, which tells the next worker
            if effect.key:
                active.results.append((effect.key, result))
            else:
                self._feed(active, result)

    def _deliver_results(self) -> None:
        """Send the results so far to workflows that wait for started effects."""
        for active in [c for c in self.active.values() if c.awaits and c.results]:
            self._feed(active, active.take_results())

    def _release(self, active: ActiveAction) -> None:
        self.active.pop(active.context.action.pk, None)
        if active.context.action.lease_id is not None:
            try:
                release([active.context.action.pk], active.context.lease)
            except DATABASE_AWAY as error:
                self._note_absence(error)

    def _gather(self) -> None:
        """Collect ended effects: wait for the first one if there is nothing to commit, then a moment for more."""
        self.effects.start_due(self.active)
        anything = self._ready_to_commit()
        timeout = 0 if anything else LOOK_AGAIN_S
        while self.effects and not self.halt.is_set():
            ended = self.effects.ended(timeout)
            if not ended:
                break
            self._deliver(ended)
            timeout = GATHER_S
        self._deliver_results()

    def _deliver_timeouts(self) -> None:
        """Tell workflows of effects that exceeded their time."""
        late = self.effects.timed_out(self.active)
        for effect, _ in late:
            log.error("effect_timed_out", action=str(effect.action_id), step=effect.key)
        self._deliver(late)
        self._deliver_results()

    def _ready_to_commit(self) -> list[ActiveAction]:
        """The transitions to commit now. An abandoned run waits until none of its effects is running."""
        return [c for c in self.active.values() if c.pending and not (c.is_abandoned and self.effects.of(c))]

    def _commit(self) -> None:
        """Commit pending transitions in one transaction, and resume their workflows."""
        waiting = self._ready_to_commit()
        if not waiting:
            return
        for c in waiting:
            assert c.pending is not None
            c.pending.lease, c.pending.head, c.pending.capped = c.context.lease, c.context.head, c.context.is_limited
            c.is_new = False
        group = [c.pending for c in waiting if c.pending]
        failpoint("before_commit", group)
        try:
            applied = {transition.action.pk for transition in commit(group)}
        except DATABASE_AWAY:
            for c in waiting:
                c.commit_unknown = True
            raise
        except Exception:  # one of them cannot be written; the others still can
            log.exception("group_failed", queue=self.queue, actions=len(group))
            applied = self._one_by_one(waiting)
        failpoint("after_commit", group)
        written = [c for c in waiting if c.context.action.pk in applied]
        self._reload_changed_rules(written)
        for c in written:
            transition, c.pending, c.commit_unknown = c.pending, None, False
            assert transition is not None and transition.head is not None
            c.context.head, c.context.now = transition.head, transition.at or c.context.now
            for line in transition.journal_entries:
                c.context.journal.add(line)
            self.is_full = self.is_full or bool(
                transition.capped and transition.release
            )  # another action may have waited for its place
            log_turn(transition)
            self._feed(c, True)
        self._retry_lost([c for c in waiting if c.pending and not c.is_new and c.context.action.pk not in applied])

    def _reload_changed_rules(self, written: list[ActiveAction]) -> None:
        """Each commit returns the policy epoch: after a change, evaluate by the new policies from now on."""
        changed = [c for c in written if c.pending and c.pending.epoch != c.context.epoch]
        if changed:
            reload_rules([c.context for c in changed])
        for c in changed:
            c.context.epoch = c.pending.epoch if c.pending else c.context.epoch

    def _one_by_one(self, waiting: list[ActiveAction]) -> set[UUID]:
        """Commit each transition alone, and fail those that cannot be written; return the ids of those that matched."""
        applied: set[UUID] = set()
        for c in waiting:
            assert c.pending is not None
            try:
                applied |= {transition.action.pk for transition in commit([c.pending])}
            except DATABASE_AWAY:
                for lost in waiting:
                    self.active.pop(lost.context.action.pk, None)
                raise
            except Exception as error:
                if c.is_abandoned:
                    raise
                c.is_abandoned = c.is_new = True
                words = f"Internal error of Interlock: {type(error).__name__}. The log has the details."
                c.script.close()
                c.script = abandon(c.context, "internal_error", words)
                c.pending = next(c.script)  # type: ignore[assignment]
        return applied

    def _retry_lost(self, lost: list[ActiveAction]) -> None:
        """Retry transitions whose guard did not match; release actions whose last commit has an unknown outcome."""
        for c in [c for c in lost if c.commit_unknown]:
            c.script.close()
            self.active.pop(c.context.action.pk, None)
            self.orphans = True
        self._reload([c for c in lost if not c.commit_unknown])
        for c in lost:
            if c.context.action.pk in self.active:
                c.pending = None
                self._feed(c, False)

    def _reload(self, lost: list[ActiveAction]) -> None:
        """
        Reload the action of a refused transition: continue if its state and lease are the same, else close its
        workflow.
        """
        if not lost:
            return
        now: dict[UUID, Any] = reload_with_limits(c.context.action.pk for c in lost)
        chain = read_chain_heads([c.context.action.pk for c in lost])
        for c in lost:
            ours, theirs = c.context.action, now.get(c.context.action.pk)
            is_ours = theirs is not None and theirs.state == ours.state and theirs.lease_id == c.context.lease
            if theirs is None or not (is_ours and theirs.may_go_on):
                log.info("action_moved_on", action=str(ours.pk), state=theirs.state if theirs else None)
                c.script.close()
                self.active.pop(ours.pk, None)
                self.orphans = self.orphans or (theirs is not None and theirs.lease_id == c.context.lease)
                continue
            ours.seq, c.context.head, c.context.is_limited = theirs.seq, chain[ours.pk], theirs.is_limited
            copy_stop_request(ours, theirs)

    def _wind_down(self) -> None:
        """
        Wind down: give running effects a moment, commit their results, release the rest.

        An effect that ended early because of the stop leaves its intent open; the next worker probes it. Actions with a
        running effect stay leased, because no worker may repeat it meanwhile; they are free when the lease expires.
        """
        self._deliver(self.effects.all_ended(GRACE_S))
        self._deliver_results()
        self._commit()
        self._release_idle()

    def _release_idle(self) -> None:
        """Release every action except those with an effect that cannot be stopped; afterwards nothing is active."""
        busy = self.effects.forget()
        idle = [pk for pk in self.active if pk not in busy]
        self.active.clear()
        if idle:
            release(idle, self.lease.current())

    def _abandon(self) -> None:
        """After an internal error: let running effects end, then end the lease; the sweep frees its actions."""
        while self.effects.running and not self.halt.is_set():
            self.effects.ended(LOOK_AGAIN_S)
        self.effects.forget()
        self.active.clear()
        self.orphans, self.away_since = False, None
        connection.close()
        self.lease.end("internal error of the worker")

    def stop(self, why: str = "the worker stopped") -> None:
        """Release everything, for a worker that shuts down. While an effect still runs, the lease is renewed."""
        self.effects.close()
        self._release_idle()
        if self.effects.is_quiet():
            self.lease.end(why)
