from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from trenza.chassis.data import DatabaseUnavailable
from trenza.chassis.messages.loops import Loop


async def turns(errors: list[Exception]) -> list[dict[str, object]]:
    """What a loop logs, above debug, while its turns raise these errors and then succeed."""
    done = asyncio.Event()

    async def turn(_rung: bool) -> float:  # noqa: FBT001 - the shape of every turn
        if errors:
            loop.ring()  # the pause after a failure is not what is looked at here
            raise errors.pop(0)
        asyncio.get_running_loop().call_soon(done.set)
        return 60.0

    loop = Loop(turn, name="relay", service="test")
    with capture_logs() as logged:
        loop.start()
        async with asyncio.timeout(10):
            await done.wait()
        await loop.stop()
    return [dict(entry) for entry in logged if entry["log_level"] != "debug"]


async def test_an_outage_is_one_line_at_its_begin_and_one_at_its_end() -> None:
    away = "the database of test does not answer"
    logged = await turns([DatabaseUnavailable(away) for _ in range(20)])
    assert [(entry["event"], entry["log_level"]) for entry in logged] == [
        ("background work failed, trying again", "warning"),
        ("background work goes on", "info"),
    ]
    assert logged[0]["reason"] == f"DatabaseUnavailable: {away}"
    assert logged[1]["failures"] == 20
    assert all("exc_info" not in entry for entry in logged)


async def test_a_defect_shows_its_trace_once() -> None:
    logged = await turns([KeyError("a slip") for _ in range(5)])
    assert [entry["log_level"] for entry in logged] == ["error", "info"]
    assert isinstance(logged[0]["exc_info"], KeyError)
