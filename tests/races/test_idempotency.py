"""One key, many callers at once: one action."""

import threading
from collections import Counter

import pytest
from django.db import connection

from actions.models import Action, IdempotencyKey
from audit.models import Event
from tests.api.conftest import Program, a_change, write_matrix

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]
CALLERS = 50


def all_at_once(programs: list[Program], bodies: list[dict]) -> list[tuple[int, dict]]:
    """Send every body at the same moment, each on its own connection."""
    barrier, answers = threading.Barrier(len(bodies)), []

    def call(program: Program, body: dict) -> None:
        barrier.wait()
        try:
            answers.append(program.post("/api/actions", body, **{"Idempotency-Key": "the-key"}))
        finally:
            connection.close()

    threads = [threading.Thread(target=call, args=pair) for pair in zip(programs, bodies, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_fifty_callers_with_one_key_and_body_make_one_action(cast):
    write_matrix(cast)
    program = Program(cast.api("operator"))
    answers = all_at_once([program] * CALLERS, [a_change()] * CALLERS)
    assert Counter(status for status, _ in answers) == {201: 1, 200: CALLERS - 1}
    assert len({action["id"] for _, action in answers}) == 1
    assert Action.objects.count() == IdempotencyKey.objects.count() == 1
    assert Event.objects.filter(subject_kind="action").count() == 1


def test_of_two_bodies_under_one_key_one_wins_and_the_other_is_told(cast):
    write_matrix(cast)
    program = Program(cast.api("operator"))
    bodies = [a_change(content=f"{n % 2}\n") for n in range(10)]
    answers = all_at_once([program] * 10, bodies)
    counted = Counter(status for status, _ in answers)
    assert counted[201] == 1 and counted[200] == 4 and counted[422] == 5, counted
    assert Action.objects.count() == 1
