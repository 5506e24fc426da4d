"""The editor of policies: checked live, kept when refused, never in force by itself."""

from typing import Any

import pytest

from approvals.models import PolicyVersion
from approvals.policies import drafts
from approvals.policies.policy_text import fingerprint, policy_text_of
from audit.models import Event
from tests.cast import Cast
from tests.policies.factory import drafted, policy_text, published

NEW = "/policies/new/"


def form(**more: Any) -> dict[str, Any]:
    said = {
        "slug": "no-deletes",
        "expression": "plan.deletes > 0",
        "effect": "deny",
        "message": "No.",
        "mode": "shadow",
    }
    return {**said, **more}


def body(answer: Any) -> str:
    return str(answer.content.decode())


def test_saving_makes_a_draft_with_an_event_and_nothing_is_in_force(cast: Cast) -> None:
    sent = cast.client("admin").post(NEW, form())
    made = PolicyVersion.objects.get()
    assert (sent.status_code, sent["Location"]) == (302, f"/policies/drafts/{made.pk}/")
    assert (made.state, made.mode, made.author, made.overridable) == ("draft", "shadow", cast.admin, False)
    assert Event.objects.filter(verb="policy.drafted", subject_id=made.policy_id).count() == 1
    assert body(cast.client("admin").get(sent["Location"])).count("no-deletes") > 1


def test_what_is_wrong_is_told_with_line_and_column_and_what_was_typed_stays(cast: Cast) -> None:
    typed = form(expression="plan.deletes > 0\n  && plan.deleets > 1", message="", overridable="on", slug="Bad Name")
    sent = cast.client("admin").post(NEW, typed)
    html = body(sent)
    assert sent.status_code == 422 and not PolicyVersion.objects.exists()
    assert "Line 2, column" in html and "plan.deleets &gt; 1" in html and 'value="Bad Name"' in html
    assert 'name="overridable" checked' in html
    sent = cast.client("admin").post(NEW, form(expression="plan.deletes >", message=""))
    assert "State the problem and what to do" in body(sent)


def test_approvals_are_asked_for_by_role_and_refused_when_nobody_could_fill_them(cast: Cast) -> None:
    client = cast.client("admin")
    sent = client.post(NEW, form(effect="require", **{"approval:approver": "2", "approval:security": ""}))
    assert sent.status_code == 302 and PolicyVersion.objects.get().required_approvals == [
        {"role": "approver", "count": 2}
    ]
    for counts in (
        {},
        {"approval:approver": "many"},
        {"approval:approver": "-1"},
        {"approval:nobody": "1"},
        {"approval:approver": "9999"},
    ):
        sent = client.post(NEW, form(slug="other", effect="require", **counts))
        assert sent.status_code == 422, counts
    assert 'value="9999"' in body(sent)
    client.post(NEW, form(slug="other", effect="deny", **{"approval:approver": "2"}))
    assert PolicyVersion.objects.get(policy__slug="other").required_approvals == []


def test_an_edit_is_saved_and_one_from_an_older_state_is_refused_with_both_texts(cast: Cast) -> None:
    draft, client = drafted(cast.acme), cast.client("admin")
    address, seen = f"/policies/drafts/{draft.pk}/", fingerprint(policy_text_of(draft))
    assert f'name="seen" value="{seen}"' in body(client.get(address))
    drafts.edit_policy_draft(draft.pk, policy_text(message="Someone else was here."), by=cast.access("admin"))
    sent = client.post(address, form(message="My own words.", mode="enforce", seen=seen))
    html = body(sent)
    draft.refresh_from_db()
    assert sent.status_code == 409 and draft.message == "Someone else was here."
    assert "Someone else" in html and "My own words." in html and "changed this draft" in html
    again = fingerprint(policy_text_of(draft))
    assert f'name="seen" value="{again}"' in html
    assert client.post(address, form(message="My own words.", mode="enforce", seen=again)).status_code == 302
    draft.refresh_from_db()
    assert draft.message == "My own words."


@pytest.mark.parametrize("then", ["evaluate", "backtest", "propose"])
def test_what_follows_saves_first(cast: Cast, then: str) -> None:
    draft = drafted(cast.acme)
    sent = cast.client("admin").post(f"/policies/drafts/{draft.pk}/", form(message="Kept.", then=then))
    draft.refresh_from_db()
    assert (sent["Location"], draft.message) == (f"/policies/policy/{draft.pk}/{then}/", "Kept.")
    assert cast.client("admin").post(NEW, form(slug="n", then="//evil.example"))["Location"].startswith("/policies/")


