"""Tags of the auditor's pages. They read the database; the vocabulary in `il` does not."""

from typing import Any

from django import template
from django.template import Context

from audit.access import tenant_to_audit
from audit.explore.standing import standing

register = template.Library()


@register.inclusion_tag("audit/_integrity.html", takes_context=True)
def integrity_badge(context: Context) -> dict[str, Any]:
    """How the tenant's log stands: sealed up to where, verified when, broken where. Cheap: on every auditor's page."""
    return {"standing": standing(tenant_to_audit(context["request"]))}
