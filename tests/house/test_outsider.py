"""
A tenant is an island: whatever exists in another one answers exactly as what never was.

Walks the whole URL table and every socket. A route that is not in the tables below fails: say what it is about, and it
is walked like the others.
"""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLResolver, get_resolver
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from actions.live.database import asking
from actions.live.routing import websocket_urlpatterns
from actions.models import Action, Backtest, HandoffRule, Ticket, Webhook
from actions.quarantine_keeper import put_in_quarantine
from approvals.models import ApprovalRule, ApprovalSettings, BlastWeights, NotifyRule
from approvals.policies.drafts import draft_matrix
from audit.artifacts import store
from audit.streams.models import Stream
from audit.streams.verbs import Wanted, create
from config.asgi import application
from tenants.access import access_for
from tenants.models import PERMISSIONS, Principal
from tenants.roles import SETUP, add_member
from tenants.tokens import issue_token
from tests.api.conftest import carry, place, program
from tests.policies.factory import backtested, drafted

__all__ = ["carry", "place", "program"]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
DIGEST = "0" * 64

OPEN = {
    "healthz", "readyz", "metrics", "api/openapi.json", "api/docs", "api/", "account/sign-in/",
    "account/password/reset/", "account/password/reset/sent/",
}  # fmt: skip
"""About no tenant, and for everybody."""
API = {
    "api/actions", "api/actions/preview", "api/actions/pending", "api/action-types", "api/chat", "api/models/switch",
    "api/workflows", "api/tokens", "api/audit-logs", "api/matrix", "api/matrix/drafts",
    "api/impact", "api/blast/weights", "api/caps", "api/quarantines", "api/streams",
    "api/approvals", "api/approvals/bulk", "api/tickets",
    "api/policies", "api/policies/facts", "api/policies/check",
}  # fmt: skip
"""About the caller's own tenant; 401 for a stranger."""
PAGES = {
    "approvals/", "approvals/bulk/", "handoff/",
    "", "queue/live/", "system/", "impact/", "quarantine/", "actions/new/", "account/tokens/", "account/password/",
    "audit/", "audit/streams/",
    "account/tenant/", "account/sign-out/",
    "rules/", "rules/check/", "rules/policies/new/", "rules/matrix/",
}  # fmt: skip
"""About the caller's own tenant; a stranger is sent to sign in."""


@dataclass(frozen=True)
class About:
    """What a route's parameter names, what to send it, and what it may answer to an outsider."""

    what: str
    body: dict[str, Any] = field(default_factory=dict)
    answers: frozenset[int] = frozenset({404, 405})
    opens: bool = True
    """Whether its own people get through with this body (else the body alone cannot show it)."""


