"""What is told of a broker that was away: once that messages do not come, and once that they come again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

if TYPE_CHECKING:
    from tests.conformance.conftest import Wires

    from trenza.chassis.testing.brokers import Broker

BAKED = frozenset({"bakery.Baked"})
AGAIN = "messages are received again"


async def test_a_subscription_that_works_again_says_so_once(broker: Broker, wires: Wires, inbox_of: Any) -> None:
    transport = wires.connect()
    with capture_logs() as logged:

        async def told(level: str, *, event: str | None = None) -> None:
            async with asyncio.timeout(60):
                while not [line for line in logged if line["log_level"] == level and event in {None, line["event"]}]:  # noqa: ASYNC110 - a log sets no event
                    await asyncio.sleep(0.05)

        await transport.subscribe("shop", BAKED, inbox_of().receive)
        await asyncio.to_thread(broker.stop)
        try:
            await told("warning")
            assert AGAIN not in str(logged)
        finally:
            await asyncio.to_thread(broker.start)
        await told("info", event=AGAIN)
        await transport.unsubscribe("shop")
    lines = [line for line in logged if line["event"] == AGAIN]
    assert [(line["service"], line["log_level"]) for line in lines] == [("shop", "info")]
    assert lines[0]["failures"] >= 1
