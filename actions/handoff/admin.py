"""What is handed over to whom, and where tickets are sent, in the admin: by who administers the tenant, with events."""

import hashlib
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from actions.handoff.hooks import fault_of, keep, opened
from actions.models import HandoffRule, Webhook
from actions.models.handoff import ENDINGS, USUAL
from tenants.access import who_may
from tenants.admin_site.scope import TenantScopedAdmin
from tenants.models import Environment, Role, Tenant

KEPT = "Kept encrypted and never shown again; empty keeps what is there."


def tenant_of(form: Any, values: dict[str, Any]) -> Tenant | None:
    """The tenant that a form is about: chosen, or that of the row, which cannot be changed any more."""
    return values.get("tenant") or (form.instance.tenant if form.instance.tenant_id else None)


def check_place(form: Any, values: dict[str, Any]) -> None:
    place, tenant = values.get("environment"), tenant_of(form, values)
    if place and tenant and place.tenant_id != tenant.pk:
        form.add_error("environment", "Choose an environment of the same tenant.")


class HandoffRuleForm(forms.ModelForm):
    endings = forms.MultipleChoiceField(
        choices=[(e, e.replace("_", " ")) for e in ENDINGS],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        initial=list(USUAL),
        help_text="What opens a ticket: how an action ended, or why it is held. None: no ticket.",
    )

    class Meta:
        model = HandoffRule
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
            "acknowledge_within_s": "Seconds; then the role below is told, once.",
            "escalate_to": "A role's name; empty tells nobody on.",
        }

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        check_place(self, values)
        tenant, to = tenant_of(self, values), values.get("to")
        if tenant is None:
            return values
        if to == HandoffRule.To.PERSON and not values.get("person"):
            self.add_error("person", "Say whom.")
        if to == HandoffRule.To.ROLE and not values.get("role"):
            self.add_error("role", "Say which.")
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
            self.add_error("person", "Choose a person who may look at actions there.")


class HandoffRuleAdmin(TenantScopedAdmin):
    """Where a tenant has no rule, what fails or is in doubt goes to whoever proposed it."""

    form = HandoffRuleForm
    list_display = ("tenant", "environment", "to", "person", "role", "acknowledge_within_s", "escalate_to")
    list_select_related = ("tenant", "environment", "person")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant",) if obj else ()


class WebhookForm(forms.ModelForm):
    url = forms.CharField(required=False, label="Address", help_text=f"Begins with https://. {KEPT}")
    secret = forms.CharField(required=False, help_text=f"What messages are signed with (HMAC-SHA256). {KEPT}")
    token = forms.CharField(required=False, help_text=f"What GitHub, GitLab or Jira asks for. {KEPT}")

    class Meta:
        model = Webhook
        fields: ClassVar[list[str]] = ["tenant", "environment", "name", "kind", "enabled"]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        check_place(self, values)
        before = opened(self.instance) if self.instance.hidden else {}
        names = ("url", "secret", "token")
        self.hidden = {name: (values.get(name) or "").strip() or before.get(name, "") for name in names}
        if not self.errors and not self.hidden["url"]:
            raise ValidationError({"url": "Say where to."})
        field, fault = fault_of(str(values.get("kind", "")), **self.hidden) if not self.errors else ("", "")
        if fault:
            self.add_error(field, fault)
        return values


class WebhookAdmin(TenantScopedAdmin):
    """A webhook is switched off, not deleted: what was sent refers to it."""

    form = WebhookForm
    list_display = ("name", "tenant", "environment", "kind", "host", "enabled")
    list_select_related = ("tenant", "environment")
    fields = ("tenant", "environment", "name", "kind", "url", "secret", "token", "enabled", "host")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant", "host") if obj else ("host",)

    def save_model(self, request: HttpRequest, obj: Webhook, form: Any, change: bool) -> None:
        if any(form.cleaned_data.get(name) for name in ("url", "secret", "token")):
            keep(obj, **form.hidden)
        super().save_model(request, obj, form, change)

    def seen(self, pk: Any, form: Any) -> dict[str, Any]:
        """With the host, and a fingerprint by which an event says that what is hidden has changed."""
        row = Webhook.objects.get(pk=pk)
        mark = hashlib.sha256(bytes(row.hidden or b"")).hexdigest()[:12]
        return {**super().seen(pk, form), "host": row.host, "hidden": mark}


def register() -> None:
    admin.site.register(HandoffRule, HandoffRuleAdmin)
    admin.site.register(Webhook, WebhookAdmin)
