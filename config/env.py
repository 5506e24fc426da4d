"""Settings from the environment: typed and validated.

A bad value ends the process with exit code 2 and one line per variable: its value, what is wrong and what to do. Where
no key is given, the embedded set-up's `secrets.json` (made by `generate_keys`) supplies it.
"""

import base64
import binascii
import ipaddress
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config.services.service_urls import database_settings, mail_settings

BASE_DIR = Path(__file__).resolve().parent.parent
LOOPBACK_NAMES = {"localhost", ""}
NO_SECRET = "is not set. `make run` makes one; in your own deployment set it on every process, e.g. to the output of: "
MAKE_KEY = "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
MAKE_KEK = "python -c 'import base64, secrets; print(base64.b64encode(secrets.token_bytes(32)).decode())'"


class Environment(BaseSettings):
    """Every setting of an installation. `INTERLOCK_*` unless an alias says otherwise."""

    model_config = SettingsConfigDict(env_prefix="INTERLOCK_", env_ignore_empty=True, populate_by_name=True)

    debug: bool = False
    secret_key: str = ""
    kek: str = ""
    kek_new: str = ""
    var: Path = BASE_DIR / "var"
    allowed_hosts: Annotated[list[str], NoDecode] = ["127.0.0.1", "localhost", "[::1]"]
    bind: str = "127.0.0.1"
    https: bool = False
    static: Literal["collected", "source"] = "collected"
    lease_s: float = Field(default=15, gt=0)
    sweep_s: float = Field(default=5, gt=0)
    seal_s: float = Field(default=2, gt=0, le=5)
    seal_idle_s: int = Field(default=900, ge=60)
    heads_dir: Path | None = None
    approval_ttl_s: int = Field(default=86_400, gt=0)
    linger_ms: int = Field(default=10, ge=0)
    shutdown_s: float = Field(default=1, ge=0)
    email_url: str = ""
    public_url: str = ""
    email_from: str = "Interlock <interlock@localhost>"
    effect_threads: int = Field(default=8, ge=1, le=256)
    batch_size: int = Field(default=50, ge=1, le=1000)
    node: str = Field(default="", pattern=r"^[A-Za-z0-9]?[A-Za-z0-9._-]{0,99}$")
    environments: Annotated[list[str], NoDecode] = []
    log_level: str = "INFO"
    demo: bool = True
    database_url: str = Field(default="", alias="DATABASE_URL")
    redis_url: str = Field(default="", alias="REDIS_URL")
    celery_broker_url: str = Field(default="", alias="CELERY_BROKER_URL")

    @field_validator("allowed_hosts", "environments", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [host.strip() for host in value.split(",") if host.strip()] if isinstance(value, str) else value

    @field_validator("environments")
    @classmethod
    def _are_environments(cls, value: list[str]) -> list[str]:
        if any(each.count("/") != 1 for each in value):
            raise ValueError("must be tenant/environment, separated by commas: acme/prod,acme/staging")
        return value

    @field_validator("kek", "kek_new")
    @classmethod
    def _is_32_bytes(cls, value: str) -> str:
        try:
            if value and len(base64.b64decode(value, validate=True)) != 32:
                raise ValueError("must be 32 bytes in base64")
        except binascii.Error:
            raise ValueError("is not base64: 32 random bytes in base64 are needed") from None
        return value

    @field_validator("log_level")
    @classmethod
    def _is_level(cls, value: str) -> str:
        if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("must be one of DEBUG, INFO, WARNING, ERROR")
        return value.upper()

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, value: str) -> str:
        if value:
            database_settings(value, Path())
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "unix:///")):
            raise ValueError("must look like redis://host:6379/0, rediss://host:6379/0 or unix:///path/redis.sock")
        return value

    @field_validator("email_url")
    @classmethod
    def _is_mail(cls, value: str) -> str:
        if value:
            mail_settings(value, Path())
        return value

    @property
    def is_embedded(self) -> bool:
        """No server is configured: `make run` starts its own, on this machine only."""
        return not self.redis_url and not self.database_url

    @property
    def address(self) -> str:
        """Where people reach the pages, for links in mail; without a slash at the end."""
        host = f"127.0.0.1:{os.environ.get('PORT') or 8000}" if self.is_embedded else self.allowed_hosts[0]
        return (self.public_url or f"http{'s' if self.https else ''}://{host}").rstrip("/")

    @property
    def secrets_file(self) -> Path:
        return self.var / "secrets.json"

    @property
    def redis_socket(self) -> Path:
        return socket_directory(self.var) / "redis.sock"

    @property
    def redis(self) -> str:
        """The Redis of channels, wake-ups and leases."""
        return self.redis_url or f"unix://{self.redis_socket}"

    @property
    def broker(self) -> str:
        """Celery's spelling of the broker's URL."""
        return self.celery_broker_url or self.redis.replace("unix://", "redis+socket://", 1)


