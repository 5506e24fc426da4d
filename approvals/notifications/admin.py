"""Whom a tenant tells, and what may be decided at once, in the admin: by who administers the tenant, with events."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import HttpRequest

from approvals.models import ApprovalSettings, NotificationRule
from approvals.notifications.encrypted_urls import MAX_URLS, decrypt_urls, encrypt_urls, url_fault
from approvals.notifications.enqueue import MAX_ADDRESSES
from tenants.admin_site.scope import TenantScopedAdmin, administered_tenants, scope_to_tenants
from tenants.models import Tenant

LINES_WIDGET = forms.Textarea(attrs={"rows": 3})


class NotificationRuleForm(forms.ModelForm):
    addresses = forms.CharField(required=False, widget=LINES_WIDGET, help_text="Mail addresses, one a line.")
    services = forms.CharField(
        required=False,
        widget=LINES_WIDGET,
        help_text="Apprise addresses, one a line. Kept encrypted and never shown again; empty keeps what is there.",
    )

    class Meta:
        model = NotificationRule
        fields: ClassVar[list[str]] = ["tenant", "environment", "event", "after_s", "to", "role", "addresses"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["addresses"] = "\n".join(self.instance.addresses or [])
        if "after_s" in self.fields:
            self.fields["after_s"].help_text = "Seconds after the opening. Empty: at once, at half time, at 80 %."

    def clean_addresses(self) -> list[str]:
        found = self.cleaned_data["addresses"].split()
        for address in found:
            validate_email(address)
        if len(found) > MAX_ADDRESSES:
            raise ValidationError(f"Name at most {MAX_ADDRESSES} addresses; use a list of your mail server.")
        return list(found)

    def clean_services(self) -> list[str]:
        found = self.cleaned_data["services"].split()
        if faults := [fault for url in found if (fault := url_fault(url))]:
            raise ValidationError(faults[0])
        if len(found) > MAX_URLS:
            raise ValidationError(f"Name at most {MAX_URLS} services.")
        return list(found)

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        to, place = values.get("to"), values.get("environment")
        tenant = values.get("tenant") or (self.instance.tenant if self.instance.tenant_id else None)
        if place and tenant and place.tenant_id != tenant.pk:
            self.add_error("environment", "Choose an environment of the same tenant.")
        needed = {"role": "role", "addresses": "addresses"}.get(str(to))
        if needed and not values.get(needed):
            self.add_error(needed, "Say which.")
        if to == NotificationRule.To.URLS and not values.get("services") and not self.instance.urls:
            self.add_error("services", "Say which.")
        return values


@admin.register(NotificationRule)
class NotificationRuleAdmin(TenantScopedAdmin):
    """Where a tenant has no rule for an event, the built-in one applies; `nobody` silences it."""

    form = NotificationRuleForm
    personal = ("addresses",)
    list_display = ("event", "tenant", "environment", "to", "after_s")
    list_filter = ("event",)
    list_select_related = ("tenant", "environment")
    fields = ("tenant", "environment", "event", "after_s", "to", "role", "addresses", "services", "kept")
    readonly_fields = ("kept",)

    @admin.display(description="services kept")
    def kept(self, rule: NotificationRule) -> str:
        if not rule.pk or not rule.urls:
            return "none"
        return ", ".join(url.partition("://")[0] for url in decrypt_urls(rule))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant", "kept") if obj else ("kept",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: NotificationRule, form: Any, change: bool) -> None:
        if form.cleaned_data.get("services"):
            encrypt_urls(obj, form.cleaned_data["services"])
        super().save_model(request, obj, form, change)


@admin.register(ApprovalSettings)
class ApprovalSettingsAdmin(TenantScopedAdmin):
    list_display = ("tenant", "bulk_below")
    list_select_related = ("tenant",)
    fields = ("tenant", "bulk_below")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant",) if obj else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if db_field.name == "tenant":
            field.queryset = scope_to_tenants(Tenant.objects.all(), administered_tenants(request), "pk")
        return field
