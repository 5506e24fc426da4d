"""What a step writes is read while it runs, once and whole, whoever reads it when."""

import threading
import time

import pytest
from django.db import connection

from actions.engine.dequeue import load_contexts
from actions.engine.runner import Runner
from actions.models import Action, JournalEntry, LogLine
from actions.queries.run_view import LIVE, Cursor, read_part
from actions.run.transcript import MAX_LOG_LINES, MIN_AGE_S, RESUMED_LINE, AttemptLog, delete_ended, flush_lines
from tests.actions.factory import a_running_lease, propose
from tests.actions.running import carry
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]


class Speaking:
    """A step that writes until it is let go of, in a runner that this thread drives from another one."""

    def __init__(self, executor) -> None:
        self.go_on, self.ctx = threading.Event(), None
        executor.before = self.write

    def write(self, ctx):
        ctx.log("first")
        ctx.log("")
        ctx.log("third\nin one line\x00")
        self.ctx = ctx
        assert self.go_on.wait(20)
        ctx.log("last")


def a_case(cast, **parameters):
    """An action between its first intent and its receipt, in the hands of a lease of ours."""
    action = propose(cast, type="ledger", parameters={"steps": 1, **parameters}, accept=True)
    decide = Runner("decide")
    decide.drain()
    decide.stop()
    lease = a_running_lease()
    Action.objects.filter(pk=action.pk).update(state="in_progress", started_at=action.created_at, lease=lease)
    action = Action.objects.select_related("plan").get(pk=action.pk)
    step = action.plan.steps[0]["key"]
    JournalEntry.objects.create(
        action=action, plan=action.plan, step=step, attempt=1, kind="intent", lease=lease.pk, at=action.created_at
    )
    (context,) = load_contexts([action.pk], lease.pk)
    return context, step


def transcript_of(context, step, *lines: str) -> AttemptLog:
    made = context.transcripts[step, 1, False] = AttemptLog((step, 1, False), context.earlier.get((step, 1, False)))
    made.began -= 2 * MIN_AGE_S
    for line in lines:
        made.note(line)
    return made


def texts(part) -> list[str]:
    return [line for entry in part.entries for line in entry.log]


def ended(context, step, transcript, kind="receipt") -> None:
    JournalEntry.objects.create(
        action=context.action,
        plan=context.plan,
        step=step,
        attempt=1,
        kind=kind,
        lease=context.lease,
        at=context.action.created_at,
        log="\n".join(transcript),
    )


def test_lines_are_read_while_the_step_runs_and_the_rest_with_its_receipt(committed_cast, ledger_type):
    speaking = Speaking(ledger_type)
    action = propose(committed_cast, type="ledger", parameters={"steps": 1}, accept=True)
    ended = threading.Thread(target=lambda: (carry(action), connection.close()))
    ended.start()
    try:
        wait_for(lambda: texts(read_part(action, Cursor())), 10, "the first lines")
        part = read_part(action, Cursor())
        assert [(e.kind, e.log) for e in part.entries] == [
            ("intent", []),
            (LIVE, ["first", "", "third in one line␀"]),
        ]
        assert read_part(action, part.cursor).entries == []
    finally:
        speaking.go_on.set()
        ended.join(20)
    rest = read_part(action, Cursor.read(str(part.cursor)))
    assert [(e.kind, e.log[0]) for e in rest.entries] == [("receipt", "last")]
    assert texts(read_part(action, Cursor()))[:4] == ["first", "", "third in one line␀", "last"]
    assert LogLine.objects.exists() and delete_ended() == LogLine.objects.count() + 1 == 1


def test_quick_steps_and_silent_ones_cost_no_statement(committed_cast, ledger_type, django_assert_num_queries):
    context, step = a_case(committed_cast)
    transcript = transcript_of(context, step, "one")
    transcript.began = time.monotonic()
    with django_assert_num_queries(0):
        assert flush_lines([context]) == 0
    transcript.began -= 2 * MIN_AGE_S
    with django_assert_num_queries(1):
        assert flush_lines([context]) == 1
    with django_assert_num_queries(0):
        assert flush_lines([context]) == 0


def test_a_worker_that_lost_the_action_writes_no_more(committed_cast, ledger_type):
    context, step = a_case(committed_cast)
    transcript_of(context, step, "mine")
    Action.objects.filter(pk=context.action.pk).update(lease=a_running_lease())
    flush_lines([context])
    assert not LogLine.objects.exists()


def test_what_a_lost_worker_wrote_is_kept_by_the_one_that_takes_the_step_up(committed_cast, ledger_type):
    context, step = a_case(committed_cast)
    transcript_of(context, step, "before the loss", "and this")
    flush_lines([context])
    read = read_part(context.action, Cursor())
    (again,) = load_contexts([context.action.pk], context.lease)
    transcript = transcript_of(again, step, "after it")
    assert list(transcript) == ["before the loss", "and this", RESUMED_LINE, "after it"]
    flush_lines([again])
    assert texts(read_part(context.action, read.cursor)) == [RESUMED_LINE, "after it"]
    ended(again, step, transcript)
    assert texts(read_part(context.action, Cursor())) == list(transcript)


def test_a_flood_is_cut_written_in_parts_and_read_in_parts(committed_cast, ledger_type):
    context, step = a_case(committed_cast)
    transcript = transcript_of(context, step, *["x" * 1_000] * (MAX_LOG_LINES + 500))
    written = []
    while count := flush_lines([context]):
        written.append(count)
    assert len(written) > 1 and sum(written) == MAX_LOG_LINES + 1
    assert transcript.used()["log_lines_left_out"] == 500
    read, cursor, parts = [], Cursor(), 0
    while True:
        part = read_part(context.action, cursor)
        read, cursor, parts = read + texts(part), part.cursor, parts + 1
        if not part.more:
            break
    assert read == list(transcript) and read[-1].startswith("…")
    ended(context, step, transcript)
    assert texts(read_part(context.action, cursor)) == []


@pytest.mark.parametrize("text", ["", "x", "-1", "7", "7.5", "7.5~0123456789ab.9", "9" * 30, "1.2~zz.1", "1.2~../.3"])
def test_a_cursor_is_read_as_it_was_written_or_as_the_beginning(text):
    cursor = Cursor.read(text)
    assert Cursor.read(str(cursor)) == cursor
    assert str(cursor) == text or str(cursor) == "0"
