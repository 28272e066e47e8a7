"""Hands messages over to AWS: those of an ordering key to the topic in their order, the others to the bus."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from trenza.chassis.messages.transports.aws_clients import CALL_SECONDS, Clients
from trenza.chassis.messages.transports.aws_topology import TYPE_ATTRIBUTE
from trenza.chassis.messages.transports.base import Outgoing, TransportUnavailable

if TYPE_CHECKING:
    from types_aiobotocore_events.type_defs import PutEventsRequestEntryTypeDef
    from types_aiobotocore_sns.type_defs import PublishBatchRequestEntryTypeDef

__all__ = ["Publisher"]

_ENTRIES = 10
_CALL_BYTES = 256 * 1024
"""The limits of PutEvents and PublishBatch for one call; the second counts attributes, and source and type, too."""
_CALLS_AT_ONCE = 8
_REMEMBERED = 10_000
_PAUSES = (0.1, 0.5)
"""Seconds before entries that a call did not take are tried again: AWS sheds load in this way."""
_SOURCE = "trenza"
_GIVEN_UP = "another call failed"
_NO_XML = str.maketrans({"\ufffe": "\\ufffe", "\uffff": "\\uffff"})
"""Two letters that SQS refuses for good and JSON allows: as JSON's escapes they mean the same. They stand within texts only."""

_Refused = list[tuple[Outgoing, str]]
"""The messages that a call did not take, and why."""
_Call = Callable[[Sequence[Outgoing]], Awaitable[_Refused]]


class Publisher:
    """Publishes to one bus and one topic."""

    def __init__(self, clients: Clients, bus: str, topic: str) -> None:
        self._clients = clients
        self._bus = bus
        self._topic = topic
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._taken: set[UUID] = set()
        """Of batches that failed: what AWS took all the same."""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Hand over a batch; see `Transport.publish`. Raises what calls raise, and `TransportUnavailable`.

        A batch that is published again begins where it failed, so that it is done some time even if AWS is far away and a
        batch takes longer than the relay waits.
        """
        if len(self._taken) > _REMEMBERED:  # others have published what was left
            self._taken.clear()
        left = [message for message in messages if message.id not in self._taken]
        failed = asyncio.Event()
        await _all(
            self._to_bus([message for message in left if message.ordering_key is None], failed),
            self._to_topic([message for message in left if message.ordering_key is not None], failed),
        )
        self._taken.difference_update(message.id for message in messages)

    async def _to_bus(self, messages: Sequence[Outgoing], failed: asyncio.Event) -> None:
        await _all(*(self._hand_over(self._put_events, some, failed) for some in _calls(messages)))

    async def _to_topic(self, messages: Sequence[Outgoing], failed: asyncio.Event) -> None:
        """The first of each key, then the second of each, and so on.

        A call takes some of its entries and refuses others, so that no two of a key may travel in one: the second could be
        taken without the first. Only what was taken lets the next turn begin.
        """
        for turn in _turns(messages):
            await _all(*(self._hand_over(self._publish_batch, some, failed) for some in _calls(turn)))

    async def _hand_over(self, call: _Call, messages: Sequence[Outgoing], failed: asyncio.Event) -> None:
        try:
            await self._offer(call, messages, failed)
        except BaseException:
            failed.set()
            raise

    async def _offer(self, call: _Call, messages: Sequence[Outgoing], failed: asyncio.Event) -> None:
        """Call until every message is taken, each call for those that the last one refused; not at all once another failed."""
        left = messages
        for pause in (*_PAUSES, None):
            async with self._calls:
                if failed.is_set():
                    raise TransportUnavailable(_GIVEN_UP)
                async with asyncio.timeout(CALL_SECONDS):
                    refused = await call(left)
            self._taken.update({message.id for message in left} - {message.id for message, _ in refused})
            if not refused:
                return
            left, why = [message for message, _ in refused], refused[0][1]
            if pause is None:
                raise TransportUnavailable(f"AWS did not take {len(left)} of {len(messages)} messages: {why}")
            await asyncio.sleep(pause)

    async def _put_events(self, messages: Sequence[Outgoing]) -> _Refused:
        entries: list[PutEventsRequestEntryTypeDef] = [
            {"EventBusName": self._bus, "Source": _SOURCE, "DetailType": message.type, "Detail": _body(message)}
            for message in messages
        ]
        answer = await self._clients.events.put_events(Entries=entries)
        return [
            (message, f"{result['ErrorCode']}: {result.get('ErrorMessage', '')}")
            for message, result in zip(messages, answer["Entries"], strict=True)
            if result.get("ErrorCode")
        ]

    async def _publish_batch(self, messages: Sequence[Outgoing]) -> _Refused:
        """The topic ignores an id that it has taken within five minutes; what comes later again, the inbox ignores."""
        entries: list[PublishBatchRequestEntryTypeDef] = [
            {
                "Id": str(position),
                "Message": _body(message),
                "MessageAttributes": {TYPE_ATTRIBUTE: {"DataType": "String", "StringValue": message.type}},
                "MessageGroupId": _group(message.ordering_key or ""),
                "MessageDeduplicationId": str(message.id),
            }
            for position, message in enumerate(messages)
        ]
        answer = await self._clients.sns.publish_batch(TopicArn=self._topic, PublishBatchRequestEntries=entries)
        taken = {result["Id"] for result in answer.get("Successful", ())}
        why = {result["Id"]: f"{result['Code']}: {result.get('Message', '')}" for result in answer.get("Failed", ())}
        return [
            (message, why.get(entry["Id"], "no word of it in the answer"))
            for message, entry in zip(messages, entries, strict=True)
            if entry["Id"] not in taken
        ]


async def _all(*work: Awaitable[None]) -> None:
    """Do all of it, to the end even when some of it fails: nothing goes on behind the back of who publishes it again."""
    errors = [result for result in await asyncio.gather(*work, return_exceptions=True) if result is not None]
    if errors:
        raise next((error for error in errors if str(error) != _GIVEN_UP), errors[0])


def _turns(messages: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    keys: defaultdict[str | None, list[Outgoing]] = defaultdict(list)
    for message in messages:
        keys[message.ordering_key].append(message)
    for turn in range(max(map(len, keys.values()), default=0)):
        yield [of_key[turn] for of_key in keys.values() if turn < len(of_key)]


def _calls(messages: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    """The messages, as many at a time as one call takes."""
    some: list[Outgoing] = []
    total = 0
    for message in messages:
        size = len(_body(message).encode()) + len(message.type) + 64  # what AWS adds: names and types of attributes, a time
        if some and (len(some) == _ENTRIES or total + size > _CALL_BYTES):
            yield some
            some, total = [], 0
        some.append(message)
        total += size
    if some:
        yield some


def _body(message: Outgoing) -> str:
    return message.body.translate(_NO_XML) if "\ufffe" in message.body or "\uffff" in message.body else message.body


def _group(key: str) -> str:
    """The message group of an ordering key: SQS takes 128 letters of ASCII, a key may be anything."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]
