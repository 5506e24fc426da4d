"""A policy guards more than one environment: who may propose to change it, and where that is decided.

Nobody who administers one lenient environment has the rules of all the others changed there, by its people.
"""

import pytest

from actions.models import Action
from approvals.models import PolicyVersion
from approvals.policies.drafts import draft_matrix
from approvals.policies.matrix import set_row
from tenants.provisioning import create_environment
from tenants.roles import add_member, create_role, grant, remove_member
from tests.policies.factory import SETUP, TWO, backtested, drafted, published

WORDS = {"tenant": "only an admin of the whole tenant", "everywhere": "only a signed-in admin of all tenants"}


@pytest.fixture
def dev_admin(cast):
    """The operator administers dev, where one weak role decides, and prod: each by itself, and nothing else."""
    weak = create_role(cast.acme, "interns")
    grant(weak, cast.dev, ["view", "approve"])
    set_row(cast.dev, "critical", [{"role": "interns", "count": 2}], by=SETUP)
    local = create_role(cast.acme, "dev-admin")
    for place in (cast.dev, cast.prod):
        grant(local, place, ["view", "propose", "administer"])
    add_member(cast.operator, local)
    return cast


def proposed(cast, who: str, kind: str, draft, environment: str) -> tuple[int, str]:
    """As a raw action, by API."""
    body = {"type": "config_change", "environment": environment, "reason": "why"}
    sent = {**body, "parameters": {"kind": kind, "draft": str(draft.pk)}}
    answer = cast.api(who).post("/api/actions", sent, content_type="application/json")
    told = answer.json()
    return answer.status_code, " ".join([told.get("detail", ""), *(i["message"] for i in told.get("issues", []))])


@pytest.mark.parametrize("kind", ["policy", "retire"])
@pytest.mark.parametrize(("environment", "told"), [("dev", "propose it in prod"), ("prod", WORDS["tenant"])])
def test_who_administers_environments_one_by_one_changes_no_policy(dev_admin, kind, environment, told):
    cast = dev_admin
    version = backtested(published(cast.acme) if kind == "retire" else drafted(cast.acme), kind)
    status, words = proposed(cast, "operator", kind, version, environment)
    assert status == (422 if environment == "dev" else 403) and told in words
    page = cast.client("operator").post(
        f"/policies/{kind}/{version.pk}/propose/", {"environment": environment, "reason": "why"}
    )
    assert page.status_code in (403, 422)
    assert not Action.objects.exists()


@pytest.mark.parametrize("kind", ["policy", "retire"])
@pytest.mark.parametrize("environment", ["dev", "staging"])
def test_a_policy_is_decided_about_where_most_care_is_taken(cast, kind, environment):
    version = backtested(published(cast.acme) if kind == "retire" else drafted(cast.acme), kind)
    status, words = proposed(cast, "admin", kind, version, environment)
    assert status == 422 and "propose it in prod" in words
    form = cast.client("admin").get(f"/policies/{kind}/{version.pk}/propose/").content.decode()
    assert 'value="prod"' in form and f'value="{environment}"' not in form
    assert not Action.objects.exists()
    assert proposed(cast, "admin", kind, version, "prod")[0] == 201


def test_a_matrix_is_still_its_own_environments_business(dev_admin):
    draft = backtested(draft_matrix(dev_admin.dev, {"critical": TWO}, by=SETUP))
    assert proposed(dev_admin, "operator", "matrix", draft, "dev")[0] == 201


@pytest.mark.parametrize("kind", ["policy", "retire"])
def test_a_global_policy_takes_who_administers_every_tenant_signed_in(cast, kind):
    make = published if kind == "retire" else drafted
    version = backtested(make(cast.acme, "everywhere", everywhere=True), kind)
    address, sent = f"/policies/{kind}/{version.pk}/propose/", {"environment": "prod", "reason": "why"}
    status, words = proposed(cast, "admin", kind, version, "prod")
    assert (status, WORDS["everywhere"] in words) == (403, True), words
    assert cast.client("admin").post(address, sent).status_code in (403, 422) and not Action.objects.exists()
    theirs = cast.globex.roles.get(name="admin")
    add_member(cast.admin, theirs)
    assert proposed(cast, "admin", kind, version, "prod")[0] == 403, "a token belongs to one tenant"
    browser = cast.client("admin")
    browser.post("/account/tenant/", {"tenant": "acme"})
    session = browser.session
    session["tenant"] = "acme"
    session.save()
    assert browser.post(address, sent).status_code == 302
    assert Action.objects.get().parameters["kind"] == kind
    remove_member(cast.admin, theirs)
    assert PolicyVersion.objects.get().state == ("published" if kind == "retire" else "draft")


def test_an_environment_made_for_the_purpose_decides_about_no_policy(cast):
    """A tenant admin adds environments alone; in a new one without a matrix no rule of prod is loosened."""
    version = backtested(drafted(cast.acme))
    lab = create_environment(cast.acme, "lab", "Laboratory", "dangerous", cast.dev.root + "-lab")
    assert proposed(cast, "admin", "policy", version, "lab")[0] == 201, "neither has a row of its own"
    set_row(cast.prod, "critical", [*TWO, {"role": "security", "count": 1}], by=SETUP)
    status, words = proposed(cast, "admin", "policy", version, "lab")
    assert status == 422 and "propose it in prod" in words
    set_row(lab, "critical", [{"role": "approver", "count": 1}], by=SETUP)
    assert proposed(cast, "admin", "policy", version, "lab")[0] == 422
