"""The addresses of sign-in, passwords and tokens, and the admin's own sign-in pages sent to ours."""

from django.contrib.auth.decorators import login_required
from django.urls import include, path
from django.views.generic import RedirectView

from tenants.pages import passwords, sign_in, tokens

account = [
    path("tokens/", tokens.tokens, name="tokens"),
    path("tokens/<uuid:token_id>/revoke/", tokens.revoke, name="revoke_token"),
]
urlpatterns = [
    path("account/sign-in/", sign_in.SignIn.as_view(), name="sign-in"),
    path("account/sign-out/", sign_in.sign_out, name="logout"),
    path("account/tenant/", sign_in.switch_tenant, name="switch_tenant"),
    path("account/password/", passwords.ChangePassword.as_view(), name="password_change"),
    path("account/password/reset/", passwords.ResetPassword.as_view(), name="password_reset"),
    path("account/password/reset/sent/", passwords.ResetSent.as_view(), name="password_reset_done"),
    path("account/password/set/<uidb64>/<token>/", passwords.SetPassword.as_view(), name="password_reset_confirm"),
    path("account/", include((account, "tenants"))),
]

# Mounted before the admin site: its own sign-in pages have no throttle and record no event.
admin_redirects = [
    path("login/", RedirectView.as_view(pattern_name="sign-in", query_string=True)),
    path("logout/", sign_in.sign_out),
    path("password_change/", login_required(RedirectView.as_view(pattern_name="password_change"))),
]
