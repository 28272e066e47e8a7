"""What the transport has on AWS: a bus and a topic, and for each service its queues and what fills them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import ClientError

from trenza.chassis.messages.transports.aws_clients import POLL_SECONDS, Clients, code_of
from trenza.chassis.messages.transports.base import TransportUnavailable

if TYPE_CHECKING:
    from types_aiobotocore_sqs.literals import QueueAttributeNameType

__all__ = ["TYPE_ATTRIBUTE", "Found", "MissingOnAws", "Topology"]

TYPE_ATTRIBUTE = "type"
"""The attribute of a message on the topic that subscriptions filter by."""
RECEIVES_AT_MOST = 1000
"""After so many deliveries SQS gives a message up: its maximum. Our receivers store what they cannot read, so this is for a
process that every delivery of one message ends."""
_RETENTION_SECONDS = 14 * 24 * 3600
_VISIBILITY_SECONDS = 120
"""For consumers that name none, which are functions: it must exceed their time-out. Our own name one with each call."""
_SERVICE_LETTERS = 29
"""What is left of SQS' 80 beside the longest prefix, ``-dead`` and ``.fifo``."""
_PATTERN_LETTERS = 1900
"""An event pattern may have 2048."""
_VERIFICATIONS = 5
_NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


class MissingOnAws(TransportUnavailable):
    """AWS answers, and lacks what we may not make."""


@dataclass(frozen=True)
class Found:
    """Where things are: ``queues`` holds the URLs of each service's plain and ordered queue."""

    bus: str
    topic: str
    queues: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class _Account:
    """Where the bus is, everything else is: its ARN tells partition, region and account."""

    partition: str
    region: str
    number: str

    def arn(self, service: str, name: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.number}:{name}"


class Topology:
    """Looks for what the transport needs and makes what is missing, unless it is made by others (``create=false``).

    What exists is left as it is: an operator may have tuned it. Types are only ever added to a subscription, so that an old
    release, connecting anew while a new one is rolled out, takes nothing away from it.
    """

    def __init__(self, clients: Clients, prefix: str, *, create: bool) -> None:
        self._clients = clients
        self._prefix = prefix
        self._create = create

    async def found(self, subscriptions: Mapping[str, frozenset[str]]) -> Found:
        """Everything, for these services and their types. Raises `TransportUnavailable`, which names what is missing."""
        missing: list[str] = []
        account = await self._bus(missing)
        queues: dict[str, tuple[str, str]] = {}
        topic = ""
        if account is not None:
            topic = account.arn("sns", f"{self._prefix}-events.fifo")
            if await self._topic(topic, missing):
                looks = [
                    _Service(self._clients, self._prefix, name, account, topic, create=self._create) for name in subscriptions
                ]
                results = await asyncio.gather(*(look.found(subscriptions[look.name], missing) for look in looks))
                queues = dict(zip(subscriptions, results, strict=True))
        if missing:
            remedy = "make it, or leave create=false out of TRENZA_TRANSPORT_URL"
            raise MissingOnAws(f"missing on AWS, and create=false: {', '.join(missing)}; {remedy}")
        return Found(self._prefix, topic, queues)

    async def _bus(self, missing: list[str]) -> _Account | None:
        events = self._clients.events
        for _ in range(2):
            try:
                arn = (await events.describe_event_bus(Name=self._prefix))["Arn"]
            except events.exceptions.ResourceNotFoundException:
                if not self._create:
                    missing.append(f"the event bus {self._prefix} (nothing else was looked for)")
                    return None
            else:
                _, partition, _, region, number, _ = arn.split(":", 5)
                return _Account(partition, region, number)
            with suppress(events.exceptions.ResourceAlreadyExistsException):  # another process was quicker
                await events.create_event_bus(Name=self._prefix)
        raise TransportUnavailable(f"the event bus {self._prefix} was made and is not there yet")

    async def _topic(self, arn: str, missing: list[str]) -> bool:
        sns, name = self._clients.sns, arn.rpartition(":")[2]
        try:
            await sns.get_topic_attributes(TopicArn=arn)
        except sns.exceptions.NotFoundException:
            if not self._create:
                missing.append(f"the topic {name} (no subscription was looked for)")
                return False
            await sns.create_topic(Name=name, Attributes={"FifoTopic": "true", "FifoThroughputScope": "MessageGroup"})
        return True


