"""Caps in the admin: set, changed and removed by who administers the whole tenant, each with an event."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from actions.models import Cap
from actions.nudge import nudge
from actions.types.registry import executors
from audit.log.events import NewEvent, Subject, record
from tenants.admin_site.scope import TenantScopedAdmin


class CapForm(forms.ModelForm):
    type = forms.ChoiceField(label="Action type", required=False, help_text="All types: all of them together.")

    class Meta:
        model = Cap
        fields: ClassVar[list[str]] = ["tenant", "environment", "type", "most"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = {name: f"{it.title} ({name})" for name, it in executors().items()}
        known |= {self.instance.type: self.instance.type} if self.instance.type not in ("", *known) else {}
        if "type" in self.fields:
            self.fields["type"].choices = [("", "All types"), *sorted(known.items())]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        tenant, place = values.get("tenant"), values.get("environment")
        if tenant and place and place.tenant_id != tenant.pk:
            self.add_error("environment", "Choose an environment of the same tenant.")
        return values


class CapAdmin(TenantScopedAdmin):
    """What a cap counts stays; how many it lets run changes. In force at once, for what starts from then on."""

    form = CapForm
    list_display = ("tenant", "place", "kind", "most")
    list_select_related = ("tenant", "environment")
    fields = ("tenant", "environment", "type", "most")

    @admin.display(description="environment")
    def place(self, cap: Cap) -> str:
        return cap.environment.slug if cap.environment else "all together"

    @admin.display(description="action type")
    def kind(self, cap: Cap) -> str:
        return cap.type or "all types"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant", "environment", "type") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Unlike what events refer to, a cap is only a number: without it, as many run as there are workers for."""
        return self.has_change_permission(request, obj)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        nudge("execute")

    def delete_model(self, request: HttpRequest, obj: Cap) -> None:
        facts = {
            "cap": str(obj.pk),
            "before": {"environment": str(obj.environment_id or ""), "type": obj.type, "most": obj.most},
        }
        via = getattr(request, "correlation_id", "")
        super().delete_model(request, obj)
        subject = Subject("tenant", obj.tenant_id)
        record(NewEvent(obj.tenant_id, subject, "cap.removed", str(request.user.pk), "ok", via, facts))
        nudge("execute")

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Cap]) -> None:
        for cap in queryset:
            self.delete_model(request, cap)


def register() -> None:
    admin.site.register(Cap, CapAdmin)
