"""One POST to an address that somebody configured: judged before it is asked, not redirected, bounded in time."""

from collections.abc import Mapping

import urllib3
from urllib3.util import Timeout, parse_url

from audit.outgoing.guarded import AddressRefused, guarded

CONNECT_S, READ_S = 5.0, 15.0
MOST_ANSWER_BYTES = 2_000
USER_AGENT = "Interlock/1"


class NotTaken(Exception):
    """The other side did not take it; `str()` says why in words, `status` what it answered, if it did.

    `retry_after_s`: what it asked us to wait, where it said so.
    """

    def __init__(self, why: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        self.status, self.retry_after_s = status, retry_after_s
        super().__init__(why)


def url_fault(url: str) -> str:
    """Return why nothing can be posted to a URL, in words; empty when it can. Pure: resolves no name."""
    if any(ord(c) <= 32 or ord(c) >= 127 for c in url):
        return "The address has a space, a control or a non-ASCII character. Percent-encode it."
    try:
        parts = parse_url(url)
    except urllib3.exceptions.LocationParseError:
        return "The address cannot be read."
    if parts.scheme not in ("http", "https") or not parts.host:
        return "The address begins with https:// (or http://) and names a host."
    return "The address carries a password. Use a header or the signature instead." if parts.auth else ""


def post(url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool = False) -> int:
    """Send and return the 2xx status that came back. Raises NotTaken for everything else.

    Every connection goes to an address that was judged (`audit.outgoing.guarded`); redirects are not followed.
    """
    if fault := url_fault(url):
        raise NotTaken(fault)
    sent = {"User-Agent": USER_AGENT, **headers}
    try:
        with guarded(allow_private), urllib3.PoolManager(retries=False, timeout=Timeout(CONNECT_S, READ_S)) as pool:
            answer = pool.request("POST", url, body=body, headers=sent, redirect=False, preload_content=False)
            try:
                said = answer.read(MOST_ANSWER_BYTES)
            finally:
                answer.release_conn()
    except AddressRefused as refused:
        raise NotTaken(str(refused)) from refused
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise NotTaken(f"no connection: {_innermost(error)}"[:300]) from error
    if 200 <= answer.status < 300:
        return int(answer.status)
    words = " ".join(said.decode(errors="replace").split())[:200]
    raise NotTaken(f"it answered {answer.status}{f': {words}' if words else ''}", answer.status, _wait(answer.headers))


def _innermost(error: BaseException) -> BaseException:
    cause = getattr(error, "reason", None)
    return _innermost(cause) if isinstance(cause, BaseException) else error


def _wait(headers: Mapping[str, str]) -> float | None:
    try:
        return min(86_400.0, max(0.0, float(headers.get("Retry-After", ""))))
    except ValueError:
        return None
