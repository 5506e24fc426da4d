"""
A tenant is an island: whatever exists in another one answers exactly as what never was.

Walks the whole URL table and every socket. A route that is not in the tables of `tests.house.routes` fails: say what it
is about, and it is walked like the others.
"""

import re
import uuid
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db import connection, reset_queries, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from actions.controls.quarantine import put_in_quarantine
from actions.live.news import database_async
from actions.live.sockets import websocket_urlpatterns
from actions.models import Action, Backtest, CircuitBreaker, ConcurrencyLimit, Incident, IncidentRule, Webhook
from approvals.models import ApprovalSettings, BlastWeights, MatrixRow, NotificationRule
from approvals.policies.drafts import draft_matrix
from audit.auditor.explore.saved_searches import create
from audit.auditor.reports.runs import request_report
from audit.auditor.reports.schedules import create as schedule
from audit.auditor.streams.commands import StreamRequest
from audit.auditor.streams.commands import create as create_stream
from audit.log.artifacts import store_artifact
from audit.models import Event
from audit.models.auditor import Stream
from audit.models.seals import Archive, HeadTarget, SignedTreeHead
from audit.retention.erasure import set_hold
from audit.verification import jobs
from config.asgi import application
from tenants.access import access_for
from tenants.audit_hooks.events import SETUP_ACTOR
from tenants.authentication.tokens import issue_token
from tenants.models import PERMISSIONS, Principal
from tenants.roles import add_member
from tests.api.conftest import carry, place, program
from tests.house.routes import (
    API,
    BY_METHODS,
    OBJECTS,
    OPEN,
    PAGES,
    SOCKETS,
    TRACE,
    UNBUILT,
    MethodsOf,
    answered_methods,
    routes,
)
from tests.policies.factory import backtested, drafted

__all__ = ["carry", "place", "program"]


def is_admin_object(route: str) -> bool:
    return route.startswith("admin/") and "<path:" in route


@dataclass
class World:
    """Acme's things, and an outsider who may do everything in globex, with a token and a session, staff too."""

    foreign: dict[str, Any]
    outsider: Principal
    clients: dict[str, Client]
    owners: dict[str, Client]

    def pair(self, what: str) -> list[dict[str, str]]:
        """Fillings for a route's parameters: a thing of acme's, and one that never was."""
        thing = self.foreign[what]
        return [_filling(thing), _filling(987_654_321 if isinstance(thing, int) else uuid.uuid4())]


def _filling(value: Any) -> dict[str, str]:
    person = urlsafe_base64_encode(force_bytes(value.pk if isinstance(value, Principal) else value))
    return {
        "id": str(getattr(value, "pk", value)),
        "uidb64": person,
        "token": "abc-123",
        "group": "decide",
        "n": "1",
        "name": "pause",
    }


@pytest.fixture
def world(program, place, carry) -> World:
    action = program("operator").propose("prod")
    carry()
    everything = Principal.objects.create_user("everything")
    for role in place.globex.roles.all():
        add_member(everything, role)
    assert set(access_for(everything, place.globex).tenant_permissions) == set(PERMISSIONS) - {"break_glass"}
    in_acme = Principal.objects.create_user("acmes-own")
    for role in place.acme.roles.all():
        add_member(in_acme, role)
    token, _ = issue_token(in_acme, place.acme, "theirs", ["view"], _tomorrow(), SETUP_ACTOR)
    draft, matrix = drafted(place.acme), draft_matrix(place.prod, {}, by=SETUP_ACTOR)
    backtest = Backtest.objects.get(draft=backtested(drafted(place.acme, "tested")).pk)
    shut = put_in_quarantine(access_for(in_acme, place.acme), "prod", "file", "app.conf", "because")
    incident = Incident.objects.create(
        tenant=place.acme,
        environment=place.prod,
        action_id=action["id"],
        ending_seq=1,
        ending="failed",
        code="io",
        severity="low",
        summary="It failed",
        assignee=in_acme,
        evidence=store_artifact(place.acme.pk, b"{}", "application/json"),
    )
    foreign = {
        "incident": incident.pk,
        "actions.incidentrule": IncidentRule.objects.create(tenant=place.acme).pk,
        "actions.webhook": Webhook.objects.create(tenant=place.acme, name="ours").pk,
        **_auditors_things(place, action["id"]),
        "backtest": backtest.pk,
        "breaker": _breaker(place),
        "quarantine": shut.pk,
        "actions.concurrencylimit": ConcurrencyLimit.objects.create(tenant=place.acme, most=1).pk,
        "approvals.policyversion": draft.pk,
        "policy": draft.policy_id,
        "draft": draft.pk,
        "matrix_draft": matrix.pk,
        "approvals.matrixdraft": matrix.pk,
        "place": "staging",
        "action": Action.objects.get(pk=action["id"]),
        "token": token,
        "person": place.operator,
        "stream": a_webhook(place.acme.pk),
        "hold": set_hold(place.acme.pk, "case 7", SETUP_ACTOR),
        "archive": Archive.objects.create(tenant=place.acme.pk, first=0, upto=1, file="none", sha256="", size=0),
        "group": uuid.uuid4(),
        "workflow": uuid.uuid4(),
        "approvals.matrixrow": MatrixRow.objects.first(),
        "approvals.notificationrule": NotificationRule.objects.create(
            tenant=place.acme, event="opened", to="nobody"
        ).pk,
        "approvals.approvalsettings": ApprovalSettings.objects.create(tenant=place.acme, bulk_below="high").pk,
        "approvals.blastweights": BlastWeights.objects.create(tenant=place.acme).pk,
        "auth.group": place.roles["operator"].group,
        **{f"tenants.{n}": it for n, it in _tenants_things(place).items()},
    }
    return World(foreign, everything, _clients(everything, place.globex), _clients(in_acme, place.acme))