REFUSED = frozenset({403, 404, 405})
UNBUILT = frozenset({405, 501})
ANY = frozenset({200, 302, 404, 405})
WHY = {"reason": "because"}
WORDING = {"expression": "true", "effect": "warn", "message": "because"}
DECISION = {"approved": True, "digest": DIGEST, "comment": ""}
TICKET_VERBS: dict[str, dict[str, Any]] = {
    "": {}, "/diagnostics": {}, "/assign": {"assignee": "acmes-own"}, "/acknowledge": {}, "/decline": WHY,
    "/resolve": {}, "/comment": {"text": "hello"},
}  # fmt: skip
OBJECTS: dict[str, About] = {
    "api/actions/<action_id>": About("action"),
    **{f"api/actions/<action_id>/{part}": About("action") for part in
       ("plan", "plan.json", "plan.md", "plan.yaml", "changes", "log", "events", "evidence", "why")},
    "api/actions/<action_id>/accept": About("action", {"digest": DIGEST}),
    "api/actions/<action_id>/approve": About("action", DECISION),
    "api/actions/<action_id>/comments": About("action", {"text": "hello"}),
    "api/actions/<action_id>/comments/<comment_id>/resolve": About("action", {"resolved": True}, opens=False),
    "actions/<uuid:action_id>/comments/": About("action", {"text": "hello"}),
    "actions/<uuid:action_id>/comments/<uuid:comment_id>/resolve/": About("action", {"resolved": "yes"}, opens=False),
    **{f"api/actions/<action_id>/{verb}": About("action", {"comment": "because"})
       for verb in ("ask-for-changes", "withdraw-ask", "withdraw")},
    "api/actions/<action_id>/cancel": About("action", WHY),
    "api/actions/<action_id>/abort": About("action", WHY),
    "api/actions/<action_id>/resume": About("action", {**WHY, "how": "continue"}),
    "api/actions/<action_id>/rollback": About("action", WHY),
    "api/actions/<action_id>/retry": About("action", WHY),
    "api/actions/<action_id>/break-glass": About("action", WHY, UNBUILT),
    "api/workflows/<workflow_id>": About("workflow", {}, UNBUILT),
    "api/tokens/<uuidstr:token_id>": About("token"),
    "quarantine/<uuid:quarantine_id>/clear/": About("quarantine", {"found": "it is well"}),
    "rules/policy/<uuid:draft_id>/propose/": About("draft", WHY),
    "rules/retire/<uuid:draft_id>/propose/": About("draft", WHY),
    "rules/matrix/<uuid:draft_id>/propose/": About("matrix_draft", WHY),
    "rules/policies/<uuid:policy_id>/": About("policy"),
    "rules/policies/drafts/<uuid:draft_id>/": About("draft", WORDING),
    "rules/policies/drafts/<uuid:draft_id>/abandon/": About("draft"),
    "rules/matrix/<slug:environment>/edit/": About("place", {"low": "denied"}),
    "rules/matrix/drafts/<uuid:draft_id>/": About("matrix_draft", {"low": "denied"}),
    "rules/matrix/drafts/<uuid:draft_id>/abandon/": About("matrix_draft"),
    "api/policies/<uuidstr:policy_id>": About("policy"),
    "api/policies/<uuidstr:policy_id>/drafts": About("policy", WORDING),
    "api/policies/<uuidstr:policy_id>/retire": About("policy", {**WHY, "environment": "prod"}),
    "api/policies/drafts/<uuidstr:draft_id>": About("draft", WORDING, opens=False),
    "api/policies/drafts/<uuidstr:draft_id>/abandon": About("draft"),
    "api/policies/drafts/<uuidstr:draft_id>/propose": About("draft", {**WHY, "environment": "prod"}),
    "api/matrix/drafts/<uuidstr:draft_id>": About("matrix_draft", {"rows": {}}, opens=False),
    "api/matrix/drafts/<uuidstr:draft_id>/abandon": About("matrix_draft"),
    "api/matrix/drafts/<uuidstr:draft_id>/propose": About("matrix_draft", WHY),
    "api/policies/drafts/<uuidstr:draft_id>/backtest": About("draft"),
    "api/policies/drafts/<uuidstr:draft_id>/rehearse": About("draft", {"action": DIGEST[:32]}, opens=False),
    "api/matrix/drafts/<uuidstr:draft_id>/backtest": About("matrix_draft"),
    "api/matrix/drafts/<uuidstr:draft_id>/rehearse": About("matrix_draft", {"action": DIGEST[:32]}, opens=False),
    **{f"rules/{kind}/<uuid:draft_id>/{part}":
       About("matrix_draft" if kind == "matrix" else "draft", opens=kind != "retire")
       for kind in ("policy", "retire", "matrix")
       for part in ("rehearse/", "backtest/", "backtest/live/", "backtest/cancel/")},
    **{f"api/backtests/<uuidstr:backtest_id>{part}": About("backtest") for part in ("", "/differences", "/cancel")},
    **{f"api/tickets/<ticket_id>{part}": About("ticket", body) for part, body in TICKET_VERBS.items()},
    **{f"handoff/<uuid:ticket_id>/{part.lstrip('/')}{'/' if part else ''}": About("ticket", body)
       for part, body in TICKET_VERBS.items() if part not in ("/diagnostics", "/comment")},
    "handoff/<uuid:ticket_id>/diagnostics.json": About("ticket", opens=False),
    "handoff/<uuid:ticket_id>/comments/": About("ticket", {"text": "hello"}),
    "handoff/<uuid:ticket_id>/deliveries/<uuid:delivery_id>/": About("ticket", opens=False),
    "api/tickets/<ticket_id>/deliveries/<delivery_id>/send": About("ticket", opens=False),
    "api/audit-logs/<uuidstr:subject_id>/verify": About("action"),
    "api/audit-logs/<uuidstr:subject_id>/evidence": About("action"),
    "audit/<uuid:subject_id>/verify/": About("action"),
    "audit/<uuid:subject_id>/evidence/": About("action"),
    "account/tokens/<uuid:token_id>/revoke/": About("token"),
    **{f"api/streams/<uuidstr:stream_id>{verb}": About("stream", {}, REFUSED) for verb in
       ("", "/pause", "/resume", "/resend", "/renew-secret")},
    "audit/streams/<uuid:stream_id>/<stream_verb:name>/": About("stream", {}, REFUSED),
    "account/password/set/<uidb64>/<token>/": About("person", {}, ANY, opens=False),
    "queue/more/<slug:group>/": About("group", {}, ANY, opens=False),
    "actions/<uuid:action_id>/": About("action"),
    **{f"actions/<uuid:action_id>/{part}": About("action", {**WHY, "digest": DIGEST, "verdict": "approve"})
       for part in ("peek/", "live/", "changes/", "decide/", "withdraw/", "withdraw-ask/", "accept/", "cancel/",
                    "abort/", "resume/", "rollback/",
                    "retry/", "run/", "run/live/", "log", "log.txt", "why/")},
    "actions/<uuid:action_id>/changes/<int:n>/": About("action"),
    **{f"api/environments/<slug>/{part}": About("place", WHY) for part in ("hold", "release")},
    **{f"environments/<slug:slug>/{part}": About("place", WHY) for part in ("", "hold/", "release/")},
}  # fmt: skip
SOCKETS = {"ws/queue/": None, "ws/actions/<uuid:action_id>/": "action", "": None}


