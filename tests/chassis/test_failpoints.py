from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from trenza.chassis.failpoints import Failpoint, parse_failpoint, reached, watching
from trenza.chassis.settings import InvalidSettings, PlatformSettings, UnsafeSettings, load_settings

CHILD = """
from trenza.chassis.failpoints import Failpoint, killing_at, parse_failpoint, reached

with killing_at(*parse_failpoint("relay.published:2")):
    reached(Failpoint.RELAY_CLAIMED)
    reached(Failpoint.RELAY_PUBLISHED)
    print("once", flush=True)
    reached(Failpoint.RELAY_CLAIMED)
    reached(Failpoint.RELAY_PUBLISHED)
    print("twice", flush=True)
"""


async def test_a_process_kills_itself_when_it_reaches_a_point_as_often_as_was_asked() -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, stdout=asyncio.subprocess.PIPE)
    said, _ = await child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert said == b"once\n"


def test_a_point_tells_whoever_watches_and_nobody_else() -> None:
    seen: list[Failpoint] = []
    reached(Failpoint.INBOX_STORED)
    with watching(seen.append):
        reached(Failpoint.WORKER_CLAIMED)
    reached(Failpoint.INBOX_STORED)
    assert seen == [Failpoint.WORKER_CLAIMED]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("relay.published:3", (Failpoint.RELAY_PUBLISHED, 3)), ("inbox.stored", (Failpoint.INBOX_STORED, 1))],
)
def test_the_setting_names_a_point_and_a_count(text: str, expected: tuple[Failpoint, int]) -> None:
    assert parse_failpoint(text) == expected


@pytest.mark.parametrize("text", ["relay.publish", "relay.published:0", "relay.published:-1", "relay.published:soon", ""])
def test_anything_else_is_refused_with_what_may_be_written(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TRENZA_FAILPOINT", text)
    with pytest.raises(InvalidSettings, match=r"TRENZA_FAILPOINT is .*: (no point is called|.*from 1: write relay\.published:3)"):
        load_settings(PlatformSettings)


def test_production_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("TRENZA_FAILPOINT", "relay.published")
    with pytest.raises(UnsafeSettings, match=r"TRENZA_FAILPOINT is 'relay\.published', which kills the process: unset it"):
        load_settings(PlatformSettings).refuse_unsafe()
