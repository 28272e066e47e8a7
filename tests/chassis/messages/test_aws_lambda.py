"""A batch of SQS as a function on Lambda receives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from trenza.chassis.messages.transports.aws_lambda import receive_event


def event(*bodies: str, fifo: bool = False) -> dict[str, Any]:
    """As Lambda calls a function with it."""
    source = f"arn:aws:sqs:us-east-1:000000000000:trenza-shop{'.fifo' if fifo else ''}"
    return {"Records": [{"messageId": body, "body": body, "eventSourceARN": source, "attributes": {}} for body in bodies]}


class Store:
    """A receiver that cannot store some bodies."""

    def __init__(self, *refused: str) -> None:
        self._refused = refused
        self.calls: list[list[str | bytes]] = []
        self.stored: list[str | bytes] = []

    async def receive(self, bodies: Sequence[str | bytes]) -> None:
        self.calls.append(list(bodies))
        if any(body in self._refused for body in bodies):
            raise ConnectionError("not now")
        self.stored += bodies


def failed(*message_ids: str) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in message_ids]}


@pytest.mark.parametrize("fifo", [False, True])
async def test_a_batch_that_is_stored_is_stored_at_once(*, fifo: bool) -> None:
    store = Store()
    assert await receive_event(event("a", "b", "c", fifo=fifo), store.receive) == failed()
    assert store.calls == [["a", "b", "c"]]


async def test_one_that_cannot_be_stored_comes_again_alone() -> None:
    store = Store("b")
    assert await receive_event(event("a", "b", "c"), store.receive) == failed("b")
    assert store.stored == ["a", "c"]


async def test_on_a_fifo_queue_nothing_overtakes_what_comes_again() -> None:
    store = Store("b")
    assert await receive_event(event("a", "b", "c", "d", fifo=True), store.receive) == failed("b", "c", "d")
    assert store.stored == ["a"]


async def test_a_store_that_is_away_is_not_asked_for_each_message() -> None:
    store = Store("a", "b", "c", "d", "e")
    assert await receive_event(event("a", "b", "c", "d", "e"), store.receive) == failed("a", "b", "c", "d", "e")
    assert store.calls == [["a", "b", "c", "d", "e"], ["a"], ["b"]]


async def test_failures_that_are_apart_are_those_of_their_messages() -> None:
    store = Store("a", "c", "e")
    assert await receive_event(event("a", "b", "c", "d", "e", "f"), store.receive) == failed("a", "c", "e")
    assert store.stored == ["b", "d", "f"]


async def test_an_empty_batch_fails_nothing() -> None:
    assert await receive_event({"Records": []}, Store().receive) == failed()


@pytest.mark.parametrize("strange", [{}, {"Records": [{"Sns": {}}]}, {"Records": None}])
async def test_an_event_of_something_else_is_refused(strange: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no event of SQS"):
        await receive_event(strange, Store().receive)
