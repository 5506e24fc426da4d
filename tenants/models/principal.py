"""Who acts: people, and agents, which always have an owner; their API tokens, and failed sign-ins."""

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.auth.validators import ASCIIUsernameValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now

from audit.database.clock import uuid7
from tenants.models.tenant import Tenant


class PrincipalManager(BaseUserManager["Principal"]):
    def create_user(self, username: str, password: str | None = None, **fields: Any) -> "Principal":
        """Create a person; without a password nobody can sign in as them."""
        principal = self.model(username=self.model.normalize_username(username), **fields)
        principal.set_password(password)
        principal.save(using=self._db)
        return principal

    def create_superuser(self, username: str, password: str | None = None, **fields: Any) -> "Principal":
        """Create a person who administers the installation. It gives no permission in any tenant."""
        return self.create_user(username, password, **(fields | {"is_staff": True, "is_superuser": True}))

    def create_agent(self, username: str, owner: "Principal", **fields: Any) -> "Principal":
        """Create an agent owned by `owner`, a person. Agents have tokens, never passwords."""
        return self.create_user(username, None, kind="agent", owner=owner, **fields)

    def get_by_natural_key(self, username: str | None) -> "Principal":
        return self.get(username__iexact=username)


class Principal(AbstractBaseUser, PermissionsMixin):
    """A person or an agent. An agent's owner is a person (trigger); an agent is neither staff nor superuser."""

    class Kind(models.TextChoices):
        PERSON = "person", "person"
        AGENT = "agent", "agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    username = models.CharField(
        max_length=150,
        unique=True,
        validators=[ASCIIUsernameValidator()],
        error_messages={"unique": "This username is not available."},
    )
    display_name = models.CharField(max_length=200, blank=True)
    email = models.EmailField(blank=True)
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.PERSON)
    owner = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="agents")
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField("may use the admin", default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = PrincipalManager()

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        ordering = ["username"]
        constraints = [
            models.UniqueConstraint(
                Lower("username"),
                name="principal_username_once_any_case",
                violation_error_message="This username is not available.",
            ),
            models.CheckConstraint(condition=Q(kind__in=["person", "agent"]), name="principal_kind"),
            models.CheckConstraint(
                condition=Q(kind="person", owner=None) | Q(kind="agent", owner__isnull=False),
                name="agent_has_an_owner_person_has_none",
                violation_error_message="An agent needs an owner; a person has none.",
            ),
            models.CheckConstraint(condition=Q(owner=None) | ~Q(owner=models.F("id")), name="principal_not_own_owner"),
            models.CheckConstraint(
                condition=Q(kind="person") | Q(is_staff=False, is_superuser=False),
                name="agent_is_no_staff",
                violation_error_message="An agent can neither use the admin nor be a superuser.",
            ),
        ]

    def __str__(self) -> str:
        return self.display_name or self.username

    def get_full_name(self) -> str:
        return str(self)

    def get_short_name(self) -> str:
        return self.username

    def is_person(self) -> bool:
        return self.kind == self.Kind.PERSON


class ApiToken(models.Model):
    """A credential of one principal for one tenant: the SHA-256 of its 256-bit secret is stored, `prefix` finds it.

    `scopes` are permission names; they only reduce the principal's permissions.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="tokens")
    principal = models.ForeignKey(Principal, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=8, unique=True, editable=False)
    hash = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["principal", "tenant"])]

    def __str__(self) -> str:
        return f"{self.name} (ilk_{self.prefix}…)"


class FailedSignIns(models.Model):
    """Recent failed sign-ins, per keyed hash of name and address. Names and addresses are not stored."""

    key = models.CharField(max_length=64, primary_key=True)
    count = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(db_index=True)
    refused_until = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.count} until {self.last_at}"
