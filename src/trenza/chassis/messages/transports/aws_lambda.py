"""Receives messages as a function on Lambda does: SQS calls it with a batch, and is answered with what was not stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from trenza.chassis.messages.transports.base import Receiver
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["BatchResponse", "FailedItem", "receive_event"]

_OUTAGE = 2
"""Failures one after the other that are taken for those of the store, not of the messages: the rest is not tried."""

_log = get_logger(__name__)


class FailedItem(TypedDict):
    """A message that SQS shall deliver again."""

    itemIdentifier: str


class BatchResponse(TypedDict):
    """What Lambda understands where the mapping says ``ReportBatchItemFailures``; it deletes all other messages of the batch."""

    batchItemFailures: list[FailedItem]


async def receive_event(event: Mapping[str, Any], receiver: Receiver) -> BatchResponse:
    """Store the messages of one SQS event, and say which were not stored.

    They are stored as one batch; when the receiver raises, one by one, so that what cannot be stored takes few others with it. On
    a FIFO queue nothing after the first failure is tried, and all of it counts as failed: it would overtake what comes again.
    Raises `ValueError` for an event that is not of SQS, upon which Lambda has the whole of it delivered again.
    """
    try:
        records = [(str(record["messageId"]), str(record["body"])) for record in event["Records"]]
        ordered = any(str(record["eventSourceARN"]).endswith(".fifo") for record in event["Records"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no event of SQS: {type(error).__name__}: {error}") from error
    if not records or await _stored([body for _, body in records], receiver):
        return {"batchItemFailures": []}
    failed: list[FailedItem] = []
    in_a_row = 0
    for message_id, body in records:
        given_up = in_a_row == _OUTAGE or (ordered and failed)
        if given_up or not await _stored([body], receiver):
            failed.append({"itemIdentifier": message_id})
            in_a_row = min(in_a_row + 1, _OUTAGE)
        else:
            in_a_row = 0
    return {"batchItemFailures": failed}


async def _stored(bodies: Sequence[str], receiver: Receiver) -> bool:
    try:
        await receiver(bodies)
    except Exception as error:  # noqa: BLE001 - whatever it is, they come again
        _log.warning("messages not stored", messages=len(bodies), error=f"{type(error).__name__}: {error}")
        return False
    return True
