"""Forms of the admin for fields without a column: the roles of a principal, the permissions of a role."""

import posixpath
from typing import Any, ClassVar

from django import forms
from django.db.models import QuerySet

from tenants.models import PERMISSIONS, Principal, Resource, Role
from tenants.models.working_hours import parse_working_hours
from tenants.roles import permissions_of

CHOICES = list(PERMISSIONS.items())


class RolesField(forms.ModelMultipleChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.tenant}: {obj.name}"


class EnvironmentForm(forms.ModelForm):
    def clean_root(self) -> str:
        """An absolute, normalised directory; not the whole disk."""
        root: str = self.cleaned_data["root"]
        if root and (not root.startswith("/") or root == "/" or posixpath.normpath(root) != root):
            raise forms.ValidationError("Enter an absolute directory without “..” and without a slash at the end.")
        return root

    def clean_settings(self) -> Any:
        """An object; its working hours must be readable, otherwise every change would count as outside them."""
        settings = {} if self.cleaned_data["settings"] is None else self.cleaned_data["settings"]
        if not isinstance(settings, dict):
            raise forms.ValidationError("Settings must be a JSON object, such as {}.")
        try:
            parse_working_hours(settings)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        return settings


class ResourceForm(forms.ModelForm):
    def clean(self) -> dict[str, Any]:
        """Its dependencies belong to the same tenant, even if one person administers several."""
        values = super().clean() or {}
        environment = values.get("environment") or (self.instance.environment if self.instance.environment_id else None)
        needed = values.get("depends_on") or []
        if environment and any(other.tenant_id != environment.tenant_id for other in needed):
            self.add_error("depends_on", "Choose resources of the same tenant.")
        if any(other.pk == self.instance.pk for other in needed):
            self.add_error("depends_on", "It cannot depend on itself.")
        same = Resource.objects.filter(environment=environment, kind=values.get("kind"), name=values.get("name"))
        if environment and same.exclude(pk=self.instance.pk).exists():
            self.add_error("name", "This environment already has a resource of this kind and name.")
        return values


class MemberForm(forms.ModelForm):
    """A principal, with its roles among those the admin may grant."""

    role_choices: ClassVar[QuerySet[Role]] = Role.objects.none()
    roles = RolesField(
        Role.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="People without a role in your tenants disappear from this list.",
    )

    class Meta:
        model = Principal
        fields: ClassVar[list[str]] = ["username", "display_name", "email", "kind", "owner", "is_active"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["roles"]
        assert isinstance(field, forms.ModelMultipleChoiceField)
        field.queryset = self.role_choices.order_by("tenant__slug", "name")
        if "is_superuser" in self.fields:
            self.fields[
                "is_superuser"
            ].help_text = "Sees every tenant in the admin. Gives no permission in any tenant: only roles do."
        if not self.instance._state.adding:
            self.initial["roles"] = list(self.role_choices.filter(group__user=self.instance))

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if self.instance._state.adding and not values.get("roles"):
            self.add_error("roles", "Choose at least one role: without one they belong to no tenant.")
        kind, owner = values.get("kind", self.instance.kind), values.get("owner", self.instance.owner)
        if "owner" in self.fields and "owner" not in self.errors and (kind == Principal.Kind.AGENT) != bool(owner):
            self.add_error("owner", "An agent needs an owner; a person has none.")
        if kind == Principal.Kind.AGENT and (values.get("is_staff") or values.get("is_superuser")):
            self.add_error("is_staff", "An agent can neither use the admin nor be a superuser.")
        return values


class RoleForm(forms.ModelForm):
    """A role; once it exists, one set of permissions for the whole tenant and one for each environment."""

    class Meta:
        model = Role
        fields: ClassVar[list[str]] = ["tenant", "name"]

    @staticmethod
    def fields_for(role: Role) -> dict[str, forms.Field]:
        found: dict[str, forms.Field] = {
            "everywhere": _permissions_field(f"In the whole of {role.tenant}", permissions_of(role, role.tenant))
        }
        for environment in role.tenant.environments.all():
            label = f"In addition, in {environment.slug} only"
            found[f"in_{environment.slug}"] = _permissions_field(label, permissions_of(role, environment))
        return found


def _permissions_field(label: str, held: set[str]) -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        choices=CHOICES, required=False, label=label, initial=sorted(held), widget=forms.CheckboxSelectMultiple
    )
