"""The OpenAPI document: what it lists, that every call behaves as it says, and the manual drawn from it."""

import uuid
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ninja import Schema
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from config.http.api import api

pytestmark = pytest.mark.django_db(transaction=True)
EXAMPLES = 12
FLOORS = ("config", "actions", "approvals", "tenants", "audit")
LISTED = {
    "GET /api/actions",
    "POST /api/actions",
    "POST /api/actions/dry-run",
    "GET /api/actions/pending",
    "GET /api/actions/{action_id}",
    "GET /api/actions/{action_id}/plan",
    "GET /api/actions/{action_id}/plan.json",
    "GET /api/actions/{action_id}/plan.md",
    "GET /api/actions/{action_id}/plan.yaml",
    "GET /api/actions/{action_id}/changes",
    "GET /api/actions/{action_id}/log",
    "GET /api/actions/{action_id}/events",
    "GET /api/actions/{action_id}/evidence",
    "GET /api/actions/{action_id}/explain",
    "GET /api/action-types",
    *(
        f"POST /api/actions/{{action_id}}/{verb}"
        for verb in ("accept", "approve", "cancel", "abort", "resume", "rollback", "retry")
    ),
}


def test_the_document_lists_the_contract_and_not_what_is_not_built(client, db):
    document = client.get("/api/openapi.json").json()
    listed = {f"{method.upper()} {path}" for path, calls in document["paths"].items() for method in calls}
    assert listed >= LISTED
    assert not [call for call in listed if "chat" in call or "workflow" in call or "break-glass" in call]
    assert document["components"]["securitySchemes"]


def test_every_call_says_401(client, db):
    document = client.get("/api/openapi.json").json()
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            assert "401" in call["responses"], f"{method} {path}"


def test_the_manual_needs_no_script_and_no_other_site(client, db):
    got = client.get("/api/docs")
    page = got.content.decode()
    assert got.status_code == 200 and "cdn" not in page.lower()
    assert "https://" not in page and "<style" not in page and "onclick" not in page
    assert "/api/actions/{action_id}/approve" in page and "Idempotency-Key" in page
    assert "script-src 'self'" in got["Content-Security-Policy"]


@pytest.fixture
def seeded(program, place, carry) -> dict[str, Any]:
    """Actions in several states to aim at."""
    operator = program("operator")
    found = [operator.propose("prod"), operator.propose(), operator.propose(accept=True, path="done.txt")]
    carry()
    found.append(operator.propose())
    ids = [action["id"] for action in found]
    return {"ids": ids, "headers": {"Authorization": f"Bearer {place.token('operator')}"}}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_call_answers_as_documented(seeded, mode):
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", get_wsgi_application())
    ids = st.sampled_from(seeded["ids"]) | st.just(str(uuid.uuid4()))
    checked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.startswith("/api/actions") or operation.path == "/api/action-types":
            exercise(operation, mode, ids, seeded["headers"])
            checked += 1
    assert checked >= len(LISTED)


def exercise(operation: Any, mode: GenerationMode, ids: Any, headers: dict[str, str]) -> None:
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode), id=ids)
    def run(case: Any, id: str) -> None:
        if "action_id" in (case.path_parameters or {}):
            case.path_parameters["action_id"] = id
        if "wait_s" in (case.query or {}):
            case.query["wait_s"] = 0
        response = case.call(headers=headers)
        assert response.status_code < 500, response.content
        case.validate_response(
            response, checks=[status_code_conformance, content_type_conformance, response_schema_conformance]
        )

    run()


def test_the_manual_and_the_document_are_of_the_same_calls(client, db):
    page = client.get("/api/docs").content.decode()
    for path in api.get_openapi_schema()["paths"]:
        assert path in page


def test_no_two_schemas_share_a_name(client, db):
    """The document knows schemas by their class names: of two, the one mounted last would describe both."""
    found = [it for it in subclasses(Schema) if it.__module__.split(".")[0] in FLOORS]
    names = [it.__name__ for it in found]
    assert sorted(names) == sorted(set(names))


def subclasses(kind: type) -> list[type]:
    return [it for direct in kind.__subclasses__() for it in (direct, *subclasses(direct))]
