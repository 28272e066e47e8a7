"""One signed POST to a URL of somebody else's."""

from __future__ import annotations

import asyncio
import hmac
import ssl
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from trenza.services.photos.webhooks.addresses import AddressForbidden, Allowed, HostUnknown, reachable_addresses
from trenza.services.photos.webhooks.receivers import ReceiverBusy, ReceiverUnreachable, WebhookFailed

if TYPE_CHECKING:
    import httpx

__all__ = ["ReceiverGone", "post", "signature"]

SECONDS = 10.0
"""Longest that a receiver may take; it should note the event and answer, and work later."""
CONNECT_SECONDS = 3.0
"""Longest that one address of a host may take to be reached, before the next is tried."""
LONGEST_PAUSE = 3600.0
"""Longest that a receiver's Retry-After is obeyed."""
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class ReceiverGone(Exception):
    """The receiver says that nobody is there any more, and never will be (410)."""


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """``sha256=`` and the HMAC-SHA256, in hexadecimal, of the timestamp, a full stop, and the body."""
    return f"sha256={hmac.digest(secret, timestamp.encode() + b'.' + body, sha256).hex()}"


async def post(url: str, body: bytes, headers: dict[str, str], *, allowed: Allowed, authorities: Path | None) -> None:
    """Send a body as JSON. Returns when the receiver answers 2xx; of its answer only the status and Retry-After are read.

    Connects to an address that was checked, under the host's own name in TLS and in ``Host``. Redirects are not followed, and
    proxies of the environment not used: each would lead to an unchecked address. ``authorities`` is a PEM file of those whose
    certificates are believed beside the usual ones. Raises `WebhookFailed`, `ReceiverBusy`, `ReceiverGone`, `AddressForbidden`.
    """
    import httpx  # noqa: PLC0415 - a tenth of the API's start, which only who has told a webhook shall pay

    try:
        target = httpx.URL(url)
        host = target.host
    except (httpx.InvalidURL, UnicodeError) as error:
        raise AddressForbidden(f"{url[:100]} names no host") from error
    port = target.port or (443 if target.scheme == "https" else 80)
    patience = httpx.Timeout(SECONDS, connect=CONNECT_SECONDS)
    try:
        async with asyncio.timeout(SECONDS):
            addresses = await reachable_addresses(host, port, allowed)
            trusted = _trusted(authorities)
            async with httpx.AsyncClient(verify=trusted, trust_env=False, follow_redirects=False, timeout=patience) as client:
                answer = await _answer_of_the_first(client, addresses, target, body, headers)
    except TimeoutError as error:
        raise ReceiverUnreachable(f"{host} did not answer within {SECONDS:.0f} s") from error
    except HostUnknown as error:
        raise ReceiverUnreachable(str(error)) from error
    except (httpx.HTTPError, ssl.SSLError) as error:
        raise ReceiverUnreachable(f"{host} could not be told: {type(error).__name__}: {error}") from error
    _judge(answer, host)


async def _answer_of_the_first(
    client: httpx.AsyncClient, addresses: tuple[str, ...], target: httpx.URL, body: bytes, headers: dict[str, str]
) -> httpx.Response:
    """The answer, without its body, of the first address that takes a connection."""
    import httpx  # noqa: PLC0415 - as above

    for address in addresses:
        request = client.build_request(
            "POST",
            target.copy_with(host=address),
            content=body,
            headers={**headers, "Host": target.netloc.decode("ascii"), "Content-Type": "application/json"},
            extensions={"sni_hostname": target.raw_host.decode("ascii")},
        )
        try:
            answer = await client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            if address == addresses[-1]:
                raise
        else:
            await answer.aclose()
            return answer
    raise AssertionError("unreachable: the last address returns or raises")


def _judge(answer: httpx.Response, host: str) -> None:
    if answer.is_success:
        return
    said = f"{host} answered {answer.status_code}"
    if answer.status_code == HTTPStatus.GONE:
        raise ReceiverGone(said)
    pause = answer.headers.get("retry-after", "")
    if answer.status_code in _BUSY and pause.isascii() and pause.isdigit():
        raise ReceiverBusy(f"{said} and asks for {pause} s", seconds=min(max(int(pause[:9]), 1), LONGEST_PAUSE))
    raise WebhookFailed(said)


@cache
def _trusted(authorities: Path | None) -> ssl.SSLContext:
    """The usual authorities, and those of a file; reading them takes a twentieth of a second, so once."""
    import httpx  # noqa: PLC0415 - as above

    context = httpx.create_ssl_context(trust_env=False)
    if authorities is not None:
        context.load_verify_locations(authorities)
    return context
