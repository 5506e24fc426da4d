"""Tags of the auditor's pages. They read the database; the vocabulary in `il` does not."""

from datetime import datetime
from typing import Any

from django import template
from django.template import Context

from audit.verification.status import log_status
from audit.web import tenant_to_audit

register = template.Library()


@register.inclusion_tag("audit/_integrity.html", takes_context=True)
def integrity_badge(context: Context) -> dict[str, Any]:
    """How the tenant's log stands: sealed up to where, verified when, broken where. Cheap: on every auditor's page."""
    return {"standing": log_status(tenant_to_audit(context["request"]))}


# How a report's value reads in a table.


@register.filter
def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list | tuple):
        return "; ".join(cell(item) for item in value)
    return str(value)
