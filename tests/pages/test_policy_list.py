"""The list of policies, and the history of one."""

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from actions.pages.policies.policies import example_policies
from approvals.policies.drafts import abandon_policy_draft
from approvals.policies.publish import publish, retire
from approvals.policies.sandbox.process import check_expression
from tests.cast import Cast
from tests.pages.conftest import Propose
from tests.policies.factory import SETUP, TWO, drafted, published


def page(cast: Cast, who: str, address: str = "/policies/", status: int = 200) -> str:
    answer = cast.client(who).get(address)
    assert answer.status_code == status, answer.content.decode()[:500]
    return str(answer.content.decode())


def test_each_policy_says_what_it_does_and_whether_it_counts(cast: Cast) -> None:
    published(cast.acme, "no-deletes")
    published(cast.acme, "two-more", effect="require", required_approvals=TWO, overridable=True, mode="shadow")
    published(cast.globex, "everywhere", everywhere=True, effect="warn")
    drafted(cast.acme, "no-deletes", message="Sharper.")
    html = page(cast, "operator")
    assert "Denies the action" in html and ">Enforce<" in html
    assert "Would have required 2 × approver in addition" in html and "Shadow" in html
    assert "Global" in html and html.count("</span>") and "v2" in html
    assert html.count("Hard</span>") == 1 and html.count("Overridable</span>") == 1


def test_what_is_overridable_is_never_called_hard(cast: Cast) -> None:
    version = published(cast.acme, overridable=True)
    for address in ("/policies/", f"/policies/{version.policy_id}/"):
        html = page(cast, "admin", address)
        assert "Overridable" in html and "Hard" not in html


def test_the_empty_list_explains_itself_and_offers_three_examples_that_read(cast: Cast) -> None:
    html = page(cast, "admin")
    assert "No policies yet" in html and html.count("Use this example") == 3
    for example in example_policies(cast.access("admin")):
        assert check_expression(example["policy_text"].expression) == []
        assert example["slug"] in page(cast, "admin", f"/policies/new/?example={example['slug']}")
    assert "Use this example" not in page(cast, "operator")


def test_readers_are_offered_no_change(cast: Cast) -> None:
    version = published(cast.acme)
    for address in ("/policies/", f"/policies/{version.policy_id}/", "/policies/matrix/"):
        html = page(cast, "operator", address)
        assert "New policy" not in html and "Draft next version" not in html and "Draft a change" not in html
    assert "Draft next version" in page(cast, "admin", f"/policies/{version.policy_id}/")


def test_the_list_is_narrowed(cast: Cast) -> None:
    published(cast.acme, "no-deletes")
    drafted(cast.acme, "slow-down", effect="warn", mode="shadow", message="Slowly.")
    assert "slow-down" not in page(cast, "operator", "/policies/?effect=deny")
    assert "no-deletes" not in page(cast, "operator", "/policies/?mode=shadow")
    assert "no-deletes" not in page(cast, "operator", "/policies/?q=SLOWLY")
    assert "slow-down" in page(cast, "operator", "/policies/?standing=draft")
    assert "No match" in page(cast, "operator", "/policies/?q=zzz%01")


def test_another_tenants_policies_are_not_there(cast: Cast) -> None:
    theirs = published(cast.acme, "acme-secret")
    shared = published(cast.acme, "shared-one", everywhere=True)
    drafted(cast.acme, "shared-one", everywhere=True, message="Not for globex.")
    html = page(cast, "outsider")
    assert "acme-secret" not in html and "shared-one" in html and ">v2<" not in html
    page(cast, "outsider", f"/policies/{theirs.policy_id}/", 404)
    history = page(cast, "outsider", f"/policies/{shared.policy_id}/")
    assert "Not for globex" not in history and "What happened" not in history and "Setup" not in history


def test_how_often_it_applied_is_counted(place: Cast, propose: Propose) -> None:
    published(place.acme, "notes", expression='action.type == "modify_files"', effect="warn")
    published(place.acme, "never", expression="plan.deletes > 99", effect="warn")
    propose("prod")
    propose("staging")
    html = page(place, "operator")
    assert "2 of 2" in html and "0 of 2" in html


def test_the_list_takes_a_fixed_number_of_queries(cast: Cast) -> None:
    client = cast.client("operator")

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            client.get("/policies/")
        return len(seen)

    published(cast.acme, "one")
    first = queries()
    for n in range(5):
        published(cast.acme, f"more-{n}")
        drafted(cast.acme, f"more-{n}", message="next")
    assert queries() == first


def test_the_history_shows_each_version_against_the_one_before(cast: Cast) -> None:
    first = published(cast.acme)
    second = published(cast.acme, message="Nothing at all is deleted.")
    third = drafted(cast.acme, expression="plan.deletes > 3")
    abandon_policy_draft(third.pk, by=cast.access("admin"))
    html = page(cast, "admin", f"/policies/{first.policy_id}/")
    assert "Nothing <mark>at all </mark>is deleted" in html or "at all" in html
    assert "Propose v1 again" in html and "Propose retirement" in html and "Abandoned" in html
    assert f"/policies/policy/{first.pk}/propose/" in html and f"/policies/retire/{second.pk}/propose/" in html
    assert "put version 2 in force instead of version 1" in html and "<b>Admin</b> abandoned version 3" in html


def test_a_retired_policy_says_so(cast: Cast) -> None:
    version = published(cast.acme)
    retire(version.pk, None, SETUP)
    html = page(cast, "admin", f"/policies/{version.policy_id}/")
    assert "Retired" in html and "Propose retirement" not in html and "took version 1 out of force" in html
    publish(version.pk, None, SETUP, expected=None)
    assert "Propose retirement" in page(cast, "admin", f"/policies/{version.policy_id}/")


def test_hostile_texts_stay_texts(cast: Cast) -> None:
    version: Any = published(cast.acme, message="<script>alert(1)</script> \u202egnihton")
    for address in ("/policies/", f"/policies/{version.policy_id}/"):
        html = page(cast, "admin", address)
        assert "<script>alert" not in html and "\u202e" not in html