def a_webhook(tenant: uuid.UUID) -> Stream:
    wanted = StreamRequest("siem", "webhook", "https://siem.example/in")
    return create_stream(tenant, wanted, SETUP_ACTOR)[0]


def _breaker(place: Any) -> Any:
    return CircuitBreaker.objects.create(
        key="k", tenant=place.acme, environment=place.prod, type="modify_files", state="open", failures=5
    ).pk


def _auditors_things(place: Any, action: str) -> dict[str, Any]:
    """What an auditor of acme made, and an event of its log."""
    me, period = str(place.auditor.pk), {"since": "2026-07-01", "until": "2026-09-30"}
    made: dict[str, Any] = {
        "saved_search": create(place.acme.pk, me, "ours", "q=x"),
        "report_run": request_report(place.acme.pk, me, "changes", "csv", period),
        "report_schedule": schedule(place.acme.pk, me, "changes", "csv", "week", [], {}),
        "verification": jobs.request_verification(place.acme.pk, me, "log"),
        "head_target": HeadTarget.objects.create(pk=7_654_322, tenant=place.acme.pk, kind="file"),
    }
    head = {"tenant": place.acme.pk, "number": 7_654_321, "size": 1, "root": b"", "at": timezone.now(), "note": "head"}
    made["head"] = SimpleNamespace(pk=SignedTreeHead.objects.create(**head).number)
    return {"event": Event.objects.filter(subject_id=action).first().pk, **{name: it.pk for name, it in made.items()}}


def _tomorrow() -> Any:
    return timezone.now() + timedelta(days=1)


def _tenants_things(place: Any) -> dict[str, Any]:
    return {
        "tenant": place.acme,
        "environment": place.prod,
        "principal": place.operator,
        "role": place.roles["operator"],
        "resource": uuid.uuid4(),
        "apitoken": uuid.uuid4(),
    }


def _clients(principal: Principal, tenant: Any) -> dict[str, Client]:
    _, plain = issue_token(principal, tenant, "test", list(PERMISSIONS), _tomorrow(), SETUP_ACTOR)
    browser = Client(headers={"traceparent": TRACE}, raise_request_exception=True)
    browser.force_login(principal, backend="django.contrib.auth.backends.ModelBackend")
    return {"api": Client(headers={"Authorization": f"Bearer {plain}", "traceparent": TRACE}), "page": browser}


def ask(client: Client, method: str, route: str, filling: dict[str, str], body: dict[str, Any]) -> Any:
    """One request, with its number of queries; what it did is undone."""
    path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda m: filling.get(m[1], filling["id"]), route)
    options: dict[str, Any] = {}
    if method in ("POST", "PUT", "PATCH", "DELETE"):
        is_api = route.startswith("api/")
        options = {"data": body, "content_type": "application/json"} if is_api else {"data": body}
        if not is_api and method != "POST":
            options = {}
    reset_queries()
    with transaction.atomic(), CaptureQueriesContext(connection) as seen:
        response = getattr(client, method.lower())(path, **options)
        text = b"".join(response.streaming_content) if response.streaming else response.content
        transaction.set_rollback(True)
    location = plain(response.get("Location", ""), filling)
    return response.status_code, plain(text.decode(errors="replace"), filling), location, len(seen)


def plain(text: str, filling: dict[str, str]) -> str:
    """A body without what differs between any two answers: the id that was asked for, the time, the form's token."""
    for name in ("id", "uidb64"):
        whole = re.escape(filling[name])
        text = re.sub(whole if len(filling[name]) > 8 else rf"(?<=/){whole}(?=[/\"?])", "ID", text)
    text = re.sub(r'(il-now" content=)"\d+"', "NOW", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^\"<]*", "TIME", text)
    return re.sub(r'(csrf\w*"[^>]*value=|"X-CSRFToken": )"\w+"', "TOKEN", text)


def test_every_route_is_in_a_table():
    known = OPEN | API | PAGES | OBJECTS.keys()
    new = [r for r in routes() if r not in known and not r.startswith("admin/")]
    assert not new, f"Say in tests/house/routes.py what these routes are about: {new}"
    assert not known - set(routes()), f"These are gone: {known - set(routes())}"


