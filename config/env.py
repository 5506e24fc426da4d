"""Settings from the environment: typed, and loud when they are wrong."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent


class Environment(BaseSettings):
    """Every knob of an installation. `INTERLOCK_*` unless an alias says otherwise."""

    model_config = SettingsConfigDict(env_prefix="INTERLOCK_", env_ignore_empty=True, populate_by_name=True)

    debug: bool = False
    secret_key: str = ""
    kek: str = ""
    var: Path = BASE_DIR / "var"
    allowed_hosts: list[str] = ["127.0.0.1", "localhost", "[::1]"]
    bind: str = "127.0.0.1"
    lease_s: float = 15
    sweep_s: float = 5
    approval_ttl_s: int = 86_400
    linger_ms: int = 10
    effect_threads: int = 8
    claim_size: int = 50
    database_url: str = Field(default="", alias="DATABASE_URL")
    redis_url: str = Field(default="", alias="REDIS_URL")
    celery_broker_url: str = Field(default="", alias="CELERY_BROKER_URL")


def load() -> Environment:
    return Environment()
