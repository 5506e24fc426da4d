"""Which network addresses a probe may talk to: an explicit list, because ``ipaddress.is_global`` lets multicast, NAT64,
6to4 and site-local addresses through (measured on Python 3.11.7).
"""

from __future__ import annotations

import ipaddress

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PRIVATE = "127.0.0.0/8 ::1/128 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7"
NEVER = (
    "0.0.0.0/8 169.254.0.0/16 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
    "224.0.0.0/4 240.0.0.0/4 2001::/23 2001:db8::/32 2002::/16 3fff::/20"
)
GLOBAL_6 = ipaddress.IPv6Network("2000::/3")  # what lies outside is unspecified, mapped, translated, local or multicast


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part) for part in text.split())


_PRIVATE, _NEVER = _networks(PRIVATE), _networks(NEVER)


def refusal_reason(address: str, *, allow_private: bool) -> str:
    """Return why an IP address may not be asked, in words; empty when it may. Pure.

    Link-local (where clouds keep their metadata), multicast, documentation, translated and reserved addresses never;
    loopback and private ones only where the environment allows it.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "not an IP address."
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if any(parsed in network for network in _PRIVATE):
        advice = "An admin can set allow_private_targets on the environment."
        return "" if allow_private else f"a loopback or private address, which may not be asked from here. {advice}"
    if any(parsed in network for network in _NEVER):
        return "a link-local, multicast, translated or reserved address, which is never asked."
    if isinstance(parsed, ipaddress.IPv6Address) and parsed not in GLOBAL_6:
        return "a link-local, multicast, translated or reserved address, which is never asked."
    return ""
