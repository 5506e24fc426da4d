"""The explorer: its index, search by words and days, facets, saved searches; one subject, one event."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from audit.auditor.explore.index import index_batch, mark_hits, page_of_events, run_slice, tokenize
from audit.auditor.explore.search import count_facets, search
from audit.auditor.log.event_list import LogFilters
from audit.auditor.log.event_page import prove_event
from audit.database.clock import uuid7
from audit.log.events import NO_EVENTS, NewEvent, Subject, append_events
from audit.log.query import EventFilter
from audit.models import Event, PrivateValue
from audit.models.auditor import IndexCursor, IndexedEvent, SavedSearch, Word
from audit.models.seals import Horizon
from audit.seals.sealer import seal_all
from audit.verification.status import Integrity, describe_integrity

pytestmark = pytest.mark.dialect

DAY = datetime(2026, 8, 14, 9, 30, tzinfo=UTC)


def change(cast, title, reason, at=DAY, environment=None, kind="action", tenant=None, comment=""):
    """A change with its first events, recorded at a given time."""
    place = environment or cast.prod
    about = Subject(kind, uuid7())
    facts = {"environment": str(place.pk), "type": "modify_files"}
    said: list[dict[str, Any]] = [
        {"verb": "action.submitted", "facts": facts, "private": {"title": title, "reason": reason}},
        {"verb": "action.preflight"},
    ]
    if comment:
        said.append({"verb": "approval.granted", "private": {"comment": comment}, "facts": {"role": "approver"}})
    entries = [
        NewEvent((tenant or cast.acme).pk, about, actor=str(cast.operator.pk), correlation_id="c", **more)
        for more in said
    ]
    append_events(entries, {about.id: NO_EVENTS}, at)
    return about


@pytest.fixture
def changes(cast):
    """Five changes; the one to find is of the 14th of August."""
    found = {
        "right": change(cast, "Renew the gateway's certificate", "The old certificate expires", DAY),
        "late": change(cast, "Renew the mail certificate", "It expires as well", DAY + timedelta(days=3)),
        "far": change(cast, "Certificate of the shop", "expires", DAY + timedelta(days=40)),
        "dev": change(cast, "Try a certificate", "on dev", DAY, cast.dev),
        "other": change(cast, "Rotate the logs", "They fill the disk", DAY, comment="a certificate is next"),
        "foreign": change(cast, "Certificate of globex", "expires", DAY, cast.globex_prod, tenant=cast.globex),
    }
    run_slice()
    return found


def found_by(cast, **asked):
    return [hit.subject_id for hit in search(cast.acme.pk, EventFilter(**asked)).hits]


def test_a_date_and_one_word_of_the_reason_rank_the_right_change_first(cast, changes):
    hits = found_by(cast, words="expires", around=(DAY + timedelta(days=1)).date(), days=3)
    assert hits == [changes["right"].id, changes["late"].id]
    hits = found_by(cast, words="certificate", around=DAY.date(), days=3, environment=cast.prod.pk)
    assert hits == [changes["right"].id, changes["late"].id, changes["other"].id]


def test_words_fold_case_begin_and_must_not_all_be_there_to_be_found(cast, changes):
    assert found_by(cast, words="GATEWAY")[0] == changes["right"].id
    assert found_by(cast, words="gatew") == [changes["right"].id]
    assert found_by(cast, words="gateway expires")[0] == changes["right"].id
    assert found_by(cast, words="nothinglikethis") == [] and found_by(cast, words="… !") == []


def test_another_tenants_words_are_not_found(cast, changes):
    assert found_by(cast, words="globex") == []


def test_erasing_a_value_takes_its_words_away(cast, changes):
    kept = PrivateValue.objects.filter(subject_id=changes["right"].id)
    kept.filter(name="reason").update(salt=None, value=None)
    assert Word.objects.filter(subject_id=changes["right"].id, name="reason").count() == 0
    assert changes["right"].id not in found_by(cast, words="expires")
    assert changes["right"].id in found_by(cast, words="gateway")
    kept.delete()
    assert changes["right"].id not in found_by(cast, words="gateway")


def test_what_was_erased_before_it_was_indexed_is_never_found(cast):
    about = change(cast, "Secret plan", "because")
    PrivateValue.objects.filter(subject_id=about.id).update(salt=None, value=None)
    run_slice()
    assert not Word.objects.filter(subject_id=about.id).exists()
    assert IndexedEvent.objects.filter(subject_id=about.id).count() == 2


def test_every_event_of_a_change_is_where_the_change_is(cast, changes):
    rows = IndexedEvent.objects.filter(subject_id=changes["other"].id)
    assert set(rows.values_list("environment", "type")) == {(cast.prod.pk, "modify_files")}
    events, _ = page_of_events(cast.acme.pk, EventFilter(environment=cast.dev.pk), None, 50)
    assert {event.subject_id for event in events if event.subject_kind == "action"} == {changes["dev"].id}


def test_what_is_not_indexed_yet_is_in_the_log_all_the_same(cast, changes):
    about = change(cast, "Fresh", "now")
    events, _ = page_of_events(cast.acme.pk, EventFilter(verb="action"), None, 3)
    assert [event.subject_id for event in events][:2] == [about.id, about.id]
    assert [e.pk for e in events] == sorted((e.pk for e in events), reverse=True)


def test_pages_across_the_index_edge_have_no_gap(cast, changes):
    change(cast, "Fresh", "now")
    seen, before = [], None
    while True:
        events, before = page_of_events(cast.acme.pk, EventFilter(kind="action"), before, 2)
        seen += [event.pk for event in events]
        if before is None:
            break
    wanted = Event.objects.filter(tenant=cast.acme.pk, subject_kind="action").order_by("-pk")
    assert seen == list(wanted.values_list("pk", flat=True))


def test_indexing_goes_on_where_it_stopped_and_twice_does_no_harm(cast, changes):
    assert index_batch() == 0
    about = change(cast, "Later", "on")
    assert index_batch(1) == 1 and index_batch(1) == 1 and index_batch(1) == 0
    IndexCursor.objects.update(upto=0)
    run_slice()
    assert IndexedEvent.objects.count() == Event.objects.count()
    assert Word.objects.filter(subject_id=about.id, word=b"later").count() == 1


def test_facets_count_what_matches_with_names(cast, changes, monkeypatch):
    counted = count_facets(cast.acme.pk, EventFilter(kind="action"))
    assert {v.label: v.count for v in counted.values["environment"]} == {"prod": 9, "dev": 2}
    assert [(v.label, v.value) for v in counted.values["actor"]] == [("Operator", str(cast.operator.pk))]
    assert (counted.total, counted.words) == (11, "11")
    monkeypatch.setattr("audit.auditor.explore.search.MAX_COUNTED", 5)
    assert count_facets(cast.acme.pk, EventFilter(kind="action")).is_capped


def test_words_are_cut_out_of_texts_and_marked_in_them():
    assert tokenize("Ünïcode CHG-1234, x a_b \u202e") == ["ünïcode", "chg", "1234"]
    assert mark_hits("The Certificate expires", ["certif"]) == [
        ("The ", False),
        ("Certificate", True),
        (" expires", False),
    ]
    assert "".join(piece for piece, _ in mark_hits("x " * 500 + "hit", ["hit"])).endswith("hit")


def test_the_page_shows_hits_with_their_words_and_nothing_hostile(cast, changes):
    change(cast, "Reload \u202e<script>alert(1)</script>", "for the certificate & <b>more</b>")
    run_slice()
    text = cast.client("auditor").get("/audit/", {"q": "certificate", "around": "2026-08-14"}).content.decode()
    assert "<mark>certificate</mark>" in text and "<script>alert" not in text and "<b>more" not in text
    assert "\u202e" not in text and "of globex" not in text
    assert "around</span> 2026-08-14 ± 3 days" in text and f"/audit/subjects/{changes['right'].id}/" in text


def test_the_explorer_costs_the_same_whatever_it_finds(cast, changes, django_assert_max_num_queries):
    for n in range(25):
        change(cast, f"Certificate {n}", "expires", DAY + timedelta(hours=n))
    run_slice()
    client = cast.client("auditor")
    with django_assert_max_num_queries(30):
        assert b"Best first" not in client.get("/audit/", {"q": "certificate"}).content
    with django_assert_max_num_queries(30):
        assert b"Best first" in client.get("/audit/", {"q": "certificate", "page": 2}).content


def test_a_subject_page_draws_time_and_people_and_says_it_in_words(cast, changes):
    text = cast.client("auditor").get(f"/audit/subjects/{changes['other'].id}/").content.decode()
    assert "requested it" in text and "approved it" in text and text.count('class="tl-dot') == 3
    assert cast.client("auditor").get(f"/audit/subjects/{changes['foreign'].id}/").status_code == 404


def test_an_agents_owner_stands_beside_it(cast):
    about = Subject("action", uuid7())
    entry = NewEvent(cast.acme.pk, about, "action.submitted", str(cast.agent.pk), private={"title": "x", "reason": "y"})
    append_events([entry], {about.id: NO_EVENTS}, DAY)
    text = cast.client("auditor").get(f"/audit/subjects/{about.id}/").content.decode()
    assert "owner of the agent" in text and "Operator" in text


def test_an_event_page_shows_the_event_and_its_hash(cast, changes):
    event = Event.objects.get(subject_id=changes["right"].id, seq=1)
    text = cast.client("auditor").get(f"/audit/events/{event.pk}/").content.decode()
    assert "The old certificate expires" in text and "SHA-256 of its bytes" in text
    foreign = Event.objects.filter(tenant=cast.globex.pk).first()
    for pk in (foreign.pk, 10**15, 2**70):
        assert cast.client("auditor").get(f"/audit/events/{pk}/").status_code == 404


def test_a_rules_change_is_shown_before_and_after(cast):
    about = Subject("matrix_row", uuid7())
    facts = {"environment": str(cast.prod.pk), "before": [{"role": "approver", "count": 2}], "after": []}
    append_events(
        [NewEvent(cast.acme.pk, about, "matrix.row_changed", "system:setup", facts=facts)], {about.id: NO_EVENTS}, DAY
    )
    event = Event.objects.get(subject_id=about.id)
    text = cast.client("auditor").get(f"/audit/events/{event.pk}/").content.decode()
    assert "Before and after" in text and 'class="is-del"' in text


def test_searches_are_saved_shared_renamed_and_deleted_each_with_an_event(cast, changes):
    client = cast.client("auditor")
    client.post("/audit/searches/", {"name": " My  search ", "query": "?q=certificate&before=9&evil=1"})
    made = SavedSearch.objects.get()
    assert (made.name, made.query, made.is_shared) == ("My search", "q=certificate", False)
    assert client.post("/audit/searches/", {"name": "My search", "query": ""}).status_code == 409
    other = cast.client("admin")
    named = b"<span>My search</span>"
    assert named in client.get("/audit/").content and named not in other.get("/audit/").content
    assert other.post(f"/audit/searches/{made.pk}/", {"name": "mine now"}).status_code == 404
    client.post(f"/audit/searches/{made.pk}/", {"name": "Ours", "is_shared": "yes"})
    assert b"<span>Ours</span>" in other.get("/audit/").content
    assert other.post(f"/audit/searches/{made.pk}/delete/").status_code == 404
    client.post(f"/audit/searches/{made.pk}/delete/")
    assert not SavedSearch.objects.exists()
    verbs = Event.objects.filter(subject_id=made.pk).order_by("seq").values_list("verb", flat=True)
    assert list(verbs) == ["search.saved", "search.changed", "search.deleted"]


@pytest.mark.parametrize("path", ["subjects/{id}/", "searches/", "searches/{id}/", "searches/{id}/delete/"])
def test_who_may_not_audit_is_refused(cast, changes, path):
    client = cast.client("operator")
    ask = client.get if path.startswith("subjects") else client.post
    assert ask(f"/audit/{path.format(id=changes['right'].id)}").status_code == 403


def test_odd_addresses_are_read_as_if_the_odd_part_were_not_there(cast, changes):
    client = cast.client("auditor")
    for query in (
        "around=0001-01-01&days=9",
        "around=x&days=x&q=\x00",
        "page=0&q=a",
        "environment=1",
        "q=" + "x " * 200,
    ):
        assert client.get(f"/audit/?{query}").status_code == 200, query
    assert LogFilters(around="2026-08-14").event_filter().window()[1] == datetime(2026, 8, 18, tzinfo=UTC)


@pytest.mark.postgresql
def test_an_event_waits_for_those_that_may_come_before_it(transactional_db, cast):
    """An id below may still be uncommitted: the index does not step over it, unless the sealer knows better."""
    run_slice()
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE audit_event IN ROW EXCLUSIVE MODE")  # as every INSERT does, before it takes ids
            cursor.execute("SELECT nextval(pg_get_serial_sequence('audit_event', 'id'))")
            about = change(cast, "After", "it")
            assert index_batch() == 0
            Horizon.objects.update_or_create(
                pk=1, defaults={"horizon": Event.objects.get(subject_id=about.id, seq=1).pk}
            )
            assert index_batch() == 1
            cursor.execute("COMMIT")
        assert index_batch() == 1 and IndexedEvent.objects.filter(subject_id=about.id).count() == 2
    finally:
        other.close()


@pytest.mark.postgresql
def test_a_long_transaction_that_records_nothing_holds_up_no_event(transactional_db, cast):
    """Whether in this database or in another one of the same server."""
    run_slice()
    here, elsewhere = connection.copy(), connection.copy()
    elsewhere.settings_dict = {**elsewhere.settings_dict, "NAME": "postgres"}
    try:
        for idle in (here, elsewhere):
            with idle.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("SELECT pg_current_xact_id()")
        about = change(cast, "Beside", "them")
        assert index_batch() == 2 and IndexedEvent.objects.filter(subject_id=about.id).count() == 2
    finally:
        here.close()
        elsewhere.close()


def test_an_event_is_followed_to_the_signed_head_and_a_changed_leaf_is_not(cast, changes):
    while seal_all().is_more:
        pass
    event = Event.objects.get(subject_id=changes["other"].id, seq=2)
    found = prove_event(cast.acme.pk, event)
    assert found.fits and found.is_stored_hash and found.signed_by and found.steps[-1].result == found.root
    text = cast.client("auditor").get(f"/audit/events/{event.pk}/").content.decode()
    assert (
        "Verified: the signed tree head commits to exactly these bytes." in text
        and f"entry {found.log_index} of" in text
    )
    event.body = bytes(event.body).replace(b"action.preflight", b"action.approved!")
    other = prove_event(cast.acme.pk, event)
    assert other.fits is False and not other.is_stored_hash and "not the event that was signed" in other.words


def test_every_page_for_auditors_says_how_the_log_stands(cast, changes):
    client = cast.client("auditor")
    for path in ("", f"subjects/{changes['right'].id}/", "reports/", "controls/"):
        assert b'id="integrity"' in client.get(f"/audit/{path}").content, path
    assert describe_integrity(Integrity(False, 9, 0, None, "entry 3 was edited")).look == "bad"
    assert describe_integrity(Integrity(True, 9, 90.0, None, "")).look == "warn"
    assert describe_integrity(Integrity(True, 9, 0.0, None, "")).words == "Verified"
