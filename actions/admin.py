"""The admin site of actions: concurrency limits, incident rules, webhooks. Each change leaves an event."""

import hashlib
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from actions.controls.worker_queues import wake_up
from actions.incidents.messages import check_webhook, decrypt_secrets, store_secrets
from actions.models import ConcurrencyLimit, IncidentRule, Webhook
from actions.models.incident import ALWAYS_OPENS, DEFAULT_ENDINGS, ENDING_LABELS
from actions.types.registry import executors
from audit.log.events import NewEvent, Subject, record
from tenants.access import who_may
from tenants.admin_site.scope import TenantScopedAdmin
from tenants.models import Environment, Role, Tenant


class ConcurrencyLimitForm(forms.ModelForm):
    type = forms.ChoiceField(
        label="Action type", required=False, help_text="All types: the limit counts all types together."
    )

    class Meta:
        model = ConcurrencyLimit
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


class ConcurrencyLimitAdmin(TenantScopedAdmin):
    """The scope of a limit is fixed; its number may change. It applies to starts from then on."""

    form = ConcurrencyLimitForm
    list_display = ("tenant", "place", "kind", "most")
    list_select_related = ("tenant", "environment")
    fields = ("tenant", "environment", "type", "most")

    @admin.display(description="environment")
    def place(self, limit: ConcurrencyLimit) -> str:
        return limit.environment.slug if limit.environment else "all together"

    @admin.display(description="action type")
    def kind(self, limit: ConcurrencyLimit) -> str:
        return limit.type or "all types"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant", "environment", "type") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Events do not refer to a limit, so it may be deleted: then as many run as the workers can."""
        return self.has_change_permission(request, obj)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        wake_up("execute")

    def delete_model(self, request: HttpRequest, obj: ConcurrencyLimit) -> None:
        facts = {
            "concurrencylimit": str(obj.pk),
            "before": {"environment": str(obj.environment_id or ""), "type": obj.type, "most": obj.most},
        }
        via = getattr(request, "correlation_id", "")
        super().delete_model(request, obj)
        subject = Subject("tenant", obj.tenant_id)
        record(NewEvent(obj.tenant_id, subject, "concurrencylimit.removed", str(request.user.pk), "ok", via, facts))
        wake_up("execute")

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ConcurrencyLimit]) -> None:
        for limit in queryset:
            self.delete_model(request, limit)


def register_limits() -> None:
    admin.site.register(ConcurrencyLimit, ConcurrencyLimitAdmin)


# Incident rules and webhooks.


SECRET_HELP = "Stored encrypted and never shown again. Empty: keep the current value."


def tenant_of(form: Any, values: dict[str, Any]) -> Tenant | None:
    """The tenant of a form: the chosen one, or that of the existing row."""
    return values.get("tenant") or (form.instance.tenant if form.instance.tenant_id else None)


def check_environment(form: Any, values: dict[str, Any]) -> None:
    place, tenant = values.get("environment"), tenant_of(form, values)
    if place and tenant and place.tenant_id != tenant.pk:
        form.add_error("environment", "Choose an environment of the same tenant.")


class IncidentRuleForm(forms.ModelForm):
    endings = forms.MultipleChoiceField(
        choices=[(ending, label) for ending, label in ENDING_LABELS.items() if ending != ALWAYS_OPENS],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        initial=list(DEFAULT_ENDINGS),
        help_text="Endings and held reasons that open an incident. Empty: no incident.",
    )

    class Meta:
        model = IncidentRule
        fields: ClassVar[list[str]] = [
            "tenant",
            "environment",
            "endings",
            "to",
            "person",
            "role",
            "acknowledge_within_s",
            "escalate_to",
        ]
        help_texts: ClassVar[dict[str, str]] = {
            "acknowledge_within_s": "Seconds until the incident is escalated once to the role below.",
            "escalate_to": "Name of a role; empty: no escalation.",
        }

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        check_environment(self, values)
        tenant, to = tenant_of(self, values), values.get("to")
        if tenant is None:
            return values
        if to == IncidentRule.To.PERSON and not values.get("person"):
            self.add_error("person", "Choose a person.")
        if to == IncidentRule.To.ROLE and not values.get("role"):
            self.add_error("role", "Choose a role.")
        names = set(Role.objects.filter(tenant=tenant).values_list("name", flat=True))
        for field in ("role", "escalate_to"):
            if values.get(field) and values[field] not in names:
                self.add_error(field, f"This tenant has these roles: {', '.join(sorted(names))}.")
        self._check_person(values, tenant)
        return values

    def _check_person(self, values: dict[str, Any], tenant: Tenant) -> None:
        person, place = values.get("person"), values.get("environment")
        if person is None or self.errors:
            return
        places = [place] if place else list(Environment.objects.filter(tenant=tenant)[:1])
        if not person.is_person() or any(person.pk not in who_may("view", p, [person.pk]) for p in places):
            self.add_error("person", "Choose a person who may view actions there.")


class IncidentRuleAdmin(TenantScopedAdmin):
    """Without a rule, incidents of a tenant are assigned to the requester."""

    form = IncidentRuleForm
    list_display = ("tenant", "environment", "to", "person", "role", "acknowledge_within_s", "escalate_to")
    list_select_related = ("tenant", "environment", "person")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant",) if obj else ()


class WebhookForm(forms.ModelForm):
    url = forms.CharField(required=False, label="Address", help_text=f"Starts with https://. {SECRET_HELP}")
    secret = forms.CharField(required=False, help_text=f"Signs messages (HMAC-SHA256). {SECRET_HELP}")
    token = forms.CharField(required=False, help_text=f"The token that GitHub, GitLab or Jira requires. {SECRET_HELP}")

    class Meta:
        model = Webhook
        fields: ClassVar[list[str]] = ["tenant", "environment", "name", "kind", "enabled"]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        check_environment(self, values)
        before = decrypt_secrets(self.instance) if self.instance.hidden else {}
        names = ("url", "secret", "token")
        self.hidden = {name: (values.get(name) or "").strip() or before.get(name, "") for name in names}
        if not self.errors and not self.hidden["url"]:
            raise ValidationError({"url": "Enter an address."})
        field, fault = check_webhook(str(values.get("kind", "")), **self.hidden) if not self.errors else ("", "")
        if fault:
            self.add_error(field, fault)
        return values


class WebhookAdmin(TenantScopedAdmin):
    """A webhook is disabled, not deleted: deliveries refer to it."""

    form = WebhookForm
    list_display = ("name", "tenant", "environment", "kind", "host", "enabled")
    list_select_related = ("tenant", "environment")
    fields = ("tenant", "environment", "name", "kind", "url", "secret", "token", "enabled", "host")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant", "host") if obj else ("host",)

    def save_model(self, request: HttpRequest, obj: Webhook, form: Any, change: bool) -> None:
        if any(form.cleaned_data.get(name) for name in ("url", "secret", "token")):
            store_secrets(obj, **form.hidden)
        super().save_model(request, obj, form, change)

    def snapshot(self, pk: Any, form: Any) -> dict[str, Any]:
        """With the host, and a fingerprint that lets an event record a change of the secrets."""
        row = Webhook.objects.get(pk=pk)
        mark = hashlib.sha256(bytes(row.hidden or b"")).hexdigest()[:12]
        return {**super().snapshot(pk, form), "host": row.host, "hidden": mark}


def register_incidents() -> None:
    admin.site.register(IncidentRule, IncidentRuleAdmin)
    admin.site.register(Webhook, WebhookAdmin)


# Registration.


register_incidents()
register_limits()
