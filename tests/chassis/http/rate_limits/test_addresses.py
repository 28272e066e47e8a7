from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trenza.chassis.http.rate_limits import Addresses

if TYPE_CHECKING:
    from tests.chassis.http.rate_limits.conftest import SiteMaker

PROXY = "10.0.0.7"
TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_addresses_count_as(address: str, counted: str) -> None:
    assert Addresses().client({"client": (address, 1)}) == counted


def test_sockets_without_addresses_count_together() -> None:
    assert Addresses(TRUSTED).client({"client": None}, [b"192.0.2.9"]) == "unknown"


@pytest.mark.parametrize(
    ("peer", "sent", "counted"),
    [
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),  # no proxy of ours
        (PROXY, [], PROXY),
        (PROXY, ["198.51.100.1"], "198.51.100.1"),
        (PROXY, ["203.0.113.5, 198.51.100.1"], "198.51.100.1"),  # what the client wrote itself stands before it
        (PROXY, ["203.0.113.5", "198.51.100.1"], "198.51.100.1"),
        (PROXY, ["198.51.100.1, 10.1.1.1, 10.2.2.2"], "198.51.100.1"),
        (PROXY, ["10.9.9.9, 10.1.1.1"], "10.9.9.9"),
        (PROXY, ["198.51.100.1, unknown"], PROXY),
        (PROXY, ["198.51.100.1, unknown, 10.1.1.1"], "10.1.1.1"),
        (PROXY, ["198.51.100.1:5678"], "198.51.100.1"),
        (PROXY, ["[2001:db8:1:2::3]:443"], "2001:db8:1:2::/64"),
        (PROXY, ["2001:db8:1:2::3"], "2001:db8:1:2::/64"),
        ("fd00::1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.7", ["198.51.100.1"], "198.51.100.1"),
        (PROXY, [" , ,"], PROXY),
        (PROXY, ["\xff"], PROXY),
    ],
)
async def test_only_trusted_proxies_are_believed(make_site: SiteMaker, peer: str, sent: list[str], counted: str) -> None:
    site = make_site(trusted_proxies=TRUSTED, rate_limit_anonymous="1/minute")
    headers = [(b"X-Forwarded-For", value.encode("latin-1")) for value in sent]
    assert await site.ask(address=peer, headers=headers) == 200
    again = counted.replace("::/64", "::99")
    assert await site.ask(address=again) == 429, "it has been counted as that"


async def test_the_standard_header_is_believed_where_it_is_the_configured_one_and_no_other(make_site: SiteMaker) -> None:
    site = make_site(trusted_proxies=TRUSTED, forwarded_header="Forwarded", rate_limit_anonymous="1/minute")
    headers = {"Forwarded": 'for=203.0.113.5, proto=https;For="[2001:db8::1]:99";by=10.0.0.1', "X-Forwarded-For": "198.51.100.1"}
    assert await site.ask(address=PROXY, headers=headers) == 200
    assert await site.ask(address="2001:db8::2") == 429
    assert await site.ask(address="198.51.100.1") == 200
    assert await site.ask(address="203.0.113.5") == 200
    assert await site.ask(address=PROXY, headers={"Forwarded": "proto=https"}) == 200, "as the proxy itself"
    assert await site.ask(address=PROXY) == 429


@given(
    st.lists(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6), st.text(max_size=20).filter(lambda text: "," not in text))),
    st.ip_addresses(v=4, network="198.51.100.0/24"),
    st.lists(st.ip_addresses(v=4, network="10.0.0.0/8"), max_size=3),
)
def test_whatever_a_client_writes_before_it_is_counted_by_what_the_proxies_saw(
    forged: list[IPv4Address | IPv6Address | str], client: IPv4Address, proxies: list[IPv4Address]
) -> None:
    value = ", ".join(str(hop) for hop in (*forged, client, *proxies)).encode("utf-8")
    assert Addresses(TRUSTED).client({"client": (PROXY, 1)}, [value]) == str(client)