def routes() -> list[str]:
    def walk(patterns: Any, prefix: str = "") -> Iterator[str]:
        for it in patterns:
            here = prefix + str(it.pattern)
            yield from walk(it.url_patterns, here) if isinstance(it, URLResolver) else [here]

    return sorted(set(walk(get_resolver().url_patterns)))


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
        return [_filling(self.foreign[what]), _filling(uuid.uuid4())]


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
    token, _ = issue_token(in_acme, place.acme, "theirs", ["view"], _tomorrow(), SETUP)
    draft, matrix = drafted(place.acme), draft_matrix(place.prod, {}, by=SETUP)
    backtest = Backtest.objects.get(draft=backtested(drafted(place.acme, "tested")).pk)
    shut = put_in_quarantine(access_for(in_acme, place.acme), "prod", "file", "app.conf", "because")
    ticket = Ticket.objects.create(
        tenant=place.acme, environment=place.prod, action_id=action["id"], ending_seq=1, ending="failed", code="io",
        severity="low", summary="It failed", assignee=in_acme,
        evidence=store(place.acme.pk, b"{}", "application/json"),
    )  # fmt: skip
    foreign = {
        "ticket": ticket.pk, "actions.handoffrule": HandoffRule.objects.create(tenant=place.acme).pk,
        "actions.webhook": Webhook.objects.create(tenant=place.acme, name="ours").pk,
        "backtest": backtest.pk,
        "quarantine": shut.pk,
        "approvals.policyversion": draft.pk, "policy": draft.policy_id, "draft": draft.pk, "matrix_draft": matrix.pk,
        "approvals.matrixdraft": matrix.pk, "place": "staging",
        "action": Action.objects.get(pk=action["id"]), "token": token, "person": place.operator,
        "stream": a_webhook(place.acme.pk),
        "group": uuid.uuid4(), "workflow": uuid.uuid4(), "approvals.approvalrule": ApprovalRule.objects.first(),
        "approvals.notifyrule": NotifyRule.objects.create(tenant=place.acme, event="opened", to="nobody").pk,
        "approvals.approvalsettings": ApprovalSettings.objects.create(tenant=place.acme, bulk_below="high").pk,
        "approvals.blastweights": BlastWeights.objects.create(tenant=place.acme).pk,
        "auth.group": place.roles["operator"].group, **{f"tenants.{n}": it for n, it in _tenants_things(place).items()},
    }  # fmt: skip
    return World(foreign, everything, _clients(everything, place.globex), _clients(in_acme, place.acme))


