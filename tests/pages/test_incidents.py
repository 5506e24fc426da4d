"""Hand-off in the browser without JavaScript: what is mine, what is known, and what I can do about it."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from actions.models import Delivery, Incident
from audit.database.clock import database_time
from tests.cast import Cast
from tests.incidents.conftest import fail, hold, incident_of, quick_machine

__all__ = ["quick_machine"]
pytestmark = pytest.mark.django_db


def many(place: Cast, n: int) -> list[Incident]:
    action = fail(place)
    now = database_time()
    return Incident.objects.bulk_create(
        Incident(
            tenant=place.acme,
            environment=place.dev,
            action=action,
            ending="failed",
            ending_seq=1000 + k,
            code="io",
            severity="low",
            summary=f"Number {k} failed",
            assignee=place.operator,
            state="resolved",
            resolved_at=now,
            gathered_at=now,
        )
        for k in range(n)
    )


def test_an_empty_list_says_what_would_stand_there(place):
    for tab, words in (
        ("mine", "No incident assigned to you"),
        ("open", "No open incidents"),
        ("all", "opens one automatically"),
    ):
        assert words in place.client("operator").get(f"/incidents/?tab={tab}").content.decode()


def test_who_has_a_incident_sees_it_counted_and_takes_it_in_hand(place):
    incident = incident_of(hold(place, title="Rotate <b>keys</b>"))
    browser = place.client("operator")
    listed = browser.get("/incidents/").content.decode()
    assert "Rotate &lt;b&gt;keys&lt;/b&gt;" in listed and 'id="nav-incidents"' in listed and "in doubt" in listed
    shown = browser.get(f"/incidents/{incident.pk}/").content.decode()
    for words in (
        "Next steps",
        "Record whether the step took effect",
        "Diagnostics",
        "Acknowledge",
        "001:app.conf",
    ):
        assert words in shown, words
    after = browser.post(f"/incidents/{incident.pk}/acknowledge/", {"note": "On it"}, follow=True).content.decode()
    assert "Acknowledged: it is yours." in after
    assert 'id="nav-incidents"' not in browser.get("/incidents/").content.decode()
    assert f"/incidents/{incident.pk}/" in browser.get(f"/actions/{incident.action_id}/run/").content.decode()


def test_a_failed_action_leads_to_its_incident(place):
    incident = incident_of(fail(place))
    for page in ("", "run/"):
        assert (
            f"/incidents/{incident.pk}/"
            in place.client("auditor").get(f"/actions/{incident.action_id}/{page}").content.decode()
        )


def test_handing_over_declining_and_resolving_work_by_plain_forms(place):
    incident = incident_of(fail(place))
    browser, here = place.client("operator"), f"/incidents/{incident.pk}/"
    page = browser.post(f"{here}assign/", {"assignee": str(place.approver.pk), "note": "Yours"}, follow=True)
    assert "Assigned to Approver" in page.content.decode()
    declined = place.client("approver").post(f"{here}decline/", {"reason": "On leave"}, follow=True)
    assert "Unassigned" in declined.content.decode()
    browser.post(f"{here}comments/", {"text": "Disk was full"})
    done = browser.post(f"{here}resolve/", {"note": "Freed"}, follow=True).content.decode()
    assert "Disk was full" in done and ">Resolved<" in done
    refused = browser.post(f"{here}acknowledge/")
    assert refused.status_code == 409 and "resolved" in refused.content.decode()


def test_who_may_not_is_told_who_may(place):
    incident = incident_of(hold(place))
    shown = place.client("auditor").get(f"/incidents/{incident.pk}/").content.decode()
    assert "Requires an operator of" in shown and "acknowledge/" not in shown
    assert place.client("auditor").post(f"/incidents/{incident.pk}/resolve/").status_code == 403


def test_the_diagnostics_are_a_file(place):
    incident = incident_of(fail(place))
    got = place.client("auditor").get(f"/incidents/{incident.pk}/diagnostics.json")
    assert got["Content-Disposition"].startswith("attachment") and got.json()["format"] == "interlock.diagnostics/1"
    Incident.objects.update(evidence="", gathered_at=None)
    assert place.client("auditor").get(f"/incidents/{incident.pk}/diagnostics.json").status_code == 404
    assert "Collecting diagnostics" in place.client("auditor").get(f"/incidents/{incident.pk}/").content.decode()


def test_a_message_that_was_given_up_is_sent_again_from_the_page(place):
    incident = incident_of(fail(place))
    dead = incident.deliveries.get()
    Delivery.objects.update(state="failed", error="it answered 500")
    browser = place.client("operator")
    assert "it answered 500" in browser.get(f"/incidents/{incident.pk}/").content.decode()
    again = browser.post(f"/incidents/{incident.pk}/deliveries/{dead.pk}/", follow=True)
    assert "It is sent again." in again.content.decode()
    assert "Send again" not in place.client("auditor").get(f"/incidents/{incident.pk}/").content.decode()


def test_filters_narrow_and_odd_input_does_no_harm(place):
    incident_of(fail(place)), incident_of(hold(place, environment=place.prod))
    browser = place.client("operator")
    found = browser.get("/incidents/?tab=open&environment=prod&severity=critical&ending=in_doubt").content.decode()
    assert found.count("data-row") == 1
    for query in ("tab=x&after=y", "severity=none", "ending=" + "e" * 500, "after=" + "0" * 36):
        assert browser.get(f"/incidents/?{query}").status_code == 200
    assert "No match" in browser.get("/incidents/?environment=nowhere").content.decode()


@pytest.mark.parametrize("most", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_ten_thousand_incident_cost_what_twenty_do(place, most):
    browser: Any = place.client("operator")
    counts = []
    for n in (20, most):
        many(place, n)
        incident_of(fail(place))
        with CaptureQueriesContext(connection) as seen:
            page = browser.get("/incidents/?tab=all").content.decode()
        counts.append(len(seen))
        assert page.count("data-row") in (21, 22, 25)
    assert counts[0] == counts[1] <= 25
    after = page.split("after=")[1].split('"')[0]
    second = browser.get(f"/incidents/?tab=all&after={after}").content.decode()
    assert second.count("data-row") == 25 and not set(ids(page)) & set(ids(second))


def ids(page: str) -> list[str]:
    return [part.split('"')[0] for part in page.split('id="row-')[1:]]
