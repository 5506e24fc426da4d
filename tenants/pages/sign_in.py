"""Sign in, sign out, and switch to another of one's tenants."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from tenants.access import tenants_of
from tenants.audit_hooks.events import record_on_principal
from tenants.authentication.throttle import count_failure, forget_failures, wait_s
from tenants.models import Principal

PURPOSE = "sign-in"


class SignInForm(AuthenticationForm):
    """Checks the throttle before the password, and gives the same answer for known and unknown names."""

    error_messages = {
        "invalid_login": "The username or password is incorrect.",
        "inactive": "The username or password is incorrect.",
        "throttled": "Too many attempts. Try again in %(wait)s seconds.",
    }
    username = forms.CharField(max_length=150, widget=forms.TextInput(attrs={"autofocus": True}))

    def clean(self) -> dict[str, Any]:
        name, address = self.cleaned_data.get("username", ""), address_of(self.request)
        if wait := wait_s(PURPOSE, name, address):
            raise ValidationError(self.error_messages["throttled"], "throttled", {"wait": wait})
        try:
            cleaned = super().clean()
        except ValidationError:
            if count_failure(PURPOSE, name, address):
                _record_throttled(name)
            raise
        forget_failures(PURPOSE, name, address)
        return cleaned

    def confirm_login_allowed(self, user: AbstractBaseUser) -> None:
        if not isinstance(user, Principal):
            raise self.get_invalid_login_error()
        super().confirm_login_allowed(user)
        if not user.is_person():
            raise self.get_invalid_login_error()


class SignIn(LoginView):
    """Every sign-in starts a new session: Django changes its key. Event `principal.signed_in`."""

    template_name = "registration/sign_in.html"
    authentication_form = SignInForm

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_valid(form)
        record_on_principal(form.get_user(), "principal.signed_in", form.get_user())
        return response


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session. Event `principal.signed_out`."""
    if isinstance(request.user, Principal):
        record_on_principal(request.user, "principal.signed_out", request.user)
    logout(request)
    return redirect("sign-in")


@require_POST
@login_required
def switch_tenant(request: HttpRequest) -> HttpResponse:
    """Switch to another of one's own tenants. A foreign one is treated as unknown."""
    slug = request.POST.get("tenant", "")
    person = request.user
    own = tenants_of(person) if isinstance(person, Principal) else []
    chosen = next((tenant for tenant in own if tenant.slug == slug), None)
    if chosen is None:
        messages.error(request, "You do not belong to that tenant.")
    else:
        request.session["tenant"] = chosen.slug
    return HttpResponseRedirect(_redirect_after(request))


def address_of(request: HttpRequest | None) -> str:
    """The address of the client. Behind a proxy it is the proxy's; then only the name distinguishes clients."""
    return request.META.get("REMOTE_ADDR", "") if request else ""


def _redirect_after(request: HttpRequest) -> str:
    target = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return target if is_ours else "/"


def _record_throttled(name: str) -> None:
    principal = Principal.objects.filter(username__iexact=name).first()
    if principal is not None:
        record_on_principal(principal, "principal.sign_in_throttled", "system:sign_in", outcome="refused")
