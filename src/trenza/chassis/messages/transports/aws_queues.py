"""Takes the messages of one queue of SQS, and deletes what has been stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from trenza.chassis.messages.transports.aws_clients import CALL_SECONDS, FAILURES, POLL_SECONDS, told
from trenza.chassis.messages.transports.base import Receiver
from trenza.chassis.telemetry.logs import get_logger

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.type_defs import MessageTypeDef

__all__ = ["Interruptions", "Queue", "QueueConsumer"]

_BATCH = 10
_POLLERS = 4
"""Calls at once on one queue while messages flow. A group of an ordered queue is with one of them at a time: SQS sees to that."""
_HELP_SECONDS = 1
"""How long a poller beyond the first waits for messages before it ends."""
_HELD_SECONDS = 10
"""How long a message stays with who received it. Short: a process that ends while SQS holds its call may be given some."""
_EXTEND_SECONDS = 3.0
_PAUSES = (0.1, 60.0)
"""The first and the longest pause after a receiver that raised. SQS gives up after a thousand: 16 hours."""
_LOST_PAUSES = (0.2, 5.0)
"""The same after a call that failed."""
_DELETE_PAUSES = (0.1, 0.5)
_GONE = "ReceiptHandleIsInvalid"

_log = get_logger(__name__)

Queue = tuple["SQSClient", str]
"""A client, and the URL of a queue."""


class Interruptions:
    """Tells once that a service's messages do not come, and once that they come again, however many queues it has."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._lost: set[QueueConsumer] = set()
        self._failures = 0

    def begin(self, consumer: QueueConsumer, error: BaseException) -> None:
        """A call for this consumer's queue has failed."""
        if not self._lost:
            _log.warning("no messages from SQS for now", service=self.service, error=told(error))
        self._lost.add(consumer)
        self._failures += 1

    def end(self, consumer: QueueConsumer) -> None:
        """A call for this consumer's queue has brought an answer."""
        if consumer not in self._lost:
            return
        self._lost.remove(consumer)
        if not self._lost:
            _log.info("messages are received again", service=self.service, failures=self._failures)
            self._failures = 0


class QueueConsumer:
    """Delivers one queue's messages to a receiver from `start` until `stop`.

    ``find`` returns the queue once all that fills it exists; ``lost`` is told when a call fails, after which it may not exist.
    """

    def __init__(
        self,
        find: Callable[[], Awaitable[Queue]],
        lost: Callable[[], None],
        receiver: Receiver,
        interruptions: Interruptions,
    ) -> None:
        self._name = interruptions.service
        self._find = find
        self._lost = lost
        self._receiver = receiver
        self._interruptions = interruptions
        self._pollers: set[asyncio.Task[None]] = set()
        self._last_polls: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._failures = 0

    def start(self) -> None:
        """Begin to poll."""
        self._add_poller(POLL_SECONDS)

    @property
    def is_busy(self) -> bool:
        """Whether there is anything to abandon."""
        return bool(self._pollers or self._last_polls)

    async def stop(self) -> None:
        """Stop; returns when what was received is stored and deleted, or given back.

        Calls that SQS still holds go on, and what they bring is given back: SQS does not notice who hangs up, and gives such a
        call messages that nobody then sees until they are free again.
        """
        self._stopping.set()
        while self._pollers:
            await asyncio.wait(self._pollers)

    async def abandon(self) -> None:
        """Stop at once, after `stop` too. What is being stored is cancelled and, where SQS can be reached, given back."""
        self._stopping.set()
        while under_way := self._pollers | self._last_polls:
            for task in under_way:
                task.cancel()
            await asyncio.wait(under_way)

    def _add_poller(self, wait_seconds: int) -> None:
        poller = asyncio.create_task(self._poll(wait_seconds), name=f"queue of {self._name}")
        self._pollers.add(poller)
        poller.add_done_callback(self._pollers.discard)

    async def _poll(self, wait_seconds: int) -> None:
        """The first poller goes on until it is stopped; one that helps ends when there is nothing, or something is wrong."""
        helping = wait_seconds < POLL_SECONDS
        lost = 0
        while not self._stopping.is_set():
            try:
                # After a failure a short call, so that it shows soon whether messages come again.
                queue, messages = await self._receive(_HELP_SECONDS if lost else wait_seconds)
            except Exception as error:  # noqa: BLE001 - whatever it is, a service must not fall silent for it
                self._lost()
                self._interruptions.begin(self, error)
                if helping:
                    return
                await self._pause(lost, *_LOST_PAUSES)
                lost += 1
                continue
            lost = 0
            if queue is not None:
                self._interruptions.end(self)
            if queue is not None and messages:
                if not self._failures and len(self._pollers) < _POLLERS and not self._stopping.is_set():
                    self._add_poller(_HELP_SECONDS)
                await self._deliver(queue, messages)
            if helping and (self._failures or not messages):
                return
            if self._failures:
                await self._pause(self._failures - 1, *_PAUSES)

    async def _pause(self, times: int, shortest: float, longest: float) -> None:
        """Wait, twice as long each time, or until the consumer is stopped."""
        try:
            async with asyncio.timeout(min(shortest * 2 ** min(times, 20), longest)):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _receive(self, wait_seconds: int) -> tuple[Queue | None, list[MessageTypeDef]]:
        """The queue, and what one call brings; nothing when the consumer is stopped meanwhile."""
        poll = asyncio.create_task(self._received(wait_seconds))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({poll, stopping}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            poll.cancel()
            raise
        finally:
            stopping.cancel()
        if poll.done():
            return poll.result()
        last = asyncio.create_task(_return(poll))
        self._last_polls.add(last)
        last.add_done_callback(self._last_polls.discard)
        return None, []

    async def _received(self, wait_seconds: int) -> tuple[Queue, list[MessageTypeDef]]:
        queue = await self._find()
        sqs, url = queue
        answer = await sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=wait_seconds, VisibilityTimeout=_HELD_SECONDS
        )
        return queue, answer.get("Messages", [])

    async def _deliver(self, queue: Queue, messages: Sequence[MessageTypeDef]) -> None:
        handles = [message["ReceiptHandle"] for message in messages]
        try:
            async with _held(queue, handles):
                await self._receiver([message["Body"] for message in messages])
                await _delete(queue, handles, self._name)
        except Exception as error:  # noqa: BLE001 - whatever it is, they come again
            self._failures += 1
            _log.warning("messages not stored", service=self._name, messages=len(messages), error=told(error))
            await _give_back(queue, handles)
        except asyncio.CancelledError:
            await _give_back(queue, handles)
            raise
        else:
            self._failures = 0


