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
    """A failure in words; a time-out has none of its own."""
    return "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
