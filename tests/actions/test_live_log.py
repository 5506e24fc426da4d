"""What a step writes is read while it runs, once and whole, whoever reads it when."""

import threading
import time

import pytest
from django.db import connection

from actions.case import load_cases
from actions.models import Action, Checkpoint, Said
from actions.run.live_log import YOUNG_S, speak
from actions.run.runner import Runner
from actions.run.transcript import MOST_LOG_LINES, TAKEN_UP, Transcript
from actions.transcripts import LIVE, Cursor, forget_ended, part_of
from tests.actions.factory import a_running_lease, propose
from tests.actions.running import carry

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
    Checkpoint.objects.create(
        action=action, plan=action.plan, step=step, attempt=1, kind="intent", lease=lease.pk, at=action.created_at
    )
    (case,) = load_cases([action.pk], lease.pk)
    return case, step


def transcript_of(case, step, *lines: str) -> Transcript:
    made = case.transcripts[step, 1, False] = Transcript((step, 1, False), case.earlier.get((step, 1, False)))
    made.began -= 2 * YOUNG_S
    for line in lines:
        made.note(line)
    return made


def texts(part) -> list[str]:
    return [line for entry in part.entries for line in entry.log]


def ended(case, step, transcript, kind="receipt") -> None:
    Checkpoint.objects.create(
        action=case.action,
        plan=case.plan,
        step=step,
        attempt=1,
        kind=kind,
        lease=case.lease,
        at=case.action.created_at,
        log="\n".join(transcript),
    )


def test_lines_are_read_while_the_step_runs_and_the_rest_with_its_receipt(committed_cast, ledger_type):
    speaking = Speaking(ledger_type)
    action = propose(committed_cast, type="ledger", parameters={"steps": 1}, accept=True)
    ended = threading.Thread(target=lambda: (carry(action), connection.close()))
    ended.start()
    try:
        until, part = time.monotonic() + 10, part_of(action, Cursor())
        while not texts(part) and time.monotonic() < until:
            time.sleep(0.1)
            part = part_of(action, Cursor())
        assert [(e.kind, e.log) for e in part.entries] == [
            ("intent", []),
            (LIVE, ["first", "", "third in one line␀"]),
        ]
        assert part_of(action, part.cursor).entries == []
    finally:
        speaking.go_on.set()
        ended.join(20)
    rest = part_of(action, Cursor.read(str(part.cursor)))
    assert [(e.kind, e.log[0]) for e in rest.entries] == [("receipt", "last")]
    assert texts(part_of(action, Cursor()))[:4] == ["first", "", "third in one line␀", "last"]
    assert Said.objects.exists() and forget_ended() == Said.objects.count() + 1 == 1


def test_quick_steps_and_silent_ones_cost_no_statement(committed_cast, ledger_type, django_assert_num_queries):
    case, step = a_case(committed_cast)
    transcript = transcript_of(case, step, "one")
    transcript.began = time.monotonic()
    with django_assert_num_queries(0):
        assert speak([case]) == 0
    transcript.began -= 2 * YOUNG_S
    with django_assert_num_queries(1):
        assert speak([case]) == 1
    with django_assert_num_queries(0):
        assert speak([case]) == 0


def test_a_worker_that_lost_the_action_writes_no_more(committed_cast, ledger_type):
    case, step = a_case(committed_cast)
    transcript_of(case, step, "mine")
    Action.objects.filter(pk=case.action.pk).update(lease=a_running_lease())
    speak([case])
    assert not Said.objects.exists()


def test_what_a_lost_worker_wrote_is_kept_by_the_one_that_takes_the_step_up(committed_cast, ledger_type):
    case, step = a_case(committed_cast)
    transcript_of(case, step, "before the loss", "and this")
    speak([case])
    read = part_of(case.action, Cursor())
    (again,) = load_cases([case.action.pk], case.lease)
    transcript = transcript_of(again, step, "after it")
    assert list(transcript) == ["before the loss", "and this", TAKEN_UP, "after it"]
    speak([again])
    assert texts(part_of(case.action, read.cursor)) == [TAKEN_UP, "after it"]
    ended(again, step, transcript)
    assert texts(part_of(case.action, Cursor())) == list(transcript)


def test_a_flood_is_cut_written_in_parts_and_read_in_parts(committed_cast, ledger_type):
    case, step = a_case(committed_cast)
    transcript = transcript_of(case, step, *["x" * 1_000] * (MOST_LOG_LINES + 500))
    written = []
    while count := speak([case]):
        written.append(count)
    assert len(written) > 1 and sum(written) == MOST_LOG_LINES + 1
    assert transcript.used()["log_lines_left_out"] == 500
    read, cursor, parts = [], Cursor(), 0
    while True:
        part = part_of(case.action, cursor)
        read, cursor, parts = read + texts(part), part.cursor, parts + 1
        if not part.more:
            break
    assert read == list(transcript) and read[-1].startswith("…")
    ended(case, step, transcript)
    assert texts(part_of(case.action, cursor)) == []


@pytest.mark.parametrize("text", ["", "x", "-1", "7", "7.5", "7.5~0123456789ab.9", "9" * 30, "1.2~zz.1", "1.2~../.3"])
def test_a_cursor_is_read_as_it_was_written_or_as_the_beginning(text):
    cursor = Cursor.read(text)
    assert Cursor.read(str(cursor)) == cursor
    assert str(cursor) == text or str(cursor) == "0"
