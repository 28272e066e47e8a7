"""Claim checks that somebody has forged: they stand for no message but the one that they are about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from trenza.chassis.blobs.local import LocalBlobs
from trenza.chassis.blobs.signatures import UrlSigner
from trenza.chassis.clock import Clock
from trenza.chassis.identifiers import uuid7
from trenza.chassis.messages import LocalTransport
from trenza.chassis.messages.envelope import Envelope, Unreadable
from trenza.chassis.messages.transports.claim_checks import ClaimChecks

KEY = "messages/2026-01-01/01890a5d-ac96-774b-bcce-b302099a8057.json"


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    signer = UrlSigner(b"k" * 32, public_url="http://127.0.0.1:8000")
    blobs = LocalBlobs(tmp_path / "blobs", spool=tmp_path / "spool", url_signer=signer)
    yield blobs
    await blobs.close()


def envelope(**attributes: Any) -> dict[str, Any]:
    usual = {"id": str(uuid7()), "source": "trenza/bakery", "type": "bakery.Baked", "time": "2026-01-01T00:00:00+00:00"}
    return usual | attributes


@pytest.mark.parametrize("change", [{}, {"id": str(uuid7())}, {"type": "bakery.Burnt"}], ids=["true", "other id", "other type"])
async def test_a_check_stands_for_the_message_of_its_own_id_and_type(
    blobs: LocalBlobs, clock: Clock, change: dict[str, str]
) -> None:
    whole = envelope(data={"loaf": 1})
    await blobs.put(KEY, orjson.dumps(whole), media_type="application/json")
    check = {name: value for name, value in whole.items() if name != "data"} | change | {"dataref": KEY}
    came: list[str | bytes] = []

    async def receive(bodies: Sequence[str | bytes]) -> None:
        came.extend(bodies)

    await ClaimChecks(LocalTransport(), blobs, clock).receiver(receive)([orjson.dumps(check)])
    (body,) = came
    if change:
        with pytest.raises(Unreadable, match="the object that it names holds another message"):
            Envelope.from_json(body)
    else:
        assert orjson.loads(Envelope.from_json(body).data) == {"loaf": 1}
