"""Tenants, environments and resources in the admin, scoped to who administers them. People are in admin_people."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest

from tenants import admin_people
from tenants.admin_forms import EnvironmentForm, ResourceForm
from tenants.admin_scope import TenantScopedAdmin, administered, person_of
from tenants.models import Environment, Resource, Tenant
from tenants.places import create_environment, create_tenant

__all__ = ["admin_people"]
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

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        made = create_tenant(obj.slug, obj.name, by=person_of(request))
        obj.pk, obj._state.adding = made.pk, False

    def tenants_of(self, obj: Tenant) -> list[Any]:
        return [obj.pk]


@admin.register(Environment)
class EnvironmentAdmin(TenantScopedAdmin):
    """Where files are written, and whom executors may reach, superusers say: the workers serve all tenants."""

    form = EnvironmentForm
    list_display = ("slug", "tenant", "name", "risk_class", "root")
    list_filter = ("risk_class",)
    list_select_related = ("tenant",)
    search_fields = ("slug", "name")
    fields = ("tenant", "slug", "name", "risk_class", "root", "settings")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        installation = () if administered(request) is None else ("root", "settings")
        return (("tenant", "slug") if obj else ()) + installation

    def save_model(self, request: HttpRequest, obj: Environment, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        made = create_environment(
            obj.tenant, obj.slug, obj.name, obj.risk_class, obj.root, by=person_of(request), settings=obj.settings
        )
        obj.pk, obj._state.adding = made.pk, False
        if not obj.root:
            self.message_user(
                request, "Files can be changed there once somebody who runs the installation sets its root."
            )
        self.message_user(request, "It has no row in the approval matrix yet: until it has, everything is denied.")


@admin.register(Resource)
class ResourceAdmin(TenantScopedAdmin):
    form = ResourceForm
    list_display = ("name", "kind", "environment", "risk_class", "monthly_cost")
    list_filter = ("kind", "risk_class")
    list_select_related = ("environment",)
    search_fields = ("name",)
    fields = ("environment", "kind", "name", "labels", "monthly_cost", "risk_class", "depends_on")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("environment",) if obj else ()

    autocomplete_fields = ("depends_on",)

    def save_model(self, request: HttpRequest, obj: Resource, form: Any, change: bool) -> None:
        obj.tenant_id = obj.environment.tenant_id
        super().save_model(request, obj, form, change)
