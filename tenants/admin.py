"""Tenants, environments, resources, members, roles and tokens in the admin, scoped to who administers them."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.contrib.auth.tokens import default_token_generator
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from tenants.access import belongs_to
from tenants.admin_site.forms import EnvironmentForm, MemberForm, ResourceForm, RoleForm
from tenants.admin_site.scope import TenantScopedAdmin, administered_tenants, scope_to_tenants, signed_in_person
from tenants.audit_hooks.events import record_on_principal
from tenants.authentication.tokens import revoke_token
from tenants.models import ApiToken, Environment, Principal, Resource, Role, Tenant
from tenants.provisioning import create_environment, create_tenant
from tenants.roles import add_member, announce_role_change, create_role, grant, remove_member

admin.site.unregister(Group)
admin.site.site_header = admin.site.site_title = "Interlock administration"


@admin.register(Tenant)
class TenantAdmin(TenantScopedAdmin):
    tenant_path = "pk"
    list_display = ("name", "slug", "created_at")
    search_fields = ("name", "slug")
    fields = ("slug", "name")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return administered_tenants(request) is None

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("slug",) if obj else ()

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        made = create_tenant(obj.slug, obj.name, by=signed_in_person(request))
        obj.pk, obj._state.adding = made.pk, False

    def tenants_of(self, obj: Tenant) -> list[Any]:
        return [obj.pk]


@admin.register(Environment)
class EnvironmentAdmin(TenantScopedAdmin):
    """Only superusers set `root` and `settings`: where files are written and what executors may reach."""

    form = EnvironmentForm
    list_display = ("slug", "tenant", "name", "risk_class", "root")
    list_filter = ("risk_class",)
    list_select_related = ("tenant",)
    search_fields = ("slug", "name")
    fields = ("tenant", "slug", "name", "risk_class", "root", "settings")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        installation = () if administered_tenants(request) is None else ("root", "settings")
        return (("tenant", "slug") if obj else ()) + installation

    def save_model(self, request: HttpRequest, obj: Environment, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        made = create_environment(
            obj.tenant,
            obj.slug,
            obj.name,
            obj.risk_class,
            obj.root,
            by=signed_in_person(request),
            settings=obj.settings,
        )
        obj.pk, obj._state.adding = made.pk, False
        if not obj.root:
            self.message_user(request, "Actions can change files there once a superuser sets its root directory.")
        self.message_user(
            request, "It has no row in the approval matrix yet. Until it has one, every action is denied."
        )


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


@admin.register(Principal)
class PrincipalAdmin(TenantScopedAdmin):
    """Members. For superusers and members of other tenants too, a tenant admin changes only roles."""

    tenant_path = "groups__role__tenant"
    personal: ClassVar[tuple[str, ...]] = ("username", "display_name", "email")
    form = MemberForm
    list_display = ("username", "display_name", "kind", "owner", "is_active", "role_names")
    list_filter = ("kind", "is_active")
    list_select_related = ("owner",)
    search_fields = ("username", "display_name", "email")
    identity = ("username", "display_name", "email", "kind", "owner", "is_active")
    actions = ("make_password_link",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("groups__role__tenant")

    @admin.display(description="roles")
    def role_names(self, principal: Principal) -> str:
        return ", ".join(sorted(g.role.name for g in principal.groups.all() if hasattr(g, "role")))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        installation = ("is_staff", "is_superuser") if administered_tenants(request) is None else ()
        return (*self.identity, *installation, "roles")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        return ("kind",) if self._may_edit_account(request, obj) else self.identity

    def _may_edit_account(self, request: HttpRequest, obj: Principal) -> bool:
        """Whether an account may be edited: not if it has access to tenants that the editor does not administer."""
        tenants = administered_tenants(request)
        if tenants is None:
            return True
        reached = {tenant.pk for who in (obj, *obj.agents.all()) for tenant in belongs_to(who)}
        return not (obj.is_superuser or obj.is_staff) and reached <= {tenant.pk for tenant in tenants}

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        field.queryset = field.queryset.filter(kind=Principal.Kind.PERSON)  # its one foreign key is the owner
        return field

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> type[ModelForm]:
        choices = scope_to_tenants(Role.objects.select_related("tenant"), administered_tenants(request), "tenant")
        made = super().get_form(request, obj, change, **kwargs)
        return type("MemberForm", (made,), {"role_choices": choices})

    def save_model(self, request: HttpRequest, obj: Principal, form: Any, change: bool) -> None:
        if not change:
            obj.set_unusable_password()
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Add new roles before the event and remove old ones after it, so that every affected tenant records it."""
        person, by = form.instance, signed_in_person(request)
        wanted, choices = set(form.cleaned_data["roles"]), set(form.role_choices)
        held = set(Role.objects.filter(group__user=person)) & choices
        for role in sorted(wanted - held, key=lambda r: r.name):
            add_member(person, role, by=by)
        super().save_related(request, form, formsets, change)
        for role in sorted(held - wanted, key=lambda r: r.name):
            remove_member(person, role, by=by)
        if "is_active" in form.changed_data:
            announce_role_change([person.pk, *person.agents.values_list("pk", flat=True)])
        if not change and person.is_person():
            self.message_user(request, "They have no password yet: choose “Create a link that sets the password”.")

    def tenants_of(self, obj: Principal) -> list[Any]:
        return [tenant.pk for tenant in belongs_to(obj)]

    @admin.action(description="Create a link that sets the password of one person")
    def make_password_link(self, request: HttpRequest, queryset: QuerySet[Principal]) -> HttpResponse | None:
        """Show the link, once. Event `principal.password_link_made`."""
        chosen = list(queryset[:2])
        if len(chosen) != 1:
            self.message_user(request, "Select one person.", messages.ERROR)
            return None
        person = chosen[0]
        if not (person.is_person() and person.is_active and self._may_edit_account(request, person)):
            self.message_user(
                request, "Only for active people who belong to your tenants only and are not staff.", messages.ERROR
            )
            return None
        record_on_principal(person, "principal.password_link_made", signed_in_person(request))
        uid, token = urlsafe_base64_encode(force_bytes(person.pk)), default_token_generator.make_token(person)
        link = request.build_absolute_uri(reverse("password_reset_confirm", args=[uid, token]))
        response = render(request, "tenants/password_link.html", {"person": person, "link": link})
        add_never_cache_headers(response)
        return response


