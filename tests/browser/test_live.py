"""Pages that keep up by themselves: over the socket, and by polling while there is none."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from actions.models import Action
from approvals.models import Decision
from tenants.models import Environment
from tests.browser.conftest import Site

pytestmark = pytest.mark.browser


@pytest.fixture
def gate() -> Iterator[tuple[str, threading.Event]]:
    """A health check that does not answer before the event is set: a run that lasts as long as a test wants."""
    release = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            release.wait(25)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", release
    release.set()
    server.shutdown()
    server.server_close()


def running(site: Site, url: str, **more: Any) -> Action:
    Environment.objects.filter(pk=site.cast.dev.pk).update(settings={"allow_private_targets": True})
    checks = [{"kind": "http", "url": url, "timeout_s": 30}]
    return site.reached(site.propose("dev", accept=True, checks=checks, **more), "verifying")


def test_a_run_page_updates_by_itself_and_keeps_what_is_typed(site: Site, gate: tuple[str, threading.Event]) -> None:
    action = running(site, gate[0])
    tab = site.page("operator")
    tab.goto(f"/actions/{action.pk}/run/")
    tab.locator("#conn[data-state=live]").wait_for()
    tab.evaluate("window.never_reloaded = true")
    tab.click("[data-arm]")
    tab.fill(".abort__armed [name=reason]", "wrong win")
    tab.uncheck("#follow")
    site.picture(tab, "run-armed")
    gate[1].set()
    tab.wait_for_selector("#run-head >> text=Completed")
    tab.wait_for_selector("text=2 of 2 passed")
    assert tab.evaluate("window.never_reloaded") and not tab.is_checked("#follow")


def test_an_armed_abort_stops_the_run_and_undoes_it(site: Site, gate: tuple[str, threading.Event]) -> None:
    action = running(site, gate[0])
    tab = site.page("operator", scheme="dark")
    tab.goto(f"/actions/{action.pk}/run/")
    assert not tab.is_visible(".abort__armed")
    tab.click("[data-arm]")
    tab.fill(".abort__armed [name=reason]", "wrong window")
    tab.click("text=Abort and roll back")
    tab.wait_for_selector("text=Abort requested")
    site.picture(tab, "run-stopping-dark")
    gate[1].set()
    tab.wait_for_selector("#run-head >> text=Rolled back")
    assert site.reached(action, "rolled_back").state == "rolled_back"


def test_the_queue_counts_what_comes_and_moves_nothing_until_asked(site: Site) -> None:
    first = site.reached(site.propose("prod", title="First"), "awaiting_approval")
    tab = site.page("approver")
    tab.goto("/?tab=needs")
    tab.locator("#conn[data-state=live]").wait_for()
    site.reached(site.propose("prod", title="Second"), "awaiting_approval")
    tab.wait_for_selector("[data-updates] >> text=1 update")
    assert tab.locator("[data-row]").count() == 1 and tab.locator(f"#row-{first.pk}").count() == 1
    tab.keyboard.press("u")
    tab.wait_for_selector("text=Second")
    assert tab.locator("[data-row]").count() == 2
    tab.keyboard.press("j")
    tab.wait_for_selector("#preview-pane >> text=Second")
    site.picture(tab, "queue-live")


def test_a_decision_in_the_preview_is_about_the_row_that_it_shows(site: Site) -> None:
    first, second = (site.propose("prod", title=title) for title in ("First", "Second"))
    for action in (first, second):
        site.reached(action, "awaiting_approval")
    tab = site.page("approver")
    tab.goto("/?tab=needs")
    tab.fill("#preview-pane textarea", "about the first")
    tab.keyboard.press("Escape")
    tab.locator(f"#row-{second.pk}").click(position={"x": 600, "y": 10})
    tab.wait_for_selector("#preview-pane >> text=Second")
    assert tab.input_value("#preview-pane textarea") == ""
    tab.fill("#preview-pane textarea", "about the second")
    tab.click("#preview-pane [data-decide-first]")
    tab.wait_for_selector("text=You approved “Second”")
    assert Decision.objects.get().request.subject_id == second.pk
    assert Decision.objects.get().comment == "about the second"


def test_without_a_socket_the_page_says_so_and_keeps_looking(site: Site, web: Callable[[], str]) -> None:
    action = site.reached(site.propose("prod"), "awaiting_approval")
    tab = site.page("approver")
    tab.route_web_socket("**/ws/**", lambda socket: socket.close())
    tab.goto(f"/actions/{action.pk}/")
    tab.wait_for_selector("#conn[data-state=lost]")
    assert "Reconnecting" in tab.inner_text("#conn")
    tab.fill("#decide-form textarea", "still here")
    site.approve(action, "approver2", "by polling")
    tab.wait_for_selector("text=by polling")
    assert tab.input_value("#decide-form textarea") == "still here"
    site.picture(tab, "offline")
