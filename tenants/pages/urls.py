from django.urls import include, path

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
