"""One id through everything: the W3C's own cases for `traceparent`, and what comes back."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from config.http.middleware import trace_id_of

CASES = json.loads(Path(__file__).with_name("trace_context.json").read_text())


def sent(case: dict[str, Any]) -> dict[str, str]:
    """The headers as a server joins them: names in any case, values of one name with a comma between."""
    joined: dict[str, str] = {}
    for name, value in case["send"]:
        key = name.lower()
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    return joined


@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{case['test']}" for n, case in enumerate(CASES)])
def test_the_published_cases_of_trace_context(case: dict[str, Any]) -> None:
    headers = sent(case)
    response = Client().get("/healthz", headers=headers)
    given = headers.get("traceparent", "").strip().split("-")[1:2]
    kept = response["X-Correlation-Id"] in given
    assert kept is (case["expect"] == "continue_trace")
    assert re.fullmatch("[0-9a-f]{32}", response["X-Correlation-Id"])


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00-" + "0" * 32 + "-1234567890123456-01",
        "00-" + "a" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "a" * 32 + "-1234567890123456-01",
        "00-" + "A" * 32 + "-1234567890123456-01",
        "00-" + "a" * 32 + "-1234567890123456-01\n",
    ],
)
def test_what_is_no_traceparent_starts_a_new_trace(header: str) -> None:
    assert trace_id_of(header) is None


def test_two_requests_never_share_an_id_they_did_not_send() -> None:
    first, second = Client().get("/healthz"), Client().get("/healthz")
    assert first["X-Correlation-Id"] != second["X-Correlation-Id"]
