"""What the product says at its edges: refusals, limits, headers."""

import pytest
from django.test import Client, RequestFactory
from pytest_django import Settings

from audit.errors import Conflict, Invalid
from config.http.problems import ProblemMiddleware, problem_of, to_response

CSP = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "font-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
}


def test_the_content_policy_allows_nothing_inline() -> None:
    response = Client().get("/healthz")
    assert {part.strip() for part in response["Content-Security-Policy"].split(";")} == CSP
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Frame-Options"] == "DENY"
    assert response["Referrer-Policy"] == "same-origin"


def test_an_unknown_address_below_api_is_a_problem_document(db: None) -> None:
    response = Client().get("/api/there-is-no-such-thing")
    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")
    assert response.json()["code"] == "not_found"
    assert response.json()["correlation_id"] == response["X-Correlation-Id"]


def test_an_unknown_page_is_a_page(db: None) -> None:
    response = Client().get("/there-is-no-such-page/")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


def test_a_body_that_is_too_large_is_refused_before_it_is_read(settings: Settings) -> None:
    body = b" " * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    response = Client().post("/api/actions", body, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_a_body_of_unknown_length_is_refused() -> None:
    response = Client().generic("POST", "/api/actions", b"", headers={"transfer-encoding": "chunked"})
    assert (response.status_code, response.json()["code"]) == (411, "length_required")


@pytest.mark.parametrize("length", ["-1", "1e3", "٣"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    response = Client().generic("POST", "/api/actions", b"{}", CONTENT_LENGTH=length)
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_a_domain_error_becomes_json_for_programs_and_html_for_people() -> None:
    refused = Conflict("The plan has changed.", remedies=["Look again."])
    api = to_response(RequestFactory().get("/api/actions"), refused)
    page = to_response(RequestFactory().get("/actions/"), refused)
    fragment = to_response(RequestFactory().get("/actions/", headers={"HX-Request": "true"}), refused)
    assert api["Content-Type"] == "application/problem+json"
    assert {api.status_code, page.status_code, fragment.status_code} == {409}
    for response in (page, fragment):
        assert "The plan has changed." in response.content.decode()
        assert "Look again." in response.content.decode()
    assert "<html" in page.content.decode()
    assert "<html" not in fragment.content.decode()


def test_what_a_problem_adds_reaches_the_document() -> None:
    issue = {"severity": "error", "message": "is missing", "field": "reason"}
    response = to_response(RequestFactory().get("/api/x"), Invalid(issues=[issue]))
    assert b'"issues": [{"severity": "error", "message": "is missing", "field": "reason"}]' in response.content


def test_our_own_faults_are_not_dressed_up_as_problems() -> None:
    assert problem_of(ValueError("ours")) is None
    assert (
        ProblemMiddleware(lambda request: to_response(request, Conflict())).process_exception(
            RequestFactory().get("/api/x"), ValueError("ours")
        )
        is None
    )


def test_a_session_without_its_csrf_token_cannot_change_anything(client: Client, db: None) -> None:
    careful = Client(enforce_csrf_checks=True)
    response = careful.post("/admin/login/", {"username": "a", "password": "b"})
    assert response.status_code == 403
    assert "too old" in response.content.decode()
