"""
What a tenant admin sees in the admin site: the rows of the tenants they administer, and nothing that leads elsewhere.

Guardian does not scope ModelAdmin, so every way in is scoped here: lists, objects, choices of relations, permissions.
A foreign object answers as an unknown one. Superusers administer the installation and see every tenant.
"""

from typing import Any, ClassVar

from django.contrib import admin
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from audit.events import Entry, Subject, record
from tenants.access import access_for, tenants_of
from tenants.models import Environment, Principal, Resource, Role, Tenant

TENANT_OF: dict[type[Model], str] = {
    Tenant: "pk", Environment: "tenant", Resource: "tenant", Role: "tenant", Principal: "groups__role__tenant",
}  # fmt: skip


def administered(request: HttpRequest) -> list[Tenant] | None:
    """The tenants that the signed-in person administers as a whole; None is all of them, for a superuser."""
    person = request.user
    if not isinstance(person, Principal) or not person.is_active:
        return []
    if person.is_superuser:
        return None
    known: list[Tenant] | None = getattr(request, "_administered", None)
    if known is None:
        known = [t for t in tenants_of(person) if access_for(person, t).can("administer")]
        request._administered = known  # type: ignore[attr-defined]
    return known


def scoped(queryset: QuerySet[Any], tenants: list[Tenant] | None, path: str) -> QuerySet[Any]:
    if tenants is None:
        return queryset
    lookup = f"{path}__in" if path != "pk" else "pk__in"
    return queryset.filter(**{lookup: [t.pk for t in tenants]}).distinct()


class TenantScopedAdmin(admin.ModelAdmin):
    """`tenant_path` leads from the model to its tenant; `personal` fields enter events as commitments only."""

    tenant_path: ClassVar[str] = "tenant"
    personal: ClassVar[tuple[str, ...]] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return scoped(super().get_queryset(request), administered(request), self.tenant_path)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["queryset"] = self._choices(db_field, request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["queryset"] = self._choices(db_field, request)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def _choices(self, db_field: Any, request: HttpRequest) -> QuerySet[Any]:
        model = db_field.remote_field.model
        path = TENANT_OF.get(model)
        if path is None:
            return model._default_manager.none()
        return scoped(model._default_manager.all(), administered(request), path)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return administered(request) != []

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, None)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What events and actions refer to is not deleted; it is renamed, closed or retired."""
        return False

    def _may(self, request: HttpRequest, obj: Any) -> bool:
        tenants = administered(request)
        if obj is None or tenants is None:
            return tenants != []
        return self.get_queryset(request).filter(pk=obj.pk).exists()

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm, change: bool) -> None:
        """Save, and leave one event with what changed, before and after, in the same transaction."""
        before = type(obj)._default_manager.filter(pk=obj.pk).values().first() if change else None
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            self.record_change(request, obj, before, [n for n in form.changed_data if hasattr(obj, n)])

    def record_change(self, request: HttpRequest, obj: Any, before: dict[str, Any] | None, names: list[str]) -> None:
        kind = obj._meta.model_name
        facts: dict[str, Any] = {kind: str(obj.pk), "before": {}, "after": {}}
        private: dict[str, str] = {}
        for name in names:
            field = obj._meta.get_field(name)
            if field.many_to_many:
                continue
            old, new = (before or {}).get(field.attname), getattr(obj, field.attname)
            if old == new:
                continue
            if name in self.personal:
                private |= {f"{name}_before": _text(old), f"{name}_after": _text(new)}
            else:
                facts["before"][name], facts["after"][name] = _plain(old), _plain(new)
        verb = f"{kind}.changed" if before else f"{kind}.created"
        by = str(request.user.pk)
        correlation = getattr(request, "correlation_id", "")
        for tenant_id in self.tenants_of(obj):
            subject = Subject("tenant", tenant_id)
            record(Entry(tenant_id, subject, verb, by, correlation_id=correlation, facts=facts, private=private))

    def tenants_of(self, obj: Any) -> list[Any]:
        return [obj.tenant_id]


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
