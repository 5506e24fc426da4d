"""The OpenAPI document with its problems, the page that draws it, and calls that are not built yet."""

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from ninja import NinjaAPI, Router
from ninja.openapi.docs import DocsBase

from actions.api.schemas import ProblemOut
from audit.errors import NotBuilt

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
PROBLEMS_OF_ALL = (400, 401, 404, 405, 422)
PROBLEMS_OF_WRITES = (403, 409, 411, 413, 503)


def with_problems(document: dict[str, Any]) -> dict[str, Any]:
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
    for code in sorted({*named, *PROBLEMS_OF_ALL, *(PROBLEMS_OF_WRITES if writes else (403, 409, 503))}):
        for key in (code, str(code)):
            answers.pop(key, None)
        answers[str(code)] = {"description": HTTPStatus(code).phrase, "content": PROBLEM}


# The reference page, rendered on the server from the OpenAPI document: no script, no other site.


METHODS = ("get", "post", "put", "patch", "delete")


@dataclass
class OperationEntry:
    """One call: what it is, what it takes, what it answers."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[dict[str, Any]] = field(default_factory=list)
    body: str = ""
    answers: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


class Manual(DocsBase):
    """The page at /api/docs."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        document = api.get_openapi_schema(path_params=kwargs)
        groups: dict[str, list[OperationEntry]] = {}
        for path, calls in document["paths"].items():
            for method in METHODS:
                if call := calls.get(method):
                    groups.setdefault((call.get("tags") or ["other"])[0], []).append(_operation(method, path, call))
        named = document["components"]["schemas"].items()
        schemas = [(name, _properties(it)) for name, it in named if "properties" in it]
        context = {"api": api, "groups": groups, "schemas": schemas, "schema_url": self.get_openapi_url(api, kwargs)}
        return render(request, "api/docs.html", context)


def _operation(method: str, path: str, call: dict[str, Any]) -> OperationEntry:
    body = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    answers = {str(code): it for code, it in call["responses"].items()}
    return OperationEntry(
        method=method.upper(),
        path=path,
        summary=call.get("summary", ""),
        description=_render_text(call.get("description", "")),
        parameters=[_parameter(p, p["schema"]) for p in call.get("parameters", [])],
        body=_type_name(body) if body else "",
        answers=[(code, _answer(it)) for code, it in answers.items() if code < "400"],
        refusals=[code for code in answers if code >= "400"],
    )


def _render_text(text: str) -> SafeString:
    """A docstring as paragraphs, with what stands in backticks as code."""
    paragraphs = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)).split("\n\n")
    return mark_safe("".join(f"<p>{p}</p>" for p in paragraphs if p))  # escaped above


def _parameter(found: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    words = schema.get("description", "")
    return {"name": found["name"], "place": found["in"], "kind": _type_name(schema), "words": words}


def _answer(response: dict[str, Any]) -> str:
    return ", ".join(
        _type_name(content.get("schema", {})) if media == "application/json" else media
        for media, content in response.get("content", {}).items()
    )


def _properties(schema: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(name, _type_name(it), it.get("description", "")) for name, it in schema["properties"].items()]


def _type_name(schema: dict[str, Any]) -> str:
    """A schema in a few words: a name, a type, a list of either."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    if "anyOf" in schema:
        return " or ".join(_type_name(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type_name(schema.get('items', {}))}"
    if "enum" in schema:
        return " | ".join(str(value) or "(empty)" for value in schema["enum"])
    words = schema.get("format") or schema.get("type", "any")
    return str(words)


# Calls of the contract that are not built yet. They are not in the OpenAPI document.


router = Router()


@router.post("/actions/{action_id}/break-glass", include_in_schema=False)
def break_glass(request: HttpRequest, action_id: str) -> NoReturn:
    raise NotBuilt(
        "Break-glass is not built yet.", remedies=["Ask the approvers; the action lists the open required approvals."]
    )


@router.post("/chat", include_in_schema=False)
def chat(request: HttpRequest) -> NoReturn:
    raise NotBuilt("Chat is not built yet.", remedies=["Propose an action: POST /api/actions."])


@router.post("/models/switch", include_in_schema=False)
def switch_model(request: HttpRequest) -> NoReturn:
    raise NotBuilt("Switching models is not built yet.")


@router.post("/workflows", include_in_schema=False)
def propose_workflow(request: HttpRequest) -> NoReturn:
    raise NotBuilt("Workflows are not built yet.", remedies=["Propose the actions one by one: POST /api/actions."])


@router.get("/workflows/{workflow_id}", include_in_schema=False)
def workflow(request: HttpRequest, workflow_id: str) -> NoReturn:
    raise NotBuilt("Workflows are not built yet.")
