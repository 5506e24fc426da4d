"""A web process is told to stop under load: what it said it took is there, what it refused is not, and it says so."""

import http.client
import threading
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor

import pytest

from actions.models import Action
from audit.models import Event
from tests.api.conftest import a_change
from tests.support.http import Answer, Program
from tests.support.processes import free_port, server, wait_for

CUT = (urllib.error.URLError, http.client.HTTPException, ConnectionError)
CLIENTS = 6


@pytest.fixture
def environment(product_environment: dict[str, str]) -> dict[str, str]:
    return {**product_environment, "INTERLOCK_SHUTDOWN_S": "2"}


class Load:
    """Clients that go on submitting, each action with a key of its own, and remember what they were told."""

    def __init__(self, operator: Program) -> None:
        self.operator = operator
        self.answers: dict[str, Answer | None] = {}
        self.enough = threading.Event()

    def __call__(self, client: int) -> None:
        n = 0
        while not self.enough.is_set():
            n += 1
            key = f"{client}-{n}"
            try:
                body = a_change("dev", path=f"{key}.txt", accept=True)
                self.answers[key] = self.operator.post("/api/actions", body, Idempotency_Key=key)
            except CUT:
                self.answers[key] = None
                time.sleep(0.05)

    def told(self, status: int) -> dict[str, Answer]:
        return {key: a for key, a in self.answers.items() if a is not None and a.status == status}


def test_what_a_stopping_server_accepted_is_kept_and_the_rest_is_told_to_come_back(
    committed_cast, environment, redis_client, tmp_path
):
    port, log = free_port(), tmp_path / "web.log"
    load = Load(Program(f"http://127.0.0.1:{port}", committed_cast.token("operator")))
    with server(environment, log, port) as web, ThreadPoolExecutor(CLIENTS) as clients:
        try:
            for client in range(CLIENTS):
                clients.submit(load, client)
            wait_for(lambda: len(load.told(201)) > 20, 30, "some submissions", log)
            web.process.terminate()
            wait_for(lambda: bool(load.told(503)), 5, "a refusal", log)
            assert load.operator.get("/api/actions?limit=1").status == 200, "what changes nothing is still answered"
            ready = load.operator.get("/readyz")
            assert (ready.status, ready.json["checks"]["server"]) == (503, "This server is stopping.")
            assert web.process.wait(15) == 0
        finally:
            load.enough.set()
    refusal = next(iter(load.told(503).values()))
    assert (refusal.json["code"], refusal.headers["Retry-After"]) == ("closing", "2")
    assert {a.status for a in load.answers.values() if a is not None} == {201, 503}
    submitted = {a.json["id"] for a in load.told(201).values()}
    assert {str(pk) for pk in Action.objects.values_list("pk", flat=True)} == submitted
    assert Event.objects.filter(verb="action.submitted").count() == len(submitted)
    assert_kept_once_sent_again(load, committed_cast, environment, tmp_path)


def assert_kept_once_sent_again(load: Load, cast, environment, tmp_path) -> None:
    """Who was refused or cut off sends the same again, to the next server: each action is there once."""
    port = free_port()
    with server(environment, tmp_path / "next.log", port):
        operator = Program(f"http://127.0.0.1:{port}", load.operator.token)
        some = (
            list(load.told(201))[:3] + list(load.told(503))[:3] + [k for k, a in load.answers.items() if a is None][:3]
        )
        before = Action.objects.count()
        bodies = {key: a_change("dev", path=f"{key}.txt", accept=True) for key in some}
        answers = {key: operator.post("/api/actions", bodies[key], Idempotency_Key=key) for key in some}
    known = [key for key in some if key in load.told(201)]
    assert [answers[key].json["id"] for key in known] == [load.answers[key].json["id"] for key in known]
    assert Action.objects.count() == before + len(some) - len(known)


def test_a_stream_ends_with_its_server_and_does_not_hold_it_up(committed_cast, environment, redis_client, tmp_path):
    port, log = free_port(), tmp_path / "web.log"
    operator = Program(f"http://127.0.0.1:{port}", committed_cast.token("operator"))
    with server(environment, log, port) as web:
        action = operator.post("/api/actions", a_change("dev", path="a.txt")).json["id"]
        stream = operator.stream(f"/api/actions/{action}/events")
        assert next(stream).id == "1"
        asked = time.monotonic()
        web.process.terminate()
        with pytest.raises(http.client.IncompleteRead):  # cut, so that the reader connects again
            next(stream)
        assert web.process.wait(15) == 0
        assert time.monotonic() - asked < 5
