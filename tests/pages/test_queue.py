"""The queue: whose turn it is, in pages that cost the same however much there is."""

import re
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from actions.commands.review import approve
from actions.models import Action
from tests.cast import Cast
from tests.pages.conftest import Propose

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"' \u202egnp.exe"


def many(cast: Cast, n: int, state: str = "queued", **more: Any) -> None:
    fields: dict[str, Any] = {
        "tenant": cast.acme,
        "environment": cast.dev,
        "type": "modify_files",
        "reason": "r",
        "requester": cast.operator,
        "security_level": "low",
        "risk_class": "guarded",
        "correlation_id": "c",
        "state": state,
        **more,
    }
    Action.objects.bulk_create([Action(title=f"Change {k}", **fields) for k in range(n)], batch_size=2_000)


def queries_of(client: Any, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert client.get(address).status_code == 200
    return len(seen)


def test_who_is_not_signed_in_is_sent_to_sign_in(client: Any, db: None) -> None:
    answer = client.get("/")
    assert answer.status_code == 302 and "next=/" in answer["Location"]


def test_the_queue_costs_the_same_with_ten_thousand_actions(place: Cast) -> None:
    tabs = ("needs", "all", "mine", "ended")
    many(place, 40)
    many(place, 40, "completed")
    client = place.client("operator")
    few = {tab: queries_of(client, f"/?tab={tab}") for tab in tabs}
    many(place, 8_000)
    many(place, 2_000, "completed")
    assert {tab: queries_of(client, f"/?tab={tab}") for tab in tabs} == few
    assert max(few.values()) <= 45


def test_counts_stop_at_ninety_nine(place: Cast) -> None:
    many(place, 150)
    assert "All open <b>99+</b>" in place.client("operator").get("/?tab=all").content.decode()


def test_more_pages_follow_without_a_gap_or_a_repeat(place: Cast) -> None:
    many(place, 70)
    client, seen = place.client("operator"), []
    html = client.get("/?tab=all").content.decode()
    while True:
        seen += re.findall(r'id="row-([0-9a-f-]{36})"', html)
        more = re.search(r'hx-get="(/queue/more/[^"]+)"', html)
        if not more:
            break
        html = client.get(more[1].replace("&amp;", "&")).content.decode()
    assert len(seen) == 70 == len(set(seen))
    assert seen == sorted(seen, reverse=True)


def test_what_needs_the_approver_is_first_and_counted(place: Cast, propose: Propose) -> None:
    waiting = propose("prod", title="Decide me")
    propose("dev", title="Accept me")
    html = place.client("approver").get("/").content.decode()
    assert "Needs your decision" in html and "Decide me" in html
    assert "Accept me" not in html  # its requester's turn, not the approver's
    assert f'data-of="{waiting.pk}"' in html  # the preview shows it
    assert '1<span class="vh"> need your decision' in html


def test_the_requester_is_asked_to_accept_and_never_to_approve(place: Cast, propose: Propose) -> None:
    propose("prod", title="Decide me")
    propose("dev", title="Accept me")
    html = place.client("operator").get("/?tab=needs").content.decode()
    assert "Accept your own change" in html and "Accept me" in html
    assert "Decide me" not in html


def test_what_i_approved_waits_on_others(place: Cast, propose: Propose) -> None:
    action = propose("prod", title="Half way")
    assert action.plan is not None
    approve(place.access("approver"), action.pk, True, action.plan.digest, "")
    html = place.client("approver").get("/?tab=all").content.decode()
    assert "Waiting on others" in html and "you approved" in html
    assert "Needs your decision" not in html


def test_an_owner_is_not_asked_to_approve_what_their_agent_proposes(place: Cast, propose: Propose) -> None:
    propose("prod", who="agent", title="By the agent")
    assert "By the agent" not in place.client("operator").get("/?tab=needs").content.decode()
    assert "By the agent" in place.client("approver").get("/?tab=needs").content.decode()


def test_filters_and_search_narrow_and_say_so(place: Cast, propose: Propose) -> None:
    propose("dev", title="Alpha", ticket="OPS-1")
    propose("prod", title="Beta", ticket="OPS-2")
    client = place.client("operator")
    by_ticket = client.get("/?tab=all&q=OPS-2").content.decode()
    assert "Beta" in by_ticket and "Alpha" not in by_ticket
    by_place = client.get("/?tab=all&environment=dev").content.decode()
    assert "Alpha" in by_place and "Beta" not in by_place
    assert "Remove filter environment" in by_place
    assert "Nothing matches" in client.get("/?tab=all&q=nowhere").content.decode()


def test_a_forged_cursor_starts_again(place: Cast) -> None:
    many(place, 3)
    answer = place.client("operator").get("/queue/more/waiting/?tab=all&after=forged")
    assert answer.status_code == 200 and answer.content.count(b'id="row-') == 3


def test_hostile_text_is_shown_and_never_acted_on(place: Cast, propose: Propose) -> None:
    propose("prod", title=HOSTILE, ticket=HOSTILE[:60])
    html = place.client("approver").get("/").content.decode()
    assert "<script>alert" not in html and "<img src=x" not in html
    assert "&lt;script&gt;" in html and "U+202E" in html and "\u202e" not in html


def test_what_happened_since_is_counted_and_what_is_shown_stays_in_place(place: Cast, propose: Propose) -> None:
    shown = propose("prod", title="Shown")
    came = propose("prod", title="Came later")
    client = place.client("approver")
    html = client.get(f"/queue/live/?tab=needs&shown={shown.pk}:decide").content.decode()
    assert "1 update<" in html
    assert f'hx-target="#row-{shown.pk}"' in html and str(came.pk) not in html


def test_the_theme_cookie_is_written_by_the_server_and_only_if_it_is_one(place: Cast) -> None:
    client = place.client("operator")
    client.cookies["il-theme"] = "dark"
    assert '<html lang="en" data-theme="dark">' in client.get("/").content.decode()
    client.cookies["il-theme"] = '"><script>'
    assert '<html lang="en">' in client.get("/").content.decode()
