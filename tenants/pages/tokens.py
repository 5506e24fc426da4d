"""The signed-in person's API tokens, and those of their agents."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from audit.database.clock import database_time
from audit.errors import Forbidden
from tenants.access import Access
from tenants.authentication.tokens import (
    EXPIRY_DAYS,
    is_expired_or_revoked,
    issue_managed_token,
    managed_principals,
    revoke_managed_token,
    visible_tokens,
)
from tenants.models import PERMISSIONS


class TokenForm(forms.Form):
    """Choices are the caller's own: they and their agents."""

    name = forms.CharField(max_length=100, label="Purpose")
    principal = forms.ChoiceField(label="Acts as")
    scopes = forms.MultipleChoiceField(choices=list(PERMISSIONS.items()), widget=forms.CheckboxSelectMultiple)
    days = forms.TypedChoiceField(coerce=int, choices=list(EXPIRY_DAYS.items()), initial=30, label="Valid for")

    def __init__(self, data: Any, access: Access) -> None:
        super().__init__(data)
        managed = managed_principals(access.principal)
        field = self.fields["principal"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(p.username, f"{p} (agent)" if not p.is_person() else f"{p} (you)") for p in managed]


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """List tokens; create one and show it once."""
    access = _access(request)
    form = TokenForm(request.POST if request.method == "POST" else None, access)
    plain = ""
    if form.is_valid():
        chosen = form.cleaned_data
        made, plain = issue_managed_token(
            access, name=chosen["name"], scopes=chosen["scopes"], days=chosen["days"], username=chosen["principal"]
        )
        form = TokenForm(None, access)
    return _page(request, access, form, plain, 422 if form.errors else 200)


@require_POST
@login_required
def revoke(request: HttpRequest, token_id: UUID) -> HttpResponse:
    token = revoke_managed_token(_access(request), token_id)
    messages.success(request, f"{token.name} revoked; programs that use it are refused from now on.")
    return redirect("tenants:tokens")


def _page(request: HttpRequest, access: Access, form: TokenForm, plain: str, status: int) -> HttpResponse:
    now = database_time()
    rows = [{"token": token, "is_over": is_expired_or_revoked(token, now)} for token in visible_tokens(access)]
    return render(request, "tenants/tokens.html", {"form": form, "rows": rows, "plain": plain}, status=status)


def _access(request: HttpRequest) -> Access:
    access: Access | None = getattr(request, "access", None)
    if access is None:
        raise Forbidden(
            "You are signed in, but you belong to no tenant.",
            remedies=["Ask an admin of your tenant for a role."],
        )
    return access
