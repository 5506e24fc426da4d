"""A webhook's address, secret and token: kept encrypted under the tenant's key, and what a message is signed with."""

import base64
import hmac
import json
from hashlib import sha256
from urllib.parse import urlsplit

from actions.models import Webhook
from audit.outgoing.webhook import url_fault
from tenants.vault import decrypt, encrypt

K = Webhook.Kind
LEAST_SECRET = 16
MOST_CHARACTERS = 2_000


def keep(hook: Webhook, url: str, secret: str = "", token: str = "") -> None:
    """Put these into the webhook, encrypted for it alone; the caller saves it."""
    hidden = json.dumps({"url": url, "secret": secret, "token": token}).encode()
    hook.hidden = encrypt(hook.tenant_id, hidden, _context(hook))
    hook.host = (urlsplit(url).hostname or "")[:255]


def opened(hook: Webhook) -> dict[str, str]:
    """{"url", "secret", "token"} in the clear. Raises what `tenants.vault.decrypt` raises."""
    if not hook.hidden:
        return {"url": "", "secret": "", "token": ""}
    found: dict[str, str] = json.loads(decrypt(hook.tenant_id, bytes(hook.hidden), _context(hook)))
    return found


def fault_of(kind: str, url: str, secret: str, token: str) -> tuple[str, str]:
    """(field, why it cannot be used, in words); two empty texts when it can. Pure."""
    if fault := url_fault(url):
        return "url", fault
    for name, text in (("url", url), ("secret", secret), ("token", token)):
        if len(text) > MOST_CHARACTERS or not text.isprintable() or not text.isascii():
            return name, f"Use printable ASCII, {MOST_CHARACTERS} characters at most."
    if kind == K.GENERIC and len(secret) < LEAST_SECRET:
        return "secret", f"Messages are signed: give a secret of {LEAST_SECRET} characters or more."
    if kind in (K.GITHUB_DISPATCH, K.GITHUB_ISSUE, K.GITLAB_ISSUE) and not token:
        return "token", "GitHub and GitLab ask for a token that may write there."
    return "", ""


def headers_of(hook: Webhook, hidden: dict[str, str], delivery: str, body: bytes, at_s: int) -> dict[str, str]:
    """
    The headers of one message: who it is from, its id (the same at every try), and its signatures.

    `webhook-*` are those of the Standard Webhooks specification, HMAC-SHA256 over "id.time.body"; `X-Hub-Signature-256`
    is GitHub's, over the body alone. Tokens go where each tracker reads them.
    """
    sent = {"Content-Type": "application/json; charset=utf-8", "X-Interlock-Delivery": delivery}
    if secret := hidden["secret"]:
        key, stamp = secret.encode(), str(at_s)
        signed = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, sha256).digest()
        sent |= {
            "webhook-id": delivery,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
            "X-Hub-Signature-256": f"sha256={hmac.new(key, body, sha256).hexdigest()}",
        }
    return sent | _token(hook.kind, hidden["token"])


def _token(kind: str, token: str) -> dict[str, str]:
    if not token:
        return {}
    if kind in (K.GITHUB_DISPATCH, K.GITHUB_ISSUE):
        version = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        return {"Authorization": f"Bearer {token}", **version}
    if kind == K.GITLAB_ISSUE:
        return {"PRIVATE-TOKEN": token}
    return {"X-Automation-Webhook-Token": token} if kind == K.JIRA else {"Authorization": f"Bearer {token}"}


def _context(hook: Webhook) -> str:
    return f"webhook {hook.pk}"
