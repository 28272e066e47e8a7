"""What the gateway reads of a request's head, and the head that it sends on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from starlette.types import Scope

from trenza.chassis.auth.permissions import InvalidToken, SeveralAuthorizations
from trenza.chassis.context import new_correlation_id, valid_correlation_id
from trenza.chassis.gateway.settings import Network
from trenza.chassis.http.problem import Problem

__all__ = ["HOP_BY_HOP", "RequestHead", "read_head"]

HOP_BY_HOP: Final = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"proxy-authenticate", b"proxy-authorization", b"proxy-authentication-info"),
    )
)
"""What concerns one connection only (RFC 9110, section 7.6.1), besides what its Connection header names."""

_SET_ANEW: Final = frozenset(
    (
        *(
            b"forwarded",
            b"x-forwarded-for",
            b"x-forwarded-host",
            b"x-forwarded-port",
            b"x-forwarded-proto",
            b"x-forwarded-server",
        ),
        *(b"x-real-ip", b"x-forwarded-prefix", b"x-original-url", b"x-rewrite-url", b"x-forwarded-ssl", b"x-forwarded-scheme"),
    )
)
"""What upstreams believe of a proxy, and what a client therefore must not be able to write."""

_READ: Final = frozenset(
    (
        *(b"host", b"authorization", b"content-length", b"transfer-encoding", b"connection", b"expect", b"via"),
        *(b"x-correlation-id", b"traceparent", b"tracestate", b"idempotency-key", b"x-forwarded-for", b"x-forwarded-proto"),
    )
)
_APART: Final = HOP_BY_HOP | _SET_ANEW | _READ
_PLAIN: Final = (b"authorization", b"idempotency-key")
"""Read, and passed on as they are."""

_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_HOST: Final = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")
_PSEUDONYM: Final = b"trenza"
_VIA: Final = b"1.1 " + _PSEUDONYM
_MOST_PASSES: Final = 4
_REPEATABLE: Final = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))


@dataclass(slots=True)
class RequestHead:
    """A request's head, checked. ``lines`` are the header lines to send on, without what each hop writes itself."""

    method: str
    host: bytes
    client: str
    scheme: str
    forwarded_for: bytes
    correlation_id: str
    traceparent: str
    authorization: str | None = None
    length: int | None = None
    chunked: bool = False
    expects_continue: bool = False
    repeatable: bool = False
    lines: list[bytes] = field(default_factory=list)

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return self.chunked or bool(self.length)

    def encode(self, target: bytes) -> bytes:
        """The head of the request to an upstream; ``target`` is path and query as they stand in the request line."""
        forwarded = b"for=%s;host=%s;proto=%s" % (_node(self.client), b'"%s"' % self.host, self.scheme.encode())
        parts = [
            b"%s %s HTTP/1.1\r\nhost: %s\r\n" % (self.method.encode(), target, self.host),
            *self.lines,
            b"x-correlation-id: %s\r\ntraceparent: %s\r\n" % (self.correlation_id.encode(), self.traceparent.encode()),
            b"forwarded: %s\r\nx-forwarded-for: %s\r\n" % (forwarded, self.forwarded_for),
            b"x-forwarded-host: %s\r\nx-forwarded-proto: %s\r\n" % (self.host, self.scheme.encode()),
        ]
        if self.chunked:
            parts.append(b"transfer-encoding: chunked\r\n")
        elif self.length is not None:
            parts.append(b"content-length: %d\r\n" % self.length)
        if self.expects_continue:
            parts.append(b"expect: 100-continue\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)


def read_head(scope: Scope, trusted: tuple[Network, ...]) -> RequestHead:
    """The head of an ASGI request.

    Raises `Problem` (400, 405, 508), `SeveralAuthorizations`, and `InvalidToken` for a passport, which is for services only.
    """
    method: str = scope.get("method", "GET")  # a WebSocket has none
    if method in ("CONNECT", "TRACE"):
        raise Problem(405, "METHOD_NOT_ALLOWED", headers={"allow": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"})
    lines, read = _sorted_out(scope)
    client, scheme, forwarded_for = _origin(scope, read, trusted)
    traceparent = read.get(b"traceparent", b"")
    if _TRACEPARENT.fullmatch(traceparent) is None:
        traceparent = _new_traceparent()
    elif b"tracestate" in read:
        lines.append(b"tracestate: %s\r\n" % read[b"tracestate"])
    head = RequestHead(
        method=method,
        host=_host(scope, read),
        client=client,
        scheme=scheme,
        forwarded_for=forwarded_for,
        correlation_id=valid_correlation_id(read.get(b"x-correlation-id", b"").decode("latin-1")) or new_correlation_id(),
        traceparent=traceparent.decode(),
        authorization=_authorization(read.get(b"authorization")),
        expects_continue=read.get(b"expect", b"").lower() == b"100-continue",
        repeatable=method in _REPEATABLE or (method == "POST" and _passes_key(read)),
        lines=lines,
    )
    _frame(head, read, scope)
    return head


def _sorted_out(scope: Scope) -> tuple[list[bytes], dict[bytes, bytes]]:
    """The header lines that go on as they are, and the values of those that concern the gateway."""
    lines: list[bytes] = []
    read: dict[bytes, bytes] = {}
    several: set[bytes] = set()
    for name, value in scope["headers"]:
        if name not in _APART:
            lines.append(b"%s: %s\r\n" % (name, value))
        elif name in _READ:
            if name in read:
                several.add(name)
                read[name] = read[name] + b", " + value
            else:
                read[name] = value
    if several:
        _refuse_several(several, scope)
    lines.append(b"via: %s\r\n" % _via(read.get(b"via")))
    lines.extend(b"%s: %s\r\n" % (name, read[name]) for name in _PLAIN if name in read)
    if b"connection" in read:
        _drop_named(lines, read[b"connection"])
    return lines, read


def _refuse_several(several: set[bytes], scope: Scope) -> None:
    """Headers that stand there twice and mean something else to each reader."""
    if b"authorization" in several:
        raise SeveralAuthorizations(sum(name == b"authorization" for name, _ in scope["headers"]))
    for name in (b"content-length", b"transfer-encoding", b"host"):
        if name in several:
            raise _malformed(f"it has several {name.decode().title()} headers")


def _passes_key(read: dict[bytes, bytes]) -> bool:
    """Whether there is an Idempotency-Key that goes on: one that Connection names stops here, and protects from nothing."""
    named = {name.strip().lower() for name in read.get(b"connection", b"").split(b",")}
    return b"idempotency-key" in read and b"idempotency-key" not in named


def _drop_named(lines: list[bytes], connection: bytes) -> None:
    """Take out what the Connection header calls hop-by-hop."""
    named = {token.strip().lower() for token in connection.split(b",")} - {b"close", b"keep-alive", b"via", b""}
    if named:
        lines[:] = [line for line in lines if line.split(b":", 1)[0] not in named]


def _frame(head: RequestHead, read: dict[bytes, bytes], scope: Scope) -> None:
    """How long the body is. What two readers could understand differently is refused (RFC 9112, section 6.3)."""
    length, coding = read.get(b"content-length"), read.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise _malformed("it has both Content-Length and Transfer-Encoding")
        if coding.strip().lower() != b"chunked" or scope.get("http_version") == "1.0":
            raise _malformed("its Transfer-Encoding is not chunked alone")
        head.chunked = True
    elif length is not None:
        if not length.isdigit():
            raise _malformed("its Content-Length is no number")
        head.length = int(length)


def _authorization(value: bytes | None) -> str | None:
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if text[:8].lower() == "passport":
        raise InvalidToken("not trusted")
    return text


def _host(scope: Scope, read: dict[bytes, bytes]) -> bytes:
    host = read.get(b"host", b"")
    if not host and scope.get("http_version") != "1.0":
        raise _malformed("it has no Host header")
    if _HOST.fullmatch(host) is None:
        raise _malformed("its Host header is no host")
    return host


def _via(before: bytes | None) -> bytes:
    if before is None:
        return _VIA
    if before.split().count(_PSEUDONYM) + before.count(_PSEUDONYM + b",") > _MOST_PASSES:
        raise Problem(508, "GATEWAY_LOOP")
    return before + b", " + _VIA


def _origin(scope: Scope, read: dict[bytes, bytes], trusted: tuple[Network, ...]) -> tuple[str, str, bytes]:
    """The client's address, its scheme, and X-Forwarded-For as it goes on."""
    peer = (scope.get("client") or ("unknown", 0))[0]
    scheme: str = scope.get("scheme", "http")
    if trusted and _is_trusted(peer, trusted):
        if (said := read.get(b"x-forwarded-proto", b"").strip().lower()) in (b"http", b"https"):
            scheme = said.decode()
        chain = [hop.strip() for hop in read.get(b"x-forwarded-for", b"").decode("latin-1").split(",") if hop.strip()]
        believed = [peer]
        while chain and _is_address(chain[-1]) and _is_trusted(believed[0], trusted):  # each vouches for the one before it
            believed.insert(0, chain.pop())
        return believed[0], scheme, ", ".join(believed).encode("latin-1")
    return peer, scheme, peer.encode("latin-1")


@lru_cache(maxsize=4096)
def _is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def _node(address: str) -> bytes:
    """An address as RFC 7239 (section 6) writes it."""
    return f'"[{address}]"'.encode() if ":" in address else address.encode("latin-1")


def _new_traceparent() -> bytes:
    """W3C Trace Context, version 00: a new trace, sampled."""
    fresh = os.urandom(24).hex()
    return f"00-{fresh[:32]}-{fresh[32:]}-01".encode()


def _malformed(reason: str) -> Problem:
    return Problem(400, "MALFORMED_REQUEST", reason=reason)
