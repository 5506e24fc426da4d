"""The scope of the admin site: tenant admins see the rows of the tenants that they administer, and no others.

Guardian does not scope ModelAdmin, so lists, objects, choices of relations and permissions are scoped here. An object
of another tenant looks like an unknown one. Superusers administer the installation and see every tenant.
"""

import json
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from audit.errors import Forbidden
from audit.log.events import NewEvent, Subject, record
from tenants.access import access_for, tenants_of
from tenants.models import Environment, Principal, Resource, Role, Tenant

TENANT_OF: dict[type[Model], str] = {
    Tenant: "pk",
    Environment: "tenant",
    Resource: "tenant",
    Role: "tenant",
    Principal: "groups__role__tenant",
}


def signed_in_person(request: HttpRequest) -> Principal:
    """The signed-in person; the admin site admits nobody else."""
    if not isinstance(request.user, Principal):
        raise Forbidden
    return request.user


def administered_tenants(request: HttpRequest) -> list[Tenant] | None:
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


def scope_to_tenants(queryset: QuerySet[Any], tenants: list[Tenant] | None, path: str) -> QuerySet[Any]:
    if tenants is None:
        return queryset
    lookup = f"{path}__in" if path != "pk" else "pk__in"
    return queryset.filter(**{lookup: [t.pk for t in tenants]}).distinct()


class TenantScopedAdmin(admin.ModelAdmin):
    """`tenant_path` leads from the model to its tenant; `personal` fields enter events as commitments only."""

    tenant_path: ClassVar[str] = "tenant"
    personal: ClassVar[tuple[str, ...]] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return scope_to_tenants(super().get_queryset(request), administered_tenants(request), self.tenant_path)

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
        return scope_to_tenants(model._default_manager.all(), administered_tenants(request), path)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """A list accepts its own filters only: any other lookup could probe hidden fields, such as password hashes."""
        names = [name for name in self.get_list_filter(request) if isinstance(name, str)]
        return lookup.split("__")[0] in names and lookup.count("__") < 2

    def has_module_permission(self, request: HttpRequest) -> bool:
        return administered_tenants(request) != []

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, None)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Events and actions refer to these rows, so they are renamed, closed or retired, never deleted."""
        return False

    def _may(self, request: HttpRequest, obj: Any) -> bool:
        tenants = administered_tenants(request)
        if obj is None or tenants is None:
            return tenants != []
        return self.get_queryset(request).filter(pk=obj.pk).exists()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        form.before = self.snapshot(obj.pk, form) if change else {}
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Saved last: record one event about the change, in its transaction."""
        super().save_related(request, form, formsets, change)
        before = getattr(form, "before", None)  # None: a function created it and recorded that
        if before is not None:
            self.record_change(request, form.instance, before, self.snapshot(form.instance.pk, form), change)

    def snapshot(self, pk: Any, form: Any) -> dict[str, Any]:
        """The form's fields as the database has them, relations as sorted ids."""
        row = self.model._default_manager.get(pk=pk)
        known = {field.name: field for field in (*self.model._meta.fields, *self.model._meta.many_to_many)}
        return {name: _plain(row, known[name]) for name in form.fields if name in known}

    def record_change(
        self, request: HttpRequest, obj: Any, before: dict[str, Any], after: dict[str, Any], change: bool
    ) -> None:
        """One event `<model>.created` or `<model>.changed` in each of its tenants; none where nothing changed."""
        kind = obj._meta.model_name
        changed = [name for name in after if not change or before.get(name) != after[name]]
        if change and not changed:
            return
        shown = [name for name in changed if name not in self.personal]
        facts = {
            kind: str(obj.pk),
            "before": {name: before.get(name) for name in shown},
            "after": {name: after[name] for name in shown},
        }
        private: dict[str, str] = {}
        for name in set(changed) & set(self.personal):
            private |= {f"{name}_before": _text(before.get(name)), f"{name}_after": _text(after[name])}
        verb, by = f"{kind}.changed" if change else f"{kind}.created", str(request.user.pk)
        correlation_id = getattr(request, "correlation_id", "")
        for tenant_id in self.tenants_of(obj):
            subject = Subject("tenant", tenant_id)
            record(NewEvent(tenant_id, subject, verb, by, "ok", correlation_id, facts, private))

    def tenants_of(self, obj: Any) -> list[Any]:
        return [obj.tenant_id]


def _plain(row: Any, field: Any) -> Any:
    """A value that canonical JSON can hold."""
    if field.many_to_many:
        return sorted(str(pk) for pk in getattr(row, field.name).values_list("pk", flat=True))
    value = getattr(row, field.attname)
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)  # as text: it may hold numbers that canonical JSON refuses
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