@admin.register(Role)
class RoleAdmin(TenantScopedAdmin):
    form = RoleForm
    list_display = ("name", "tenant")
    list_select_related = ("tenant",)
    search_fields = ("name",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        environments = [f"in_{e.slug}" for e in obj.tenant.environments.all()] if obj else []
        return ["tenant", "name", *(["everywhere", *environments] if obj else [])]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant", "name") if obj else ()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> type[ModelForm]:
        kwargs["fields"] = [] if obj else ["tenant", "name"]
        made = super().get_form(request, obj, change, **kwargs)
        return type("RoleForm", (made,), RoleForm.fields_for(obj) if obj else {})

    def save_model(self, request: HttpRequest, obj: Role, form: Any, change: bool) -> None:
        by = signed_in_person(request)
        if not change:
            made = create_role(obj.tenant, obj.name, by=by)
            obj.pk, obj.group_id, obj._state.adding = made.pk, made.group_id, False
            self.message_user(request, "Now set its permissions.", messages.INFO)
            return
        grant(obj, obj.tenant, form.cleaned_data["everywhere"], by=by)
        for environment in obj.tenant.environments.all():
            grant(obj, environment, form.cleaned_data[f"in_{environment.slug}"], by=by)


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
        count = sum(revoke_token(token, signed_in_person(request)) for token in queryset)
        self.message_user(request, f"{count} tokens revoked; they stop working at once.")