def socket_directory(var: Path) -> Path:
    """`var/run`, or a short path instead: a unix socket's path may have 107 bytes, and ours need up to 16."""
    run = var.absolute() / "run"
    if len(os.fsencode(run)) <= 88:
        return run
    name = base64.b32encode(os.fsencode(run))[-80:].decode().strip("=").lower()
    return Path(f"/tmp/ilk-{os.getuid()}-{abs(binascii.crc32(os.fsencode(run))):08x}{name[-4:]}")


def is_loopback(bind: str) -> bool:
    try:
        return ipaddress.ip_address(bind.strip("[]")).is_loopback
    except ValueError:
        return bind in LOOPBACK_NAMES


def read() -> Environment:
    """The settings as they are set, or exit with 2; keys may be missing."""
    try:
        return Environment()
    except ValidationError as error:
        _exit_with([_describe_error(detail) for detail in error.errors()])


def load() -> Environment:
    """Read the settings and the stored keys, or print what is wrong on stderr and exit with 2."""
    environment = read()
    if stored := _stored_secrets(environment.secrets_file):
        filled = {name: getattr(environment, name) or value for name, value in stored.items()}
        environment = environment.model_copy(update=filled)
    missing = [
        f"INTERLOCK_{name.upper()} {NO_SECRET}{recipe}"
        for name, recipe in (("secret_key", MAKE_KEY), ("kek", MAKE_KEK))
        if not getattr(environment, name)
    ]
    if missing:
        _exit_with(missing)
    return environment


def _stored_secrets(path: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(path.read_text())
        return {"secret_key": found["secret_key"], "kek": found["kek"], "kek_new": found.get("kek_new", "")}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError) as error:
        _exit_with(
            [f"{path} cannot be read ({error!r}). It holds the keys of this installation: restore it from a backup."]
        )


def _describe_error(detail: Any) -> str:
    name = str(detail["loc"][0])
    variable = name.upper() if name.isupper() else f"INTERLOCK_{name.upper()}"
    shown = "" if "secret" in name or name.startswith("kek") or "URL" in variable else f"={detail['input']}"
    return f"{variable}{shown}: {detail['msg'].removeprefix('Value error, ')}"


def _exit_with(problems: list[str]) -> NoReturn:
    print("Interlock cannot start with these settings:", *(f"  {p}" for p in problems), sep="\n", file=sys.stderr)
    raise SystemExit(2)


def generate_keys(path: Path) -> bool:
    """Write a signing key and a key-encryption key to `path` (mode 0600) unless it exists; True if made.

    Written whole and linked into place, so that a crash leaves no half file and two concurrent starts agree on one.
    """
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = {
        "secret_key": secrets.token_urlsafe(48),
        "kek": base64.b64encode(secrets.token_bytes(32)).decode(),
        "note": "Keep this file with your backups: without kek no encrypted value can be read again.",
    }
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
        return True
    except FileExistsError:
        return False
    finally:
        draft.unlink()
