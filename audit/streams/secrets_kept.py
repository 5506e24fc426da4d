"""The secrets that webhooks are signed with: made here, shown once, kept under the installation's key."""

import base64
import secrets

from audit import kek as installation
from audit.streams.models import Stream

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret(stream: Stream) -> str:
    """Give a stream a new secret, wrapped for it alone; return it as the receiver wants it. The caller saves."""
    secret = secrets.token_bytes(SECRET_BYTES)
    stream.secret = installation.wrap(secret, _bound_to(stream), installation.keks()[0])
    return PREFIX + base64.b64encode(secret).decode()


def secret_of(stream: Stream) -> bytes:
    """The secret in the clear. Raises MissingKey, Undecryptable."""
    return installation.unwrap(bytes(stream.secret or b""), _bound_to(stream), tuple(installation.keks()))


def rewrap(kek: bytes) -> int:
    """Wrap under `kek` what is not yet; return how many that were. In the caller's transaction."""
    rows = Stream.objects.select_for_update().exclude(secret=None)
    behind = [row for row in rows if not installation.is_under(bytes(row.secret or b""), kek)]
    for row in behind:
        row.secret = installation.wrap(secret_of(row), _bound_to(row), kek)
    Stream.objects.bulk_update(behind, ["secret"])
    return len(behind)


def _bound_to(stream: Stream) -> bytes:
    return b"stream" + stream.tenant.bytes + stream.pk.bytes
