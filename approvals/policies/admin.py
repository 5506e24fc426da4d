"""Rules in the admin: drafts only. What is in force is read here, and changes through an action."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from approvals.policies import drafts
from approvals.policies.admin_form import MatrixDraftForm, VersionForm
from approvals.policies.models import MatrixDraft, PolicyVersion
from approvals.policies.publish import matrix_in_force
from approvals.policies.wording import as_yaml
from tenants.access import Access, access_for, tenants_of
from tenants.models import Environment, Role

SAID = ("expression", "effect", "seats", "message", "overridable", "mode")


def accesses(request: HttpRequest) -> dict[UUID, Access]:
    """The reader's accesses, of the tenants in which they administer anything; read once per request."""
    kept: dict[UUID, Access] | None = getattr(request, "_accesses", None)
    if kept is None:
        found = [access_for(request.user, t) for t in tenants_of(request.user)] if request.user.is_authenticated else []
        kept = {access.tenant.pk: access for access in found if access.environments_where("administer")}
        request._accesses = kept  # type: ignore[attr-defined]
    return kept


def places(request: HttpRequest) -> QuerySet[Environment]:
    """The environments that the reader administers."""
    ids = [pk for access in accesses(request).values() for pk in access.environments_where("administer")]
    return Environment.objects.filter(pk__in=ids).select_related("tenant").order_by("tenant__slug", "slug")


def role_names(request: HttpRequest) -> list[str]:
    roles = Role.objects.filter(tenant__in=accesses(request).keys()).order_by("name")
    return list(roles.values_list("name", flat=True).distinct())


def via(request: HttpRequest) -> str:
    return getattr(request, "correlation_id", "")


class DraftAdmin(admin.ModelAdmin):
    """What both kinds of drafts have in common: drafts are edited, everything else is only read, nothing is deleted."""

    actions = ("give_up",)

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
    form = VersionForm
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
            return ("home", "slug", "everywhere", *SAID)
        if obj.state == "draft":
            return ("policy", "version", *SAID)
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
            drafts.edit(obj.pk, form.wording(), by=access, correlation_id=via(request))
            return
        said = form.cleaned_data
        made = drafts.draft(
            said["home"],
            said["slug"],
            form.wording(),
            by=self.access_to(request, said["home"].pk),
            everywhere=said["everywhere"],
            correlation_id=via(request),
        )
        obj.pk, obj.policy, obj.version, obj._state.adding = made.pk, made.policy, made.version, False

    @admin.action(description="Give up the chosen drafts", permissions=["change"])
    def give_up(self, request: HttpRequest, queryset: QuerySet[PolicyVersion]) -> None:
        for version in queryset.filter(state="draft"):
            access = self.access_to(request, version.policy.home_id)
            drafts.abandon(version.pk, by=access, correlation_id=via(request))
            self.message_user(request, f"{version} is given up.", messages.SUCCESS)


@admin.register(MatrixDraft)
class MatrixDraftAdmin(DraftAdmin):
    form = MatrixDraftForm
    list_display = ("environment", "state", "created_at", "published_at")
    list_filter = ("state",)
    change_form_template = "admin/approvals/matrixdraft/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[MatrixDraft]:
        return super().get_queryset(request).filter(environment__in=places(request)).select_related("environment")

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
            kwargs["queryset"] = places(request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Start from what is in force in the environment that the address names."""
        initial = super().get_changeform_initial_data(request)
        place = places(request).filter(pk=str(initial["environment"])).first() if initial.get("environment") else None
        return {**initial, "rows": matrix_in_force(place.pk)} if place else initial

    def save_model(self, request: HttpRequest, obj: MatrixDraft, form: Any, change: bool) -> None:
        access, rows = self.access_to(request, obj.environment.tenant_id), form.cleaned_data["rows"]
        if change:
            drafts.edit_matrix(obj.pk, rows, by=access, correlation_id=via(request))
            return
        made = drafts.draft_matrix(obj.environment, rows, by=access, correlation_id=via(request))
        obj.pk, obj.tenant_id, obj._state.adding = made.pk, made.tenant_id, False

    @admin.action(description="Give up the chosen drafts", permissions=["change"])
    def give_up(self, request: HttpRequest, queryset: QuerySet[MatrixDraft]) -> None:
        for draft in queryset.filter(state="draft"):
            access = self.access_to(request, draft.tenant_id)
            drafts.abandon_matrix(draft.pk, by=access, correlation_id=via(request))
            self.message_user(request, f"{draft} is given up.", messages.SUCCESS)
