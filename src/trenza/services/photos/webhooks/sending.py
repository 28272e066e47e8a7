"""One signed POST to a URL of somebody else's."""

from __future__ import annotations

import asyncio
import hmac
import ssl
from functools import cache
from hashlib import sha256

from trenza.services.photos.webhooks.addresses import Allowed, HostUnknown, reachable_address

__all__ = ["WebhookFailed", "post", "signature"]

SECONDS = 10.0
"""Longest that a receiver may take; it should note the event and answer, and work later."""


class WebhookFailed(Exception):
    """The receiver could not be reached, or answered with something else than a 2xx."""


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """``sha256=`` and the HMAC-SHA256, in hexadecimal, of the timestamp, a full stop, and the body."""
    return f"sha256={hmac.digest(secret, timestamp.encode() + b'.' + body, sha256).hex()}"


async def post(url: str, body: bytes, headers: dict[str, str], allowed: Allowed) -> None:
    """Send a body as JSON. Returns when the receiver answers 2xx; nothing of its answer but the status is read.

    Connects to the address that was checked, under the host's own name in TLS and in ``Host``. Redirects are not followed, and
    proxies of the environment not used: each would lead to an unchecked address. Raises `WebhookFailed` and `AddressForbidden`.
    """
    import httpx  # noqa: PLC0415 - a tenth of the API's start, which only who has told a webhook shall pay

    target = httpx.URL(url)
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        async with asyncio.timeout(SECONDS):
            address = await reachable_address(target.host, port, allowed)
            async with httpx.AsyncClient(verify=_trusted(), trust_env=False, follow_redirects=False, timeout=SECONDS) as client:
                request = client.build_request(
                    "POST",
                    target.copy_with(host=address),
                    content=body,
                    headers={**headers, "Host": target.netloc.decode("ascii"), "Content-Type": "application/json"},
                    extensions={"sni_hostname": target.raw_host.decode("ascii")},
                )
                answer = await client.send(request, stream=True)
                await answer.aclose()
    except TimeoutError as error:
        raise WebhookFailed(f"{target.host} did not answer within {SECONDS:.0f} s") from error
    except HostUnknown as error:
        raise WebhookFailed(str(error)) from error
    except (httpx.HTTPError, ssl.SSLError) as error:
        raise WebhookFailed(f"{target.host} could not be told: {type(error).__name__}: {error}") from error
    if not answer.is_success:
        raise WebhookFailed(f"{target.host} answered {answer.status_code}")


@cache
def _trusted() -> ssl.SSLContext:
    """The usual authorities; reading them takes a twentieth of a second, so once."""
    import httpx  # noqa: PLC0415 - as above

    return httpx.create_ssl_context(trust_env=False)
