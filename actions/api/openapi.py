"""What the framework leaves out of the OpenAPI document: that every call may be refused, and how a refusal looks."""

from http import HTTPStatus
from typing import Any

from actions.api.schemas import ProblemOut

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
ALWAYS = (400, 401, 404, 405, 422)
WRITING = (403, 409, 411, 413, 503)


def described(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the problems that every call may answer with."""
    schema = ProblemOut.model_json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["schemas"] |= schema.pop("$defs", {}) | {"ProblemOut": schema}
    for calls in document["paths"].values():
        for method, call in calls.items():
            _add_problems(call, writes=method != "get")
    return document


def _add_problems(call: dict[str, Any], *, writes: bool) -> None:
    answers = call["responses"]
    named = {int(code) for code in answers if int(code) >= 400}
    for code in sorted({*named, *ALWAYS, *(WRITING if writes else (403, 409, 503))}):
        for key in (code, str(code)):
            answers.pop(key, None)
        answers[str(code)] = {"description": HTTPStatus(code).phrase, "content": PROBLEM}
