"""Keeping and letting go: admins say it, auditors see it, and a person's words are gone from every floor."""

from pathlib import Path
from typing import Any

import pytest

from actions.models import Action
from approvals.models import Comment
from audit.models import Event, PrivateValue
from audit.models.seals import Archive, LegalHold
from audit.retention import archives
from audit.retention.archives import write_archive
from audit.seals.sealer import seal_all
from tenants.models import Principal
from tests.actions.factory import edit, propose
from tests.api.conftest import carry, place, program
from tests.cast import Cast

__all__ = ["carry", "place", "program"]
pytestmark = pytest.mark.django_db
PAGE, SAY = "/audit/retention/", "/audit/retention/change/"


def test_an_admin_says_how_long_and_what_is_held_and_an_auditor_sees_it(cast: Cast) -> None:
    admin, auditor = cast.client("admin"), cast.client("auditor")
    assert admin.post(SAY, {"do": "keep", "keep_days": "365"}).status_code == 302
    assert admin.post(SAY, {"do": "hold", "reason": "case <b>7"}).status_code == 302
    html = auditor.get(PAGE).content.decode()
    assert "365 days" in html and "case &lt;b&gt;7" in html and "All events" in html and "Erase permanently" not in html
    for do in ({"do": "keep", "keep_days": ""}, {"do": "hold", "reason": "x"}, {"do": "erase"}):
        assert auditor.post(SAY, do).status_code == 403
    held = LegalHold.objects.get()
    assert admin.post(SAY, {"do": "lift", "hold": str(held.pk)}).status_code == 302
    assert "No legal hold" in auditor.get(PAGE).content.decode()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"do": "keep", "keep_days": "7"}, "Between 30 and"),
        ({"do": "keep", "keep_days": "soon"}, "Between 30 and"),
        ({"do": "hold", "reason": " "}, "A legal hold needs a reason."),
        ({"do": "hold", "reason": "x", "subject": "nobody"}, "not an id"),
        ({"do": "lift", "hold": "01900000-0000-7000-8000-000000000000"}, "Not found"),
        ({"do": "erase", "principal": "x", "reason": "y"}, "not an id"),
        ({"do": "nothing"}, "Choose what to do"),
    ],
)
def test_what_cannot_be_is_refused_in_words(cast: Cast, said: dict[str, str], words: str) -> None:
    answer = cast.client("admin").post(SAY, said)
    assert 400 <= answer.status_code < 500 and words in answer.content.decode()


def test_a_persons_words_go_from_every_floor_and_the_log_stays(place: Cast) -> None:
    action = propose(place, parameters=edit(operation="create"), reason="Ada asked me to")
    Comment.objects.create(
        tenant=place.acme,
        environment=action.environment,
        subject_kind="action",
        subject_id=action.pk,
        digest="0" * 64,
        author=place.operator,
        text="as Ada said",
        at=action.created_at,
    )
    events = Event.objects.count()
    body: dict[str, Any] = {"principal": str(place.operator.pk), "reason": "she asked"}
    api = place.api("admin")
    refused = api.post("/api/erasures", body, content_type="application/json")
    assert refused.status_code == 409 and "Deactivate" in refused.json()["remedies"][0]
    assert PrivateValue.objects.exclude(erased_at=None).count() == 0, "nothing was half done"
    Principal.objects.filter(pk=place.operator.pk).update(is_active=False)
    erased = api.post("/api/erasures", body, content_type="application/json").json()["erased"]
    assert erased["values"] >= 2 and erased["actions"] == erased["comments"] == erased["names"] == 1
    action = Action.objects.get(pk=action.pk)
    assert (action.title, action.reason) == ("(erased)", "(erased)")
    assert Comment.objects.get().text == "" and "erased" in Principal.objects.get(pk=place.operator.pk).username
    assert Event.objects.count() > events
    unknown = api.post(
        "/api/erasures", {**body, "principal": str(action.pk)[:-4] + "0000"}, content_type="application/json"
    )
    assert unknown.status_code == 404


def test_an_archive_is_downloaded_whole(cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "archive_directory", lambda tenant: tmp_path)
    seal_all()
    made = write_archive(cast.acme.pk, 0)
    assert made is not None
    assert made.file in cast.client("auditor").get(PAGE).content.decode()
    (row,) = cast.api("auditor").get("/api/retention").json()["archives"]
    got = b"".join(cast.api("auditor").get(f"/api/archives/{row['id']}").streaming_content)
    assert len(got) == made.size and got == (tmp_path / made.file).read_bytes()
    (tmp_path / made.file).unlink()
    answer = cast.client("auditor").get(f"/audit/archives/{made.pk}/")
    assert answer.status_code == 503 and made.sha256 in answer.content.decode()
    Archive.objects.update(tenant=cast.globex.pk)
    assert cast.client("auditor").get(f"/audit/archives/{made.pk}/").status_code == 404
