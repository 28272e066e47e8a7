"""SIGTERM under load: each request is answered or was never read, and what was acknowledged completes."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Installation, MakeInstallation

CLIENTS = 8
NEWCOMERS = 64
ENOUGH = 24
"""Acknowledgements after which the signal comes, in the middle of the others' requests."""


async def send_until_refused(
    installation: Installation, client: httpx.AsyncClient, make_photo: Callable[[], bytes], *, keep: bool, gone: asyncio.Event
) -> list[tuple[str, int | str]]:
    """The hash and the outcome of each request of one client: its status, or the kind of error."""
    outcomes: list[tuple[str, int | str]] = []
    headers = {} if keep else {"Connection": "close"}
    while not gone.is_set():
        photo = make_photo()
        try:
            outcome: int | str = (await installation.send(client, photo, **headers)).status_code
        except httpx.ConnectError:
            break  # refused: nothing has been sent
        except httpx.TransportError as error:
            outcome = type(error).__name__
        outcomes.append((sha256(photo).hexdigest(), outcome))
    return outcomes


@pytest.mark.timeout(240)
async def test_a_sigterm_under_load_loses_no_request(
    make_installation: MakeInstallation, make_photo: Callable[[], bytes]
) -> None:
    installation = make_installation()
    gone = asyncio.Event()
    async with installation.serving() as server, installation.client(server) as client:
        sending = [
            asyncio.create_task(send_until_refused(installation, client, make_photo, keep=number % 2 == 0, gone=gone))
            for number in range(CLIENTS)
        ]
        await installation.until_acknowledged(ENOUGH)
        assert await server.stop() == 0
        gone.set()
        outcomes = [outcome for client_outcomes in await asyncio.gather(*sending) for outcome in client_outcomes]
    print(outcomes)  # noqa: T201 - pytest shows it with a failure
    assert {outcome for _, outcome in outcomes} == {202}
    assert {digest for digest, _ in outcomes} == set(installation.acknowledged.values())
    await installation.prove_whole()


async def ask_until_refused(port: int, outcomes: Counter[str], enough: asyncio.Event) -> None:
    """Ask again and again, each time on a new connection."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        try:
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: trenza\r\nConnection: close\r\n\r\n")
            outcomes[(await reader.read())[:12].decode() or "nothing"] += 1
            if outcomes.total() > 2 * NEWCOMERS:
                enough.set()
        except ConnectionError as error:
            outcomes[type(error).__name__] += 1
        finally:
            writer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs the packet filter of Linux, as the server itself does")
async def test_no_connection_is_cut_between_the_kernel_and_the_server(make_installation: MakeInstallation) -> None:
    outcomes: Counter[str] = Counter()
    enough = asyncio.Event()
    async with make_installation().serving() as server:
        port = httpx.URL(server.url).port
        assert port is not None
        asking = [asyncio.create_task(ask_until_refused(port, outcomes, enough)) for _ in range(NEWCOMERS)]
        await enough.wait()
        assert await server.stop() == 0
        await asyncio.gather(*asking)
    assert outcomes.keys() == {"HTTP/1.1 200"}, outcomes
