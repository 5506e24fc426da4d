"""The admin of this floor: drafts, the matrix in force, weights, notification rules and settings.

Drafts are edited; published policies and the matrix are read-only and change through an action.
"""

from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from approvals.blast.factors import FACTORS
from approvals.models import (
    TIERS,
    ApprovalSettings,
    BlastWeights,
    MatrixDraft,
    MatrixRow,
    NotificationRule,
    PolicyVersion,
)
from approvals.notifications.enqueue import MAX_ADDRESSES
from approvals.notifications.send import MAX_URLS, decrypt_urls, encrypt_urls, url_fault
from approvals.policies import drafts
from approvals.policies.admin_forms import MatrixDraftForm, PolicyVersionForm
from approvals.policies.matrix import matrix_table
from approvals.policies.policy_text import as_yaml
from approvals.policies.publish import published_matrix
from approvals.policies.weights import MAX_REASON, set_weights
from approvals.quorum.role_holders import role_holders_in
from approvals.verdict import count_by_role, describe_required_approvals
from audit.web import correlation_of
from tenants.access import Access, access_for, tenants_of
from tenants.admin_site.scope import TenantScopedAdmin, administered_tenants, scope_to_tenants
from tenants.models import Environment, Role, Tenant

POLICY_FIELDS = ("expression", "effect", "required_approvals", "message", "overridable", "mode")


def accesses(request: HttpRequest) -> dict[UUID, Access]:
    """The user's accesses, of the tenants in which they administer anything; read once per request."""
    kept: dict[UUID, Access] | None = getattr(request, "_accesses", None)
    if kept is None:
        found = [access_for(request.user, t) for t in tenants_of(request.user)] if request.user.is_authenticated else []
        kept = {access.tenant.pk: access for access in found if access.environments_where("administer")}
        request._accesses = kept  # type: ignore[attr-defined]
    return kept


def administered_environments(request: HttpRequest) -> QuerySet[Environment]:
    """The environments that the user administers."""
    ids = [pk for access in accesses(request).values() for pk in access.environments_where("administer")]
    return Environment.objects.filter(pk__in=ids).select_related("tenant").order_by("tenant__slug", "slug")


def role_names(request: HttpRequest) -> list[str]:
    roles = Role.objects.filter(tenant__in=accesses(request).keys()).order_by("name")
    return list(roles.values_list("name", flat=True).distinct())


class DraftAdmin(admin.ModelAdmin):
    """The admin of both kinds of drafts: drafts are edited, everything else is read-only, nothing is deleted."""

    actions = ("abandon",)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(accesses(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(accesses(request))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(accesses(request)) and (obj is None or self.get_queryset(request).filter(pk=obj.pk).exists())

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request, obj) and (obj is None or obj.state == "draft")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def access_to(self, request: HttpRequest, tenant_id: UUID) -> Access:
        return accesses(request)[tenant_id]


@admin.register(PolicyVersion)
class PolicyVersionAdmin(DraftAdmin):
    form = PolicyVersionForm
    list_display = ("policy", "version", "state", "effect", "mode", "published_at")
    list_filter = ("state", "effect", "mode")
    list_select_related = ("policy",)
    change_form_template = "admin/approvals/policyversion/change_form.html"

    @admin.display(description="as reviewers see it")
    def text(self, version: PolicyVersion) -> str:
        return as_yaml(version)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PolicyVersion]:
        whole = [pk for pk, access in accesses(request).items() if access.can("administer")]
        seen = super().get_queryset(request).filter(Q(policy__home__in=whole))
        return seen.select_related("policy__tenant", "policy__home")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None:
            return ("home", "slug", "everywhere", *POLICY_FIELDS)
        if obj.state == "draft":
            return ("policy", "version", *POLICY_FIELDS)
        return ("policy", "version", "state", "text", "published_at", "published_by_action")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None or obj.state != "draft":
            return () if obj is None else self.get_fields(request, obj)
        return ("policy", "version")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> type[ModelForm]:
        made = super().get_form(request, obj, change, **kwargs)
        whole = {pk: access for pk, access in accesses(request).items() if access.can("administer")}
        return type("VersionForm", (made,), {"accesses": whole, "roles": role_names(request)})

    def save_model(self, request: HttpRequest, obj: PolicyVersion, form: Any, change: bool) -> None:
        if change:
            access = self.access_to(request, obj.policy.home_id)
            drafts.edit_policy_draft(obj.pk, form.policy_text(), by=access, correlation_id=correlation_of(request))
            return
        values = form.cleaned_data
        made = drafts.draft_policy(
            values["home"],
            values["slug"],
            form.policy_text(),
            by=self.access_to(request, values["home"].pk),
            everywhere=values["everywhere"],
            correlation_id=correlation_of(request),
        )
        obj.pk, obj.policy, obj.version, obj._state.adding = made.pk, made.policy, made.version, False

    @admin.action(description="Abandon the selected drafts", permissions=["change"])
    def abandon(self, request: HttpRequest, queryset: QuerySet[PolicyVersion]) -> None:
        for version in queryset.filter(state="draft"):
            access = self.access_to(request, version.policy.home_id)
            drafts.abandon_policy_draft(version.pk, by=access, correlation_id=correlation_of(request))
            self.message_user(request, f"{version} was abandoned.", messages.SUCCESS)