def test_every_socket_is_in_a_table():
    assert {str(it.pattern) for it in websocket_urlpatterns} == SOCKETS.keys()


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(600)
@BY_METHODS
def test_what_is_anothers_answers_as_what_never_was(world, methods_of: MethodsOf):
    """Every route about an object × every method: status, body, redirect and number of queries are the same."""
    for route, about in OBJECTS.items():
        client = world.clients["api" if route.startswith("api/") else "page"]
        for method in methods_of(route):
            answers = [ask(client, method, route, filling, about.body) for filling in world.pair(about.what)]
            assert answers[0] == answers[1], f"{method} {route}"
            status = answers[0][0]
            assert status in about.answers or method == "OPTIONS", f"{method} {route}: {status} {answers[0][1][:300]}"


@pytest.mark.timeout(600)
@pytest.mark.django_db(transaction=True)
def test_its_own_people_do_get_through(world):
    """Else the test above would be content with addresses that lead nowhere."""
    for route, about in OBJECTS.items():
        if not about.opens or about.answers == UNBUILT:
            continue
        client = world.owners["api" if route.startswith("api/") else "page"]
        here = world.pair(about.what)[0]
        statuses = {ask(client, method, route, here, about.body)[0] for method in answered_methods(route)}
        assert statuses - {404, 405}, f"{route} answers its own people {statuses}"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_staff", [False, True])
def test_the_admin_site_knows_no_other_tenant(world, is_staff):
    Principal.objects.filter(pk=world.outsider.pk).update(is_staff=is_staff)
    for route in filter(is_admin_object, routes()):
        for method in ("GET", "POST"):
            answers = []
            for thing in _admin_pair(route, world):
                world.clients["page"].cookies.pop("messages", None)  # they pile up, and spill into the session
                answers.append(ask(world.clients["page"], method, *_admin(route, thing)))
            assert answers[0] == answers[1], f"{method} {route}"
            assert answers[0][0] in (302, 403, 404), f"{method} {route}: {answers[0]}"


def _admin_pair(route: str, world: World) -> list[Any]:
    if found := re.match(r"admin/(\w+)/(\w+)/<", route):
        what = f"{found[1]}.{found[2]}"
        assert what in world.foreign, f"Say in {__file__} what a foreign {what} is"
        thing = world.foreign[what]
        return [thing, 987_654 if isinstance(thing, Group) else uuid.uuid4()]
    return [world.foreign["approvals.matrixrow"], uuid.uuid4()]


def _admin(route: str, thing: Any) -> tuple[str, dict[str, str], dict[str, Any]]:
    kind = ContentType.objects.get_for_model(MatrixRow).pk
    route = re.sub(r"\^?\(\?P<(app_label|url)>[^)]*\)/?\$", "approvals/", route)
    route = route.replace("<path:content_type_id>", str(kind))
    return route, _filling(thing), {"post": "yes"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(600)
@BY_METHODS
def test_a_stranger_is_sent_away_everywhere(world, methods_of: MethodsOf):
    """No principal: 401 from the API, to the sign-in from a page, whatever is asked for."""
    stranger = Client(headers={"traceparent": TRACE})
    for route in routes():
        if route in OPEN or route.startswith("account/password/set/"):
            continue
        what = OBJECTS[route].what if route in OBJECTS else "action"
        seen = []
        for method in methods_of(route):
            for filling in world.pair(what):
                address = _admin(route, world.foreign["action"])[0] if route.startswith("admin/") else route
                status, _, location, _ = ask(stranger, method, address, filling, {})
                if status == 405 or (method == "OPTIONS" and status == 200):
                    continue
                seen.append(status)
                wanted = 401 if route.startswith("api/") else 302
                if route in ("admin/login/", "admin/logout/", "admin/jsi18n/"):
                    continue  # Django's own, about nothing of ours
                if route.startswith("admin/") and status in (403, 404):
                    continue
                assert status == wanted, f"{method} /{address}: {status}"
                assert status == 401 or "/sign-in/" in location or "/login/" in location, f"{route} → {location}"
        assert seen, f"{route} answers no method"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["api", "page"])
def test_naming_another_tenant_is_naming_none(world, way):
    client = world.clients[way]
    answers = {}
    for slug in ("acme", "no-such-tenant"):
        got = client.get("/api/actions", headers={"X-Interlock-Tenant": slug})
        answers[slug] = (got.status_code, got.content.replace(slug.encode(), b"SLUG"))
    assert answers["acme"] == answers["no-such-tenant"] and answers["acme"][0] == 404


@pytest.mark.django_db(transaction=True)
async def test_every_socket_answers_for_anothers_as_for_nothing(world):
    cookies = world.clients["page"].cookies
    headers = [(b"origin", b"http://localhost"), (b"host", b"localhost"), (b"cookie", cookies.output("", "").encode())]
    for pattern, what in SOCKETS.items():
        if what is None:
            continue
        said = []
        for filling in world.pair(what):
            path = "/" + re.sub(r"<\w+:\w+>", filling["id"], pattern)
            socket = WebsocketCommunicator(application, path, headers)
            await socket.connect()
            said.append(await socket.receive_output(3))
        assert said[0] == said[1] == {"type": "websocket.close", "code": 4404}, pattern
    await database_async(int)()
