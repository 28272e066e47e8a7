"""Connections to the three services of AWS that carry messages, and how their failures are told."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

if TYPE_CHECKING:
    from types_aiobotocore_events import EventBridgeClient
    from types_aiobotocore_sns import SNSClient
    from types_aiobotocore_sqs import SQSClient

__all__ = ["CALL_SECONDS", "FAILURES", "POLL_SECONDS", "Clients", "code_of", "told"]

FAILURES = (BotoCoreError, ClientError, ResponseParserError, aiohttp.ClientError, OSError)
"""What a call raises when AWS refuses it or is out of reach; a `TimeoutError` is an `OSError`."""
CALL_SECONDS = 4.0
"""How long a call may take that waits for nothing."""
POLL_SECONDS = 20
"""How long SQS holds a call that finds nothing: its maximum."""
_CONNECT_SECONDS = 3
_CONNECTIONS = 1000
"""More than a process has calls under way; botocore's own bound, ten, would let long polls keep out everything else."""

_REACH = "let the network through to it (proxy, firewall, VPC endpoint), or correct the region or AWS_ENDPOINT_URL"
_WHO = "correct AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and the clock of this machine"
_NOBODY = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role"
_REMEDIES = {
    "Expired": "renew the credentials in AWS_*",
    "NoCredentials": _NOBODY,
    "PartialCredentials": _NOBODY,
    "CredentialRetrieval": _NOBODY,
    "TokenRetrieval": _NOBODY,
    "InvalidClientTokenId": _WHO,
    "InvalidAccessKeyId": _WHO,
    "UnrecognizedClient": _WHO,
    "Signature": _WHO,
    "InvalidSecurity": _WHO,
    "AccessDenied": "allow it in the policy of whoever AWS_* names",
    "AuthorizationError": "allow it in the policy of whoever AWS_* names",
    "EndpointConnection": _REACH,
    "ConnectTimeout": _REACH,
    "ReadTimeout": _REACH,
    "ConnectionClosed": _REACH,
    "SSLError": _REACH,
}
"""By what AWS' error codes and the names of botocore's errors contain."""


@dataclass(frozen=True)
class Clients:
    """One client of each service; they share nothing but the credentials."""

    events: EventBridgeClient
    sns: SNSClient
    sqs: SQSClient

    @classmethod
    async def opened(cls, region: str, stack: AsyncExitStack) -> Clients:
        """Clients that live as long as ``stack``. Credentials and endpoint are taken from where every AWS tool takes them."""
        session = get_session()
        config = AioConfig(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=POLL_SECONDS + 10,
            max_pool_connections=_CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": 2},  # the one more is for a connection closed while it was idle
        )
        return cls(
            events=await stack.enter_async_context(session.create_client("events", region_name=region, config=config)),
            sns=await stack.enter_async_context(session.create_client("sns", region_name=region, config=config)),
            sqs=await stack.enter_async_context(session.create_client("sqs", region_name=region, config=config)),
        )


def code_of(error: ClientError) -> str:
    """The error code of a refusal, such as ``NotFound``."""
    return error.response.get("Error", {}).get("Code", "")


def told(error: BaseException) -> str:
    """A failure in words, with what helps against those that an operator can end."""
    if isinstance(error, TimeoutError):  # it has no words of its own
        return f"no answer in time; {_REACH}"
    code = code_of(error) if isinstance(error, ClientError) else type(error).__name__
    remedies = [remedy for part, remedy in _REMEDIES.items() if part in code]
    if not remedies and isinstance(error, aiohttp.ClientError):
        remedies = [_REACH]
    return "; ".join([f"{type(error).__name__}: {error}", *remedies[:1]])