@admin.register(MatrixDraft)
class MatrixDraftAdmin(DraftAdmin):
    form = MatrixDraftForm
    list_display = ("environment", "state", "created_at", "published_at")
    list_filter = ("state",)
    change_form_template = "admin/approvals/matrixdraft/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[MatrixDraft]:
        return (
            super()
            .get_queryset(request)
            .filter(environment__in=administered_environments(request))
            .select_related("environment")
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = ("environment", "rows", "state", "published_at", "published_by_action")
        if obj is not None and obj.state != "draft":
            return ((None, {"fields": fields}),)
        return ((None, {"fields": ("environment", *MatrixDraftForm.TIER_FIELDS)}),)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        return ("environment",) if obj.state == "draft" else ("environment", "rows", "state")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> type[ModelForm]:
        made = super().get_form(request, obj, change, **kwargs)
        return type("MatrixDraftForm", (made,), {"roles": role_names(request)})

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "environment":
            kwargs["queryset"] = administered_environments(request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Start from the matrix in force of the environment that the URL names."""
        initial = super().get_changeform_initial_data(request)
        place = (
            administered_environments(request).filter(pk=str(initial["environment"])).first()
            if initial.get("environment")
            else None
        )
        return {**initial, "rows": published_matrix(place.pk)} if place else initial

    def save_model(self, request: HttpRequest, obj: MatrixDraft, form: Any, change: bool) -> None:
        access, rows = self.access_to(request, obj.environment.tenant_id), form.cleaned_data["rows"]
        if change:
            drafts.edit_matrix_draft(obj.pk, rows, by=access, correlation_id=correlation_of(request))
            return
        made = drafts.draft_matrix(obj.environment, rows, by=access, correlation_id=correlation_of(request))
        obj.pk, obj.tenant_id, obj._state.adding = made.pk, made.tenant_id, False

    @admin.action(description="Abandon the selected drafts", permissions=["change"])
    def abandon(self, request: HttpRequest, queryset: QuerySet[MatrixDraft]) -> None:
        for draft in queryset.filter(state="draft"):
            access = self.access_to(request, draft.tenant_id)
            drafts.abandon_matrix_draft(draft.pk, by=access, correlation_id=correlation_of(request))
            self.message_user(request, f"{draft} was abandoned.", messages.SUCCESS)


# Weights are edited in place, with a reason, by people who administer the whole tenant.


class WeightsForm(forms.ModelForm):
    reason = forms.CharField(
        max_length=MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Why the weights change. Lower weights may require fewer approvals, so the event keeps this reason.",
    )

    class Meta:
        model = BlastWeights
        fields: ClassVar[list[str]] = ["tenant", *FACTORS]


@admin.register(BlastWeights)
class BlastWeightsAdmin(admin.ModelAdmin):
    """A tenant without a row weighs every factor at 100; rows are never deleted, they are set back to 100."""

    form = WeightsForm
    list_display = ("tenant", "changed")
    list_select_related = ("tenant",)
    fields = ("tenant", *FACTORS, "reason")

    @admin.display(description="other than 100")
    def changed(self, row: BlastWeights) -> str:
        return ", ".join(f"{name} {percent} %" for name, percent in row.unusual().items()) or "none"

    def get_queryset(self, request: HttpRequest) -> QuerySet[BlastWeights]:
        return super().get_queryset(request).filter(tenant__in=_administered_tenants(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant",) if obj else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["queryset"] = Tenant.objects.filter(pk__in=_administered_tenants(request), blast_weights=None)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(_administered_tenants(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return Tenant.objects.filter(pk__in=_administered_tenants(request), blast_weights=None).exists()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj.pk in _administered_tenants(request) if obj else bool(_administered_tenants(request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: BlastWeights, form: Any, change: bool) -> None:
        values = form.cleaned_data
        percents = {name: values[name] for name in FACTORS}
        access = accesses(request)[obj.tenant_id]
        set_weights(obj.tenant, percents, values["reason"], by=access, correlation_id=correlation_of(request))
        obj._state.adding = False


def _administered_tenants(request: HttpRequest) -> list[Any]:
    return [pk for pk, access in accesses(request).items() if access.can("administer")]


@admin.register(MatrixRow)
class MatrixRowAdmin(admin.ModelAdmin):
    """Read-only: rows are written by actions, through `approvals.policies.matrix`."""

    list_display = ("environment", "tier", "asks")
    list_select_related = ("environment",)
    change_list_template = "admin/approvals/matrixrow/change_list.html"
    fields = ("environment", "tier", "asks", "lacks")
    readonly_fields = fields

    @admin.display(description="required approvals")
    def asks(self, rule: MatrixRow) -> str:
        return describe_required_approvals(rule.required_approvals) or "none"

    @admin.display(description="people missing")
    def lacks(self, rule: MatrixRow) -> str:
        """Roles with fewer people than the row requires."""
        held = role_holders_in({rule.environment_id: rule.tenant_id})[rule.environment_id]
        few = [
            f"{count} × {role} required, {len(held.get(role, ()))} hold the role"
            for role, count in count_by_role(rule.required_approvals).items()
            if len(held.get(role, ())) < count
        ]
        return "; ".join(few) or "none"

    def get_queryset(self, request: HttpRequest) -> QuerySet[MatrixRow]:
        return super().get_queryset(request).filter(environment__in=administered_environments(request))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return administered_environments(request).exists()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return administered_environments(request).filter(**({"pk": obj.environment_id} if obj else {})).exists()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        rows = matrix_table(administered_environments(request))
        for row in rows:
            address = reverse("admin:approvals_matrixdraft_add")
            row["draft_url"] = f"{address}?environment={row['environment'].pk}"
        return super().changelist_view(request, {**(extra_context or {}), "matrix": rows, "tiers": TIERS})


# Notification rules and bulk decisions. Every change is an event.


LINES_WIDGET = forms.Textarea(attrs={"rows": 3})


class NotificationRuleForm(forms.ModelForm):
    addresses = forms.CharField(required=False, widget=LINES_WIDGET, help_text="Email addresses, one per line.")
    services = forms.CharField(
        required=False,
        widget=LINES_WIDGET,
        help_text="Apprise addresses, one per line. Stored encrypted, never shown again. Leave empty to keep them.",
    )

    class Meta:
        model = NotificationRule
        fields: ClassVar[list[str]] = ["tenant", "environment", "event", "after_s", "to", "role", "addresses"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["addresses"] = "\n".join(self.instance.addresses or [])
        if "after_s" in self.fields:
            self.fields[
                "after_s"
            ].help_text = "Seconds after the request opened. Empty: at once, at half time, at 80 %."

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
        to, environment = values.get("to"), values.get("environment")
        tenant = values.get("tenant") or (self.instance.tenant if self.instance.tenant_id else None)
        if environment and tenant and environment.tenant_id != tenant.pk:
            self.add_error("environment", "Choose an environment of the same tenant.")
        needed = {"role": "role", "addresses": "addresses"}.get(str(to))
        if needed and not values.get(needed):
            self.add_error(needed, "Enter at least one.")
        if to == NotificationRule.To.URLS and not values.get("services") and not self.instance.urls:
            self.add_error("services", "Enter at least one.")
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

    @admin.display(description="stored services")
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
