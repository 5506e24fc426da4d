"""Who is calling, and under which correlation id: both set by the middleware."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest

from audit.errors import Invalid, NotFound
from tenants.access import Access


def access_of(request: HttpRequest) -> Access:
    return request.access  # type: ignore[attr-defined]


def correlation_of(request: HttpRequest) -> str:
    return getattr(request, "correlation_id", "")


def id_of(text: str) -> UUID:
    """An action's id from an address. What cannot be one leads nowhere, like one that is unknown: NotFound."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound from None


def refuse_unknown(request: HttpRequest, known: Any) -> None:
    """Raise Invalid for query parameters that a schema does not have: a filter with a typo must not mean "all"."""
    names = {field.alias or name for name, field in known.model_fields.items()}
    unknown = sorted(set(request.GET) - names)
    if unknown:
        message = "There is no such filter."
        raise Invalid(issues=[{"severity": "error", "message": message, "field": name[:100]} for name in unknown])
