"""Tenants, environments, resources, members, roles and tokens in the admin, scoped to who administers them."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from tenants.admin_forms import MemberForm, RoleForm
from tenants.admin_scope import TenantScopedAdmin, administered, scoped
from tenants.models import ApiToken, Environment, Principal, Resource, Role, Tenant
from tenants.places import create_environment, create_tenant
from tenants.roles import add_member, create_role, grant, remove_member
from tenants.tokens import revoke

admin.site.unregister(Group)
admin.site.site_header = admin.site.site_title = "Interlock administration"


@admin.register(Tenant)
class TenantAdmin(TenantScopedAdmin):
    tenant_path = "pk"
    list_display = ("name", "slug", "created_at")
    search_fields = ("name", "slug")
    fields = ("slug", "name")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return administered(request) is None

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("slug",) if obj else ()

    def save_model(self, request: HttpRequest, obj: Tenant, form: ModelForm, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        made = create_tenant(obj.slug, obj.name, by=_by(request))
        obj.pk, obj._state.adding = made.pk, False

    def tenants_of(self, obj: Tenant) -> list[Any]:
        return [obj.pk]


@admin.register(Environment)
class EnvironmentAdmin(TenantScopedAdmin):
    list_display = ("slug", "tenant", "name", "risk_class", "root")
    list_filter = ("risk_class",)
    list_select_related = ("tenant",)
    search_fields = ("slug", "name")
    fields = ("tenant", "slug", "name", "risk_class", "root", "settings")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant", "slug") if obj else ()

    def save_model(self, request: HttpRequest, obj: Environment, form: ModelForm, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        made = create_environment(
            obj.tenant, obj.slug, obj.name, obj.risk_class, obj.root, by=_by(request), settings=obj.settings
        )
        obj.pk, obj._state.adding = made.pk, False
        self.message_user(request, "It has no row in the approval matrix yet: until it has, everything is denied.")


@admin.register(Resource)
class ResourceAdmin(TenantScopedAdmin):
    list_display = ("name", "kind", "environment", "risk_class", "monthly_cost")
    list_filter = ("kind", "risk_class")
    list_select_related = ("environment",)
    search_fields = ("name",)
    fields = ("environment", "kind", "name", "labels", "monthly_cost", "risk_class", "depends_on")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("environment",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Resource, form: ModelForm, change: bool) -> None:
        obj.tenant_id = obj.environment.tenant_id
        super().save_model(request, obj, form, change)


@admin.register(Principal)
class PrincipalAdmin(TenantScopedAdmin):
    """Members. Who belongs to another tenant too, or administers the installation, can only have roles changed here."""

    tenant_path = "groups__role__tenant"
    personal: ClassVar[tuple[str, ...]] = ("username", "display_name", "email")
    form = MemberForm
    list_display = ("username", "display_name", "kind", "owner", "is_active", "role_names")
    list_filter = ("kind", "is_active")
    search_fields = ("username", "display_name", "email")
    identity = ("username", "display_name", "email", "kind", "owner", "is_active")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("groups__role__tenant")

    @admin.display(description="roles")
    def role_names(self, principal: Principal) -> str:
        return ", ".join(sorted(g.role.name for g in principal.groups.all() if hasattr(g, "role")))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        installation = ("is_staff", "is_superuser") if administered(request) is None else ()
        return (*self.identity, *installation, "roles")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None or self._is_theirs(request, obj):
            return ()
        return self.identity

    def _is_theirs(self, request: HttpRequest, obj: Principal) -> bool:
        """Whether an identity may be edited here: nobody takes over an account that reaches further than theirs."""
        tenants = administered(request)
        if tenants is None:
            return True
        places = set(Tenant.objects.filter(roles__group__user=obj).values_list("pk", flat=True))
        return not (obj.is_superuser or obj.is_staff) and places <= {t.pk for t in tenants}

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> type[ModelForm]:
        choices = scoped(Role.objects.select_related("tenant"), administered(request), "tenant")
        made = super().get_form(request, obj, change, **kwargs)
        return type("MemberForm", (made,), {"role_choices": choices})

    def save_model(self, request: HttpRequest, obj: Principal, form: ModelForm, change: bool) -> None:
        if not change:
            obj.set_unusable_password()
        with transaction.atomic():
            if change:
                super().save_model(request, obj, form, change)
            else:
                admin.ModelAdmin.save_model(self, request, obj, form, change)
            wanted, choices = set(form.cleaned_data["roles"]), set(form.role_choices)  # type: ignore[attr-defined]
            held = set(Role.objects.filter(group__user=obj)) & choices
            for role in sorted(wanted - held, key=lambda r: r.name):
                add_member(obj, role, by=_by(request))
            for role in sorted(held - wanted, key=lambda r: r.name):
                remove_member(obj, role, by=_by(request))
            if not change:
                self.record_change(request, obj, None, [n for n in form.changed_data if n != "roles"])
        if not change and obj.kind == "person":
            self.message_user(request, "They set their password through “Forgot your password” on the sign-in page.")

    def tenants_of(self, obj: Principal) -> list[Any]:
        return list(Tenant.objects.filter(roles__group__user=obj).distinct().values_list("pk", flat=True))


@admin.register(Role)
class RoleAdmin(TenantScopedAdmin):
    form = RoleForm
    list_display = ("name", "tenant")
    list_select_related = ("tenant",)
    search_fields = ("name",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        places = [f"in_{e.slug}" for e in obj.tenant.environments.all()] if obj else []
        return ["tenant", "name", *(["everywhere", *places] if obj else [])]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant", "name") if obj else ()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> type[ModelForm]:
        kwargs["fields"] = [] if obj else ["tenant", "name"]
        made = super().get_form(request, obj, change, **kwargs)
        return type("RoleForm", (made,), RoleForm.fields_for(obj) if obj else {})

    def save_model(self, request: HttpRequest, obj: Role, form: ModelForm, change: bool) -> None:
        if not change:
            made = create_role(obj.tenant, obj.name, by=_by(request))
            obj.pk, obj.group_id, obj._state.adding = made.pk, made.group_id, False
            self.message_user(request, "Now say what it may do, and where.", messages.INFO)
            return
        grant(obj, obj.tenant, form.cleaned_data["everywhere"], by=_by(request))
        for environment in obj.tenant.environments.all():
            grant(obj, environment, form.cleaned_data[f"in_{environment.slug}"], by=_by(request))


@admin.register(ApiToken)
class ApiTokenAdmin(TenantScopedAdmin):
    list_display = ("name", "prefix", "principal", "tenant", "expires_at", "revoked_at", "last_used_at")
    list_select_related = ("principal", "tenant")
    search_fields = ("name", "prefix")
    readonly_fields = ("name", "prefix", "principal", "tenant", "scopes", "expires_at", "revoked_at", "last_used_at")
    fields = readonly_fields
    actions = ("revoke_tokens",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.action(description="Revoke the selected tokens")
    def revoke_tokens(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        count = sum(revoke(token, _by(request)) for token in queryset)
        self.message_user(request, f"Revoked {count} of them; they stop working at once.")


def _by(request: HttpRequest) -> Principal:
    assert isinstance(request.user, Principal)
    return request.user