def test_a_draft_is_given_up_once(cast: Cast) -> None:
    draft, client = drafted(cast.acme), cast.client("admin")
    address = f"/policies/drafts/{draft.pk}/"
    assert "Abandon this draft?" in body(client.get(address))
    assert client.get(f"{address}abandon/").status_code == 405
    assert client.post(f"{address}abandon/")["Location"] == f"/policies/{draft.policy_id}/"
    draft.refresh_from_db()
    assert draft.state == "abandoned"
    assert client.post(f"{address}abandon/").status_code == 409
    assert client.get(address)["Location"] == f"/policies/{draft.policy_id}/"
    assert client.post(address, form()).status_code == 409


def test_the_next_version_starts_from_an_earlier_one_and_keeps_its_name(cast: Cast) -> None:
    first, client = published(cast.acme), cast.client("admin")
    html = body(client.get(f"{NEW}?from={first.pk}"))
    assert "plan.deletes &gt; 0" in html and "next version" in html and "version: 2" in html
    client.post(NEW, form(**{"from": str(first.pk), "slug": "another-name"}))
    made = PolicyVersion.objects.get(state="draft")
    assert (made.policy_id, made.version) == (first.policy_id, 2)
    assert client.get(f"{NEW}?from=nonsense").status_code == 404


def test_the_live_check_shows_every_fault_and_how_it_reads_and_stores_nothing(cast: Cast) -> None:
    client = cast.client("admin")
    html = body(client.post("/policies/check/", form(expression="plan.deleets > 0 ||\nblast.scroe > 1")))
    assert "Line 1, column 5" in html and "Line 2, column 6" in html and html.count("^") == 2
    html = body(client.post("/policies/check/", form(effect="require", mode="enforce", **{"approval:approver": "2"})))
    assert "Valid: all names" in html and "requires 2 × approver in addition" in html and "role: approver" in html
    assert "Write an expression" in body(client.post("/policies/check/", {}))
    assert not PolicyVersion.objects.exists() and not Event.objects.filter(subject_kind="policy").exists()


@pytest.mark.parametrize(
    "expression",
    ["<script>alert(1)</script>", "\u202eplan", "x" * 5_000, "\x00\x07", "\ud800", "[" * 900, "\t\t☃ > 🙂"],
)
def test_the_live_check_survives_hostile_expressions(cast: Cast, expression: str) -> None:
    typed = expression.encode("utf-8", "replace").decode()
    answer = cast.client("admin").post("/policies/check/", form(expression=typed, version="99999999999"))
    html = body(answer)
    assert answer.status_code == 200 and "Line 1" in html
    assert "<script>" not in html and "\u202e" not in html


def test_readers_read_a_draft_and_change_nothing(cast: Cast) -> None:
    draft, client = drafted(cast.acme), cast.client("operator")
    address = f"/policies/drafts/{draft.pk}/"
    html = body(client.get(address))
    assert "Read only. Admins of" in html and "Save draft" not in html and "abandon-form" not in html
    assert client.post(address, form(message="Mine.")).status_code == 403
    assert client.post(f"{address}abandon/").status_code == 403
    assert client.post("/policies/check/", form()).status_code == 403
    assert client.get(NEW).status_code == 403 and client.post(NEW, form()).status_code == 403
    draft.refresh_from_db()
    assert (draft.state, draft.message) == ("draft", "Nothing is deleted.")


def test_a_foreign_draft_is_as_unknown_as_one_that_never_was(cast: Cast) -> None:
    draft, client = drafted(cast.acme), cast.client("outsider")
    for address in (f"/policies/drafts/{draft.pk}/", f"/policies/drafts/{draft.pk}/abandon/"):
        assert client.post(address, form()).status_code == 404


def test_the_state_of_the_backtest_is_told_beside_the_buttons(cast: Cast) -> None:
    draft = drafted(cast.acme)
    html = body(cast.client("admin").get(f"/policies/drafts/{draft.pk}/"))
    assert "Not backtested yet." in html and f"/policies/policy/{draft.pk}/backtest/" in html
