"""What nobody types and somebody sends: NUL bytes, numbers beyond JSON, addresses edited by hand."""

import pytest

from actions.models import Action, JournalEntry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.dialect]
QUEUE = [
    "/?environment=%00",
    "/?q=%00&tab=all",
    "/?tab=%00",
    "/queue/more/mine/?after=%00,1",
    "/queue/live/?shown=%00:a",
    "/actions/new/?type=%00",
    "/actions/new/?environment=%00",
]
ACTION = [
    "changes/?digest=%00",
    "changes/?after=%00",
    "changes/1/?digest=%00",
    "live/?have=%00",
    "run/live/?after=%00",
    f"log?after={'9' * 30}",
    f"changes/{'9' * 30}/",
]


@pytest.mark.parametrize("address", QUEUE)
def test_a_queue_address_with_nul_is_refused_in_words(place, address):
    answer = place.client("operator").get(address)
    assert answer.status_code == 422 and "NUL" in answer.content.decode()


@pytest.mark.parametrize("rest", ACTION)
def test_an_action_address_with_odd_values_is_a_page_or_nowhere(place, propose, rest):
    action = propose("prod")
    expected = {422} if "%00" in rest else {200, 204, 404}
    assert place.client("operator").get(f"/actions/{action.pk}/{rest}").status_code in expected


@pytest.mark.parametrize("do", ["submit", "preview", "add:" + "." * 5_000])
@pytest.mark.parametrize(
    "odd",
    [
        {"environment": "\x00"},
        {"timeout_s": "1e999"},
        {"timeout_s": "9" * 5_000},
        {"timeout_s": "9" * 400},
        {"priority": "-9007199254740993"},
        {"not_before": "\x00"},
    ],
)
def test_a_form_with_odd_values_comes_back_with_its_issues(place, do, odd):
    sent = {"do": do, "type": "modify_files", "environment": "dev", "reason": "x", **odd}
    got = place.client("operator").post("/actions/new/", sent)
    assert got.status_code in (200, 422)
    assert not Action.objects.exists()


def test_a_log_taken_along_moves_no_cursor(place, propose):
    action = propose("prod")
    JournalEntry.objects.create(
        action=action,
        plan=action.plan,
        step="001:x",
        attempt=1,
        kind="failure",
        lease=1,
        at=action.created_at,
        facts={"message": "\x1b]0;gotcha\x07 no"},
        log="\x1b[2J\u202e",
    )
    got = place.client("operator").get(f"/actions/{action.pk}/log.txt").content.decode()
    assert "␛[2JU+202E" in got and "␛]0;gotcha␇ no" in got and "\x1b" not in got