async def _return(poll: asyncio.Task[tuple[Queue, list[MessageTypeDef]]]) -> None:
    with suppress(Exception):  # nothing was brought
        queue, messages = await poll
        if messages:
            await _give_back(queue, [message["ReceiptHandle"] for message in messages])


@asynccontextmanager
async def _held(queue: Queue, handles: Sequence[str]) -> AsyncIterator[None]:
    """Keep messages from all others for as long as the block takes."""
    extending = asyncio.create_task(_extend(queue, handles))
    try:
        yield
    finally:
        extending.cancel()
        await asyncio.wait({extending})


async def _extend(queue: Queue, handles: Sequence[str]) -> None:
    while True:
        await asyncio.sleep(_EXTEND_SECONDS)
        try:
            await _change_visibility(queue, handles, _HELD_SECONDS)
        except FAILURES as error:
            _log.info("messages not held for longer", error=told(error))  # at worst another process stores them as well


async def _give_back(queue: Queue, handles: Sequence[str]) -> None:
    """Let others have messages at once. Without it they would have them in a few seconds."""
    try:
        await _change_visibility(queue, handles, 0)
    except FAILURES as error:
        _log.info("messages not given back", error=told(error))


async def _change_visibility(queue: Queue, handles: Sequence[str], seconds: int) -> None:
    sqs, url = queue
    async with asyncio.timeout(CALL_SECONDS):
        await sqs.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(position), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
                for position, handle in enumerate(handles)
            ],
        )


async def _delete(queue: Queue, handles: Sequence[str], name: str) -> None:
    """Forget messages that are stored. Those that SQS keeps in spite of it come again, and the inbox ignores them."""
    sqs, url = queue
    left, why = list(handles), ""
    for pause in (*_DELETE_PAUSES, None):
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await sqs.delete_message_batch(
                    QueueUrl=url, Entries=[{"Id": str(position), "ReceiptHandle": handle} for position, handle in enumerate(left)]
                )
            failed = [failure for failure in answer.get("Failed", ()) if failure["Code"] != _GONE]
            left = [left[int(failure["Id"])] for failure in failed]
            why = failed[0]["Code"] if failed else ""
        except FAILURES as error:
            why = told(error)
        if not left:
            return
        if pause is not None:
            await asyncio.sleep(pause)
    _log.warning("stored messages not deleted from SQS", service=name, messages=len(left), error=why)
