"""How a report's value reads in a table."""

from datetime import datetime
from typing import Any

from django import template

register = template.Library()


@register.filter
def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list | tuple):
        return "; ".join(cell(item) for item in value)
    return str(value)
