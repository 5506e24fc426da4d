import re
from datetime import timedelta

import pytest
from django.contrib.auth.tokens import default_token_generator
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from audit.models import Event
from tenants.models import FailedSignIns, Principal
from tenants.roles import add_member

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough pass phrase"
URL = "/account/sign-in/"


@pytest.fixture
def operator(cast):
    cast.operator.set_password(PASSWORD)
    cast.operator.save()
    return cast.operator


def attempt(client, name="operator", password=PASSWORD, **extra):
    return client.post(URL, {"username": name, "password": password, **extra})


def verbs(principal):
    return list(Event.objects.filter(subject_id=principal.pk).order_by("seq").values_list("verb", flat=True))


def test_the_right_password_begins_a_fresh_session_and_leaves_an_event(client, operator):
    client.session["marker"] = 1
    client.session.save()
    before = client.session.session_key
    assert attempt(client, next="/account/tokens/").headers["Location"] == "/account/tokens/"
    assert client.session["_auth_user_id"] == str(operator.pk)
    assert client.session.session_key != before
    assert verbs(operator)[-1] == "principal.signed_in"


def test_a_foreign_next_is_not_followed(client, operator):
    assert attempt(client, next="https://evil.test/").headers["Location"] == "/"


def test_the_page_says_the_same_of_a_wrong_password_and_an_unknown_name(client, operator):
    wrong = attempt(client, password="wrong").content
    unknown = attempt(client, name="operatox", password="wrong").content
    strip = re.compile(rb'(value|content)="[^"]*"|operato[rx]')
    assert b"incorrect" in wrong
    assert strip.sub(b"", wrong) == strip.sub(b"", unknown)
    assert "_auth_user_id" not in client.session


def test_nobody_signs_in_as_an_agent_or_as_who_is_inactive(client, cast, operator):
    Principal.objects.filter(pk=cast.agent.pk).update(password=operator.password)
    assert b"incorrect" in attempt(client, name="agent").content
    Principal.objects.filter(pk=operator.pk).update(is_active=False)
    assert b"incorrect" in attempt(client).content
    assert "_auth_user_id" not in client.session


def test_after_five_failures_even_the_right_password_waits(client, operator):
    for _ in range(5):
        attempt(client, password="wrong")
    response = attempt(client)
    assert b"Too many attempts" in response.content
    assert "_auth_user_id" not in client.session
    assert "principal.sign_in_throttled" in verbs(operator)
    FailedSignIns.objects.update(refused_until=timezone.now() - timedelta(seconds=1))
    assert attempt(client).status_code == 302
    assert not FailedSignIns.objects.exists()


def test_an_unknown_name_is_throttled_just_the_same(client, operator):
    for _ in range(5):
        attempt(client, name="nobody", password="wrong")
    assert b"Too many attempts" in attempt(client, name="NOBODY").content
    assert not FailedSignIns.objects.filter(key__icontains="nobody").exists()


def test_failures_from_one_address_do_not_shut_out_another(client, operator):
    for _ in range(6):
        attempt(client, password="wrong")
    assert attempt(Client(REMOTE_ADDR="10.0.0.9")).status_code == 302


def test_old_failures_are_forgotten(client, operator):
    for _ in range(4):
        attempt(client, password="wrong")
    FailedSignIns.objects.update(last_at=timezone.now() - timedelta(minutes=16))
    attempt(client, password="wrong")
    assert attempt(client).status_code == 302


def test_signing_out_takes_a_post_and_ends_the_session(cast):
    client = cast.client("operator")
    assert client.get("/account/sign-out/").status_code == 405
    assert client.post("/account/sign-out/").headers["Location"] == URL
    assert "_auth_user_id" not in client.session
    assert verbs(cast.operator)[-1] == "principal.signed_out"


def test_changing_the_password_ends_the_other_sessions(operator):
    here, elsewhere = Client(), Client()
    attempt(here)
    attempt(elsewhere)
    new = "another long pass phrase"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert here.post("/account/password/", form).status_code == 302
    assert here.get("/account/tokens/").status_code == 200
    assert elsewhere.get("/account/tokens/").status_code == 302
    assert verbs(operator)[-1] == "principal.password_changed"


def test_a_short_password_is_refused_with_words(operator):
    client = Client()
    attempt(client)
    form = {"old_password": PASSWORD, "new_password1": "short", "new_password2": "short"}
    response = client.post("/account/password/", form)
    assert b"too short" in response.content
    operator.refresh_from_db()
    assert operator.check_password(PASSWORD)


def test_a_reset_link_sets_the_password_once(client, operator, cast):
    answer = client.post("/account/password/reset/", {"email": "operator@example.test"})
    assert answer.headers["Location"] == "/account/password/reset/sent/"
    link = re.search(r"http://testserver(\S+)", mail.outbox[0].body)[1]
    page = client.get(link, follow=True)
    new = "yet another pass phrase"
    path = page.redirect_chain[-1][0]
    assert client.post(path, {"new_password1": new, "new_password2": new}).headers["Location"] == URL
    assert attempt(client, password=new).status_code == 302
    assert "principal.password_set" in verbs(operator)
    assert b"Link expired" in Client().get(link, follow=True).content


def test_an_unknown_address_gets_the_same_answer_and_no_mail(client, operator):
    for email in ("nobody@example.test", "operator@example.test"):
        assert client.post("/account/password/reset/", {"email": email}).status_code == 302
    assert [message.to for message in mail.outbox] == [["operator@example.test"]]


def test_asking_again_and_again_stops_the_mails_and_not_the_answer(client, operator):
    for _ in range(8):
        assert client.post("/account/password/reset/", {"email": "operator@example.test"}).status_code == 302
    assert len(mail.outbox) == 5


def test_no_link_sets_the_password_of_an_agent(client, cast):
    uid = urlsafe_base64_encode(force_bytes(cast.agent.pk))
    link = reverse("password_reset_confirm", args=[uid, default_token_generator.make_token(cast.agent)])
    assert b"Link expired" in client.get(link, follow=True).content


def test_switching_goes_only_to_ones_own_tenants(cast):
    client = cast.client("operator")
    for slug in ("globex", "nowhere"):
        client.post("/account/tenant/", {"tenant": slug})
        assert "tenant" not in client.session
    add_member(cast.operator, cast.globex.roles.get(name="auditor"))
    client.post("/account/tenant/", {"tenant": "globex"})
    assert client.session["tenant"] == "globex"
    assert client.post("/account/tenant/", {"tenant": "acme", "next": "//evil.test"}).headers["Location"] == "/"


def test_forms_refuse_to_be_sent_from_elsewhere(cast):
    client = cast.client("operator", enforce_csrf_checks=True)
    for url in (
        "/account/sign-in/",
        "/account/sign-out/",
        "/account/tenant/",
        "/account/password/",
        "/account/tokens/",
    ):
        assert client.post(url, {}).status_code == 403
