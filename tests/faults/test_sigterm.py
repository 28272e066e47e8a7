"""SIGTERM under load: each request is answered or was never read, and what was acknowledged completes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Installation, MakeInstallation

CLIENTS = 8
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
        while len(installation.acknowledged) < ENOUGH:
            await asyncio.sleep(0.005)
        assert await server.stop() == 0
        gone.set()
        outcomes = [outcome for client_outcomes in await asyncio.gather(*sending) for outcome in client_outcomes]
    print(outcomes)  # noqa: T201 - pytest shows it with a failure
    assert {outcome for _, outcome in outcomes} == {202}
    assert {digest for digest, _ in outcomes} == set(installation.acknowledged.values())
    await installation.prove_whole()
