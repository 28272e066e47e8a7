"""Which addresses a webhook may reach: those of the public Internet, and what the operator allows besides."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from trenza.services.photos.contract import CallbackForbidden

__all__ = ["AddressForbidden", "Allowed", "HostUnknown", "reachable_addresses", "refuse_internal"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: IPv4 addresses within IPv6 ones, which a gateway turns back."""


class AddressForbidden(Exception):
    """The host is, or resolves to, an address of this machine or of a network that is not public; or it cannot be a host."""


class HostUnknown(Exception):
    """The host has no address (now)."""


@dataclass(frozen=True)
class Allowed:
    """Hosts by name and networks that may be reached although they are not public."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, entries: tuple[str, ...]) -> Self:
        """From ``hooks.internal``, ``10.1.2.3`` and ``10.0.0.0/8``. Raises `ValueError` for what is none of these."""
        hosts, networks = set[str](), list[Network]()
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                if "/" in entry or ":" in entry or not entry.isascii():
                    message = f"{entry!r} is neither a host name nor a network such as 10.0.0.0/8"
                    raise ValueError(message) from None
                hosts.add(entry.lower())
        return cls(frozenset(hosts), tuple(networks))

    def permits(self, host: str, address: Address) -> bool:
        """Whether a host at this address may be reached."""
        return host.lower() in self.hosts or is_public(address) or any(address in network for network in self.networks)


def _literal_address(host: str) -> Address | None:
    """The address that a host of a URL is, in any form that connecting would take for one; None for a name.

    Beside the usual forms these are those of `inet_aton`: ``2130706433``, ``0x7f000001`` and ``127.1`` all are 127.0.0.1.
    """
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def refuse_internal(url: str, allowed: Allowed) -> None:
    """Raise `CallbackForbidden` for a URL whose host is an address, rather than a name, that may not be reached.

    What a name stands for is judged when it is told: it may be another address by then.
    """
    address = _literal_address(urlsplit(url).hostname or "")
    if address is not None and not allowed.permits(str(address), address):
        raise CallbackForbidden(
            "callback_url is at an address that is not public, and would never be told",
            field="callback_url",
            remedy="name a public host; TRENZA_PHOTOS_WEBHOOK_ALLOW could list this one",
        )


async def reachable_addresses(host: str, port: int, allowed: Allowed) -> tuple[str, ...]:
    """The addresses of a host that may be reached; connect to one of these, not to the name, which may change its mind.

    Every address of the host must be permitted: which of them a name server gives first is the attacker's choice. Raises
    `AddressForbidden` and `HostUnknown`.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # too long, empty between dots, or no IDNA: there never will be such a host
        raise AddressForbidden(f"{host[:100]} is no name of a host") from error
    except OSError as error:
        raise HostUnknown(f"{host} has no address: {error}") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        if not allowed.permits(host, address):
            raise AddressForbidden(f"{host} is at {address}, which is not public; TRENZA_PHOTOS_WEBHOOK_ALLOW could list it")
    if not addresses:
        raise HostUnknown(f"{host} has no address")
    return tuple(dict.fromkeys(str(address) for address in addresses))


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public Internet, and so does the IPv4 address that it may stand for."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
