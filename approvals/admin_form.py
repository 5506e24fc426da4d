"""Seats in a form: a few lines of role and count."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

LINES = 5  # roles in one row
MOST = 20  # people of one role


class SeatsWidget(forms.MultiWidget):
    """LINES lines of a role and a count."""

    def __init__(self, roles: Sequence[str] = ()) -> None:
        choices = [("", "no further role"), *((role, role) for role in roles)]
        line = (
            lambda: forms.Select(choices=choices),
            lambda: forms.NumberInput(attrs={"min": 1, "max": MOST, "placeholder": "people"}),
        )
        super().__init__([make() for _ in range(LINES) for make in line])

    def decompress(self, value: Any) -> list[Any]:
        pairs = [(seat["role"], seat["count"]) for seat in value or []]
        pairs += [("", None)] * (LINES - len(pairs))
        return [part for pair in pairs[:LINES] for part in pair]

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """One paragraph per line, each control with a name that a screen reader can say."""
        values = value if value and not any(isinstance(v, dict) for v in value) else self.decompress(value)
        drawn = [
            widget.render(
                f"{name}_{n}",
                part,
                {"id": f"id_{name}_{n}", "aria-label": f"{'people' if n % 2 else 'role'} {n // 2 + 1}"},
                renderer,
            )
            for n, (widget, part) in enumerate(zip(self.widgets, values, strict=True))
        ]
        lines = [(drawn[n], drawn[n + 1]) for n in range(0, len(drawn), 2)]
        return format_html("<div>{}</div>", format_html_join("", "<p>{} × {}</p>", ((b, a) for a, b in lines)))


class SeatsField(forms.MultiValueField):
    """Seats as the model keeps them: [{"role", "count"}], without the empty lines."""

    def __init__(self, roles: Sequence[str] = (), **kwargs: Any) -> None:
        line = (
            lambda: forms.CharField(required=False),
            lambda: forms.IntegerField(required=False, min_value=1, max_value=MOST),
        )
        fields = [make() for _ in range(LINES) for make in line]
        super().__init__(fields, widget=SeatsWidget(roles), required=False, require_all_fields=False, **kwargs)

    def compress(self, data_list: list[Any]) -> list[dict[str, Any]]:
        seats = []
        for role, count in zip(data_list[::2], data_list[1::2], strict=True):
            if role and not count:
                raise forms.ValidationError(f"How many people of the role {role}?")
            if count and not role:
                raise forms.ValidationError(f"{count} people of which role?")
            if role:
                seats.append({"role": role, "count": count})
        return seats
