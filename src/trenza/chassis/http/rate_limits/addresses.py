"""From which address a request comes, and as what it is counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from starlette.types import Scope

__all__ = ["Addresses", "Network"]

Network = IPv4Network | IPv6Network

_IPV6_PREFIX: Final = 64
"""Bits. Whoever has one IPv6 address has its /64 (RFC 6177), so that single addresses would be no limit."""
_KNOWN: Final = 8_192
"""Answers that are kept: connections of one client follow each other."""
UNKNOWN: Final = "unknown"
"""Stands for whoever comes over a socket without addresses, such as a unix socket."""


class Addresses:
    """Finds the client's address: the connection's, or what a trusted proxy says of it.

    Only one header is believed, by its lower-case name, ``x-forwarded-for`` or ``forwarded`` (RFC 7239): proxies pass on the one
    that they do not set as the client wrote it. Read from its end, each trusted proxy vouches for the hop before it.
    """

    def __init__(self, trusted: Iterable[Network] = (), *, header: str = "x-forwarded-for") -> None:
        self._trusted = tuple(trusted)
        self.header = header.lower().encode()
        """Which header to hand over."""
        self._hops = _forwarded if self.header == b"forwarded" else _forwarded_for
        self._read = lru_cache(_KNOWN)(self._read_whole)

    def client(self, scope: Scope, values: Sequence[bytes] = ()) -> str:
        """The client's address, an IPv6 one as its /64 network. ``values`` are those of `header`, as they came."""
        peer = scope.get("client")
        if peer is None or not peer[0]:
            return UNKNOWN
        if not self._trusted or not values:
            return self._read(peer[0])[0]
        counted, trusted = self._read(peer[0])
        for hop in reversed(self._hops(b",".join(values).decode("latin-1"))) if trusted else ():
            if _address(hop) is None:  # garbage, or a name that hides it: whoever wrote that is all that is known
                break
            counted, trusted = self._read(hop)
            if not trusted:
                break
        return counted

    def _read_whole(self, text: str) -> tuple[str, bool]:
        """As what an address is counted, and whether it is a trusted proxy's."""
        address = _address(text)
        if address is None:
            return text[:64], False
        trusted = any(address in network for network in self._trusted)
        if isinstance(address, IPv6Address):
            return str(IPv6Network((address.packed, _IPV6_PREFIX), strict=False)), trusted
        return str(address), trusted


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """``192.0.2.1``, ``192.0.2.1:443``, ``2001:db8::1``, ``[2001:db8::1]:443``; ``::ffff:192.0.2.1`` is an IPv4 address."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _forwarded_for(value: str) -> list[str]:
    return [hop.strip() for hop in value.split(",") if hop.strip()]


def _forwarded(value: str) -> list[str]:
    """The ``for`` of each element. One without it hides the hop, which then cannot be read."""
    return [_for(element) for element in value.split(",") if element.strip()]


def _for(element: str) -> str:
    for pair in element.split(";"):
        name, _, node = pair.partition("=")
        if name.strip().lower() == "for":
            return node.strip().strip('"')
    return ""