def a_webhook(tenant: uuid.UUID) -> Stream:
    wanted = Wanted("siem", "webhook", "https://siem.example/in")
    return create(tenant, wanted, SETUP)[0]


def _tomorrow() -> Any:
    return timezone.now() + timedelta(days=1)


def _tenants_things(place: Any) -> dict[str, Any]:
    return {
        "tenant": place.acme, "environment": place.prod, "principal": place.operator, "role": place.roles["operator"],
        "resource": uuid.uuid4(), "apitoken": uuid.uuid4(),
    }  # fmt: skip


def _clients(principal: Principal, tenant: Any) -> dict[str, Client]:
    _, plain = issue_token(principal, tenant, "test", list(PERMISSIONS), _tomorrow(), SETUP)
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
    with transaction.atomic(), CaptureQueriesContext(connection) as seen:
        response = getattr(client, method.lower())(path, **options)
        text = b"".join(response.streaming_content) if response.streaming else response.content
        transaction.set_rollback(True)
    location = plain(response.get("Location", ""), filling)
    return response.status_code, plain(text.decode(errors="replace"), filling), location, len(seen)


def plain(text: str, filling: dict[str, str]) -> str:
    """A body without what differs between any two answers: the id that was asked for, the time, the form's token."""
    for name in ("id", "uidb64"):
        text = text.replace(filling[name], "ID")
    text = re.sub(r'(il-now" content=)"\d+"', "NOW", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^\"<]*", "TIME", text)
    return re.sub(r'(csrf\w*"[^>]*value=|"X-CSRFToken": )"\w+"', "TOKEN", text)


def test_every_route_is_in_a_table():
    known = OPEN | API | PAGES | OBJECTS.keys()
    new = [r for r in routes() if r not in known and not r.startswith("admin/")]
    assert not new, f"Say in {__file__} what these routes are about: {new}"
    assert not known - set(routes()), f"These are gone: {known - set(routes())}"


def test_every_socket_is_in_a_table():
    assert {str(it.pattern) for it in websocket_urlpatterns} == SOCKETS.keys()


@pytest.mark.django_db(transaction=True)
def test_what_is_anothers_answers_as_what_never_was(world):
    """Every route about an object × every method: status, body, redirect and number of queries are the same."""
    for route, about in OBJECTS.items():
        client = world.clients["api" if route.startswith("api/") else "page"]
        for method in METHODS:
            answers = [ask(client, method, route, filling, about.body) for filling in world.pair(about.what)]
            assert answers[0] == answers[1], f"{method} {route}"
            status = answers[0][0]
            assert status in about.answers or method == "OPTIONS", f"{method} {route}: {status} {answers[0][1][:300]}"


@pytest.mark.django_db(transaction=True)
def test_its_own_people_do_get_through(world):
    """Else the test above would be content with addresses that lead nowhere."""
    for route, about in OBJECTS.items():
        if not about.opens or about.answers == UNBUILT:
            continue
        client = world.owners["api" if route.startswith("api/") else "page"]
        here = world.pair(about.what)[0]
        statuses = {ask(client, method, route, here, about.body)[0] for method in ("GET", "POST", "DELETE")}
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
    return [world.foreign["approvals.approvalrule"], uuid.uuid4()]


def _admin(route: str, thing: Any) -> tuple[str, dict[str, str], dict[str, Any]]:
    kind = ContentType.objects.get_for_model(ApprovalRule).pk
    route = re.sub(r"\^?\(\?P<(app_label|url)>[^)]*\)/?\$", "approvals/", route)
    route = route.replace("<path:content_type_id>", str(kind))
    return route, _filling(thing), {"post": "yes"}


@pytest.mark.django_db(transaction=True)
def test_a_stranger_is_sent_away_everywhere(world):
    """No principal: 401 from the API, to the sign-in from a page, whatever is asked for."""
    stranger = Client(headers={"traceparent": TRACE})
    for route in routes():
        if route in OPEN or route.startswith("account/password/set/"):
            continue
        what = OBJECTS[route].what if route in OBJECTS else "action"
        seen = []
        for method in METHODS:
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
    await asking(int)()