class _Service:
    """What one service has on AWS."""

    def __init__(self, clients: Clients, prefix: str, name: str, account: _Account, topic: str, *, create: bool) -> None:
        self._clients = clients
        self.name = name
        self._bus = prefix
        self._queue = f"{prefix}-{_shortened(name)}"
        self._account = account
        self._topic = topic
        self._create = create

    async def found(self, types: frozenset[str], missing: list[str]) -> tuple[str, str]:
        """The URLs of its plain and its ordered queue, once everything that fills them is there."""
        plain = await self._queues("", "events.amazonaws.com", self._account.arn("events", f"rule/{self._bus}/*"), missing)
        ordered = await self._queues(".fifo", "sns.amazonaws.com", self._topic, missing)
        if types:
            await self._rules(types, missing)
            await self._subscription(types, missing)
        return plain, ordered

    async def _queues(self, ending: str, sender: str, source: str, missing: list[str]) -> str:
        """A queue, and the one for what SQS or who fills the queue gives up: 14 days in which an operator finds it."""
        dead = f"{self._queue}-dead{ending}"
        attributes: dict[QueueAttributeNameType, str] = {"MessageRetentionPeriod": str(_RETENTION_SECONDS)}
        if ending:
            attributes |= {"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
        redrive = {"deadLetterTargetArn": self._account.arn("sqs", dead), "maxReceiveCount": RECEIVES_AT_MOST}
        own: dict[QueueAttributeNameType, str] = {
            "RedrivePolicy": orjson.dumps(redrive).decode(),
            "VisibilityTimeout": str(_VISIBILITY_SECONDS),
            "ReceiveMessageWaitTimeSeconds": str(POLL_SECONDS),
        }
        await self._queue_of(dead, sender, source, attributes, missing)
        return await self._queue_of(self._queue + ending, sender, source, attributes | own, missing)

    async def _queue_of(
        self, name: str, sender: str, source: str, attributes: dict[QueueAttributeNameType, str], missing: list[str]
    ) -> str:
        try:
            return (await self._clients.sqs.get_queue_url(QueueName=name))["QueueUrl"]
        except ClientError as error:
            if code_of(error) not in _NO_QUEUE:
                raise
        if not self._create:
            missing.append(f"the queue {name}")
            return ""
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": sender},
            "Action": "sqs:SendMessage",
            "Resource": self._account.arn("sqs", name),
            "Condition": {"ArnLike": {"aws:SourceArn": source}},
        }
        policy = orjson.dumps({"Version": "2012-10-17", "Statement": [statement]}).decode()
        answer = await self._clients.sqs.create_queue(QueueName=name, Attributes=attributes | {"Policy": policy})
        return answer["QueueUrl"]

    async def _rules(self, types: frozenset[str], missing: list[str]) -> None:
        """Let the bus send these types to the plain queue.

        A rule is named after what it says, so none is ever overwritten: two releases that start at the same time at worst have
        two rules for one type, and its second copy changes nothing in an inbox.
        """
        events = self._clients.events
        target = self._account.arn("sqs", self._queue)
        lacking = types - await self._routed(target)
        if lacking and not self._create:
            missing.append(
                f"rules of the event bus {self._bus} that send {', '.join(sorted(lacking))} to the queue {self._queue}"
            )
            return
        for some in _patterns(sorted(lacking)):
            pattern = orjson.dumps({"detail-type": some}).decode()
            name = f"{_shortened(self.name)}-{_digest(pattern)}"
            await events.put_rule(Name=name, EventBusName=self._bus, EventPattern=pattern, State="ENABLED")
            answer = await events.put_targets(
                Rule=name,
                EventBusName=self._bus,
                Targets=[
                    {
                        "Id": "queue",
                        "Arn": target,
                        "InputPath": "$.detail",
                        "DeadLetterConfig": {"Arn": self._account.arn("sqs", f"{self._queue}-dead")},
                    }
                ],
            )
            if answer["FailedEntryCount"]:
                raise TransportUnavailable(f"EventBridge refuses the target of its rule {name}: {answer['FailedEntries']}")

    async def _routed(self, target: str) -> set[str]:
        """The types that rules send to a queue, whoever made them and whatever they are called."""
        events, types = self._clients.events, set[str]()
        pages = events.get_paginator("list_rule_names_by_target").paginate(TargetArn=target, EventBusName=self._bus)
        async for page in pages:
            for name in page["RuleNames"]:
                rule = await events.describe_rule(Name=name, EventBusName=self._bus)
                types |= _texts(orjson.loads(rule.get("EventPattern", "{}")).get("detail-type"))
        return types

    async def _subscription(self, types: frozenset[str], missing: list[str]) -> None:
        """Let the topic send these types to the ordered queue.

        SNS has one filter for it, which several processes may change at once: it is read again after each change.
        """
        sns = self._clients.sns
        queue = f"{self._queue}.fifo"
        for _ in range(_VERIFICATIONS):
            subscription = await self._subscription_to(self._account.arn("sqs", queue))
            known = set[str]()
            if subscription is not None:
                attributes = (await sns.get_subscription_attributes(SubscriptionArn=subscription))["Attributes"]
                known = _texts(orjson.loads(attributes.get("FilterPolicy") or "{}").get(TYPE_ATTRIBUTE))
            if subscription is not None and types <= known:
                return
            if not self._create:
                lacking = ", ".join(sorted(types - known))
                missing.append(f"a subscription to the topic that sends {lacking} to the queue {queue}")
                return
            policy = orjson.dumps({TYPE_ATTRIBUTE: sorted(types | known)}).decode()
            if subscription is None:
                dead = self._account.arn("sqs", f"{self._queue}-dead.fifo")
                await sns.subscribe(
                    TopicArn=self._topic,
                    Protocol="sqs",
                    Endpoint=self._account.arn("sqs", queue),
                    Attributes={
                        "RawMessageDelivery": "true",
                        "FilterPolicy": policy,
                        "RedrivePolicy": orjson.dumps({"deadLetterTargetArn": dead}).decode(),
                    },
                    ReturnSubscriptionArn=True,
                )
            else:
                await sns.set_subscription_attributes(
                    SubscriptionArn=subscription, AttributeName="FilterPolicy", AttributeValue=policy
                )
        raise TransportUnavailable(f"the filter of the queue {queue} was set and does not say so yet")

    async def _subscription_to(self, queue: str) -> str | None:
        pages = self._clients.sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=self._topic)
        async for page in pages:
            for subscription in page["Subscriptions"]:
                if subscription.get("Endpoint") == queue:
                    return subscription["SubscriptionArn"]
        return None


def _shortened(service: str) -> str:
    """A service's name, as much of it as fits; no two of them alike, for a service's own name has no hyphen."""
    return service if len(service) <= _SERVICE_LETTERS else f"{service[: _SERVICE_LETTERS - 9]}-{_digest(service)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _patterns(types: list[str]) -> Iterator[list[str]]:
    """The types, as many at a time as one event pattern holds."""
    some: list[str] = []
    for type_ in types:
        if some and len(orjson.dumps([*some, type_])) > _PATTERN_LETTERS:
            yield some
            some = []
        some.append(type_)
    if some:
        yield some


def _texts(values: Any) -> set[str]:
    """Those of a filter's alternatives that are plain texts; others are conditions, which nobody makes here."""
    return {value for value in values if isinstance(value, str)} if isinstance(values, list) else set()
