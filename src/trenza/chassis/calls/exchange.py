"""One request to one process and its answer, over aiohttp: what failed, and whether anything was sent."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from trenza.chassis.calls.protocol import MAX_BODY_BYTES
from trenza.chassis.calls.transport import Answer, TransportFailed

__all__ = ["exchange"]


async def exchange(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Post ``body`` and read the whole answer.

    Raises `TransportFailed`. ``sent`` is False where no connection came about, and for nothing else: once aiohttp has a
    connection, it tells in no case how much it has written to it. It repeats a POST by itself never (it does so for idempotent
    methods, on kept connections). Cancelled at any moment, it closes the connection, so that no later request gets this answer.
    """
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            return Answer(
                response.status, {name.lower(): value for name, value in response.headers.items()}, await _whole(response)
            )
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise TransportFailed(_unreachable(error), sent=False) from error
    except aiohttp.ServerDisconnectedError as error:
        raise TransportFailed("it closed the connection without an answer", sent=True) from error
    except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
        raise TransportFailed("it answered what is no HTTP, or broke off", sent=True) from error
    except (aiohttp.ClientError, OSError) as error:
        raise TransportFailed("the connection broke", sent=True) from error


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The body. Raises `TransportFailed` for one that no callee of ours sends."""
    if (response.content_length or 0) <= MAX_BODY_BYTES:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                break
        else:
            return bytes(body)
    response.close()
    raise TransportFailed(f"its answer is larger than {MAX_BODY_BYTES} bytes; pass the key of an object instead", sent=True)


def _unreachable(error: Exception) -> str:
    """Why no connection came about. Addresses stay in the log."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "it took no connection in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its address is not known"
    if isinstance(error, aiohttp.ClientSSLError):
        return "it could not be trusted, or did not trust us (TLS)"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return "it refused the connection"
    return "it could not be reached"
