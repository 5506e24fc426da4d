"""The matrix: read by everybody who may view, drafted by who administers, never changed in place."""

from typing import Any

from approvals.models import MatrixDraft, MatrixRow
from approvals.policies import drafts
from audit.log.canonical_json import digest_of
from audit.models import Event
from tests.cast import Cast
from tests.policies.factory import SETUP, TWO

EDIT = "/policies/matrix/prod/edit/"


def body(answer: Any) -> str:
    return str(answer.content.decode())


def form(**more: Any) -> dict[str, Any]:
    return {"low": "nobody", "medium": "denied", "high": "roles", "high:approver": "2", "critical": "denied", **more}


def test_the_matrix_says_who_is_asked_and_what_is_denied(cast: Cast) -> None:
    MatrixRow.objects.create(tenant=cast.acme, environment=cast.prod, tier="low", required_approvals=[])
    MatrixRow.objects.create(tenant=cast.acme, environment=cast.prod, tier="high", required_approvals=TWO)
    html = body(cast.client("operator").get("/policies/matrix/"))
    assert "2 × approver" in html and html.count("<b>No approval</b>") == 1 and html.count("<b>Denied</b>") == 10
    assert "globex" not in html and "Draft a change" not in html


def test_a_draft_is_saved_with_an_event_and_changes_nothing(cast: Cast) -> None:
    sent = cast.client("admin").post(EDIT, form())
    made = MatrixDraft.objects.get()
    assert (sent.status_code, sent["Location"]) == (302, f"/policies/matrix/drafts/{made.pk}/")
    assert made.rows == {"low": [], "high": TWO} and made.author == cast.admin
    assert Event.objects.filter(verb="matrix.drafted", subject_id=cast.prod.pk).count() == 1
    assert not MatrixRow.objects.exists()
    html = body(cast.client("admin").get("/policies/matrix/"))
    assert f"/policies/matrix/{made.pk}/propose/" in html and f"/policies/matrix/drafts/{made.pk}/" in html


def test_the_editor_starts_from_what_is_in_force_and_shows_the_difference(cast: Cast) -> None:
    MatrixRow.objects.create(tenant=cast.acme, environment=cast.prod, tier="high", required_approvals=TWO)
    client = cast.client("admin")
    html = body(client.get(EDIT))
    assert 'name="high:approver" value="2"' in html and "No difference" in html
    made = drafts.draft_matrix(cast.prod, {"high": TWO, "low": []}, by=SETUP)
    html = body(client.get(f"/policies/matrix/drafts/{made.pk}/"))
    assert "No difference" not in html and "diff--unified" in html


def test_what_is_wrong_is_told_and_stays_as_typed(cast: Cast) -> None:
    client = cast.client("admin")
    for more in (
        {"high:approver": ""},
        {"high:approver": "two"},
        {"high:nobody": "1"},
        {"low": "perhaps"},
        {"low": ""},
    ):
        sent = client.post(EDIT, form(**more))
        assert sent.status_code == 422 and "Nothing was saved" in body(sent), more
    html = body(client.post(EDIT, form(**{"high:nobody": "1"})))
    assert "may not approve here" in html and 'name="high:nobody" value="1"' in html
    assert not MatrixDraft.objects.exists()


def test_an_edit_from_an_older_state_is_refused_with_both(cast: Cast) -> None:
    draft, client = drafts.draft_matrix(cast.prod, {"high": TWO}, by=SETUP), cast.client("admin")
    address, seen = f"/policies/matrix/drafts/{draft.pk}/", digest_of({"high": TWO})
    drafts.edit_matrix_draft(draft.pk, {}, by=cast.access("admin"))
    sent = client.post(address, form(seen=seen))
    draft.refresh_from_db()
    assert (sent.status_code, draft.rows) == (409, {}) and "changed this draft" in body(sent)
    assert client.post(address, form(seen=digest_of({}))).status_code == 302
    draft.refresh_from_db()
    assert draft.rows == {"low": [], "high": TWO}


def test_what_follows_saves_first_and_giving_up_is_once(cast: Cast) -> None:
    client = cast.client("admin")
    sent = client.post(EDIT, form(then="propose"))
    made = MatrixDraft.objects.get()
    assert sent["Location"] == f"/policies/matrix/{made.pk}/propose/"
    address = f"/policies/matrix/drafts/{made.pk}/abandon/"
    assert client.post(address)["Location"] == "/policies/matrix/" and client.post(address).status_code == 409
    assert client.get(f"/policies/matrix/drafts/{made.pk}/").status_code == 409


def test_who_does_not_administer_edits_nothing_and_a_stranger_finds_nothing(cast: Cast) -> None:
    draft = drafts.draft_matrix(cast.staging, {}, by=SETUP)
    for client, status in ((cast.client("operator"), 403), (cast.client("outsider"), 404)):
        assert client.post(f"/policies/matrix/drafts/{draft.pk}/", form()).status_code == status
        assert client.post(f"/policies/matrix/drafts/{draft.pk}/abandon/").status_code == status
        assert client.post("/policies/matrix/staging/edit/", form()).status_code == status
    assert MatrixDraft.objects.count() == 1
