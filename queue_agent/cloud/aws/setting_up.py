"""Topics, queues, subscription and bucket of one runtime, made where they are missing.

What they are called, and how they are, is as in the CDK app, where somebody has no need of
another way.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from pydantic import JsonValue

from queue_agent.cloud import Deployment
from queue_agent.cloud.aws.addresses import bucket_name
from queue_agent.cloud.aws.attributes import is_fifo
from queue_agent.cloud.aws.errors import translated
from queue_agent.cloud.aws.making import found, over_tls_only, policy
from queue_agent.cloud.aws.making_buckets import make_bucket
from queue_agent.cloud.aws.making_queues import WantedQueue, make_queue
from queue_agent.cloud.aws.names import Account, dead_letters_name, named
from queue_agent.cloud.aws.wiring import subscription_attributes, subscriptions
from queue_agent.cloud.making import Difference, Making
from queue_agent.cloud.queue_times import DAY, LONGEST_KEPT
from queue_agent.cloud.resources import Resources
from queue_agent.wire.errors import SettingsError
from queue_agent.wire.priorities import NORMAL, PRIORITY_ATTRIBUTE, filter_of

_RUNTIME: Final = "runtime"
"""The attribute that says whose a job is."""


class AwsSetup:
    """`set_up` on AWS."""

    def __init__(
        self,
        client: Callable[[str], Awaitable[Any]],
        wanted: Resources,
        making: Making,
    ) -> None:
        """`client` gives those of services, all in the region where topics and queues are."""
        self._client = client
        self._wanted = wanted
        self._making = making

    async def run(self, region: str) -> Deployment:
        """Make what is missing; the addresses of everything, but in a dry run.

        Raises:
            SettingsError: these cannot be wanted together, or are another account's.
            Unavailable: AWS does not answer, or refuses.
        """
        wanted = self._wanted
        if not wanted.job_topic or not wanted.runtime_name or not wanted.bucket:
            raise SettingsError(
                "On AWS setup needs the topic for jobs (--topic), the runtime's name (--runtime) "
                "and the bucket (--bucket)."
            )
        bucket = _bucket(wanted.bucket)
        account = await Account.of(await self._client("sts"), region)
        jobs = account.topic(wanted.job_topic)
        notifications = account.topic(wanted.notification_topic)
        wanted_queues = {
            priority: self._queues(account, jobs, priority)
            for priority in (NORMAL, *wanted.priorities)
        }
        for dead, queue in wanted_queues.values():
            _checked_together(jobs, notifications, queue, dead)
        for arn in (jobs, notifications):
            await self._topic(arn)
        sqs = await self._client("sqs")
        urls: dict[str, tuple[str, str]] = {}
        for priority, (dead, queue) in wanted_queues.items():
            dead_url = await make_queue(sqs, dead, self._making)
            urls[priority] = await make_queue(sqs, queue, self._making), dead_url
        # the usual queue gives up what others take once they take it
        for priority in (*wanted.priorities, NORMAL):
            await self._subscription(jobs, wanted_queues[priority][1], self._filter(priority))
        await make_bucket(await self._client("s3"), bucket, account, self._making)
        url, dead_url = urls.pop(NORMAL)
        urgent = {priority: made for priority, (made, _) in urls.items()}
        return Deployment(wanted.runtime_name, jobs, url, dead_url, notifications, bucket, urgent)

    def _filter(self, priority: str) -> dict[str, JsonValue]:
        """By message attributes, the jobs of the runtime that a queue gets."""
        policy: dict[str, JsonValue] = {_RUNTIME: [self._wanted.runtime_name]}
        if (of_priority := filter_of(priority, self._wanted.priorities)) is not None:
            policy[PRIORITY_ATTRIBUTE] = of_priority
        return policy

    def _queues(
        self, account: Account, topic: str, priority: str
    ) -> tuple[WantedQueue, WantedQueue]:
        """The dead letters, and the queue that they come from."""
        wanted = self._wanted
        usual = account.queue(wanted.queue_url)
        name = named(usual, priority)
        if wanted.dead_letter_queue_url:
            dead_name = named(account.queue(wanted.dead_letter_queue_url), priority)
        else:
            dead_name = dead_letters_name(name)
        arn, dead_arn = account.queue_arn(name), account.queue_arn(dead_name)
        longest = LONGEST_KEPT * DAY
        dead = WantedQueue(dead_name, dead_arn, longest, source=arn)
        queue = WantedQueue(
            name,
            arn,
            wanted.retention or longest,
            visibility=wanted.lease,
            dead_letters=dead_arn,
            max_receives=wanted.max_receives,
            topic=topic,
        )
        return dead, queue

    async def _topic(self, arn: str) -> None:
        sns, name = await self._client("sns"), arn.rpartition(":")[2]

        async def look() -> bool:
            with translated(f"look for topic {name}"):
                await sns.get_topic_attributes(TopicArn=arn)
            return True

        async def create() -> None:
            attributes = {"FifoTopic": "true"} if is_fifo(name) else {}
            if statements := over_tls_only(sns, "sns:Publish", arn):
                attributes["Policy"] = json.dumps(policy(statements))
            with translated(f"make topic {name}"):
                await sns.create_topic(Name=name, Attributes=attributes)

        if not await found(look()):
            await self._making.make(f"topic {name}", create)

    async def _subscription(
        self, topic: str, queue: WantedQueue, wanted: Mapping[str, JsonValue]
    ) -> None:
        sns = await self._client("sns")
        what = f"subscription of queue {queue.name} to topic {topic.rpartition(':')[2]}"
        listed = await found(_of_queue(sns, topic, queue.arn)) or []
        if not listed:
            await self._making.make(what, partial(_subscribe, sns, topic, queue.arn, wanted))
        for subscription in listed:
            attributes = await subscription_attributes(sns, subscription)
            change = partial(_set, sns, subscription["SubscriptionArn"])
            await self._making.adjust(what, _differences(change, attributes, wanted))


async def make_bucket_alone(
    client: Callable[[str], Awaitable[Any]], bucket: str, region: str, making: Making
) -> None:
    """The bucket of a deployment whose queue and topics are elsewhere; raises like `run`."""
    name = _bucket(bucket)
    account = await Account.of(await client("sts"), region)
    await make_bucket(await client("s3"), name, account, making)


def _bucket(text: str) -> str:
    try:
        return bucket_name(text)
    except ValueError as error:
        raise SettingsError(f"{text} {error}.") from error


def _checked_together(jobs: str, notifications: str, queue: WantedQueue, dead: WantedQueue) -> None:
    if jobs == notifications:
        raise SettingsError("Jobs and notifications need topics of their own.")
    if queue.name == dead.name:
        raise SettingsError("Dead letters need a queue of their own.")
    if is_fifo(queue.name) != is_fifo(dead.name):
        raise SettingsError("Queue and dead letters keep an order (.fifo) both, or neither does.")
    if is_fifo(queue.name) != is_fifo(jobs):
        raise SettingsError("Topic for jobs and queue keep an order (.fifo) both, or neither does.")


async def _of_queue(sns: Any, topic: str, arn: str) -> list[Mapping[str, str]]:
    return [one async for one in subscriptions(sns, topic) if one.get("Endpoint") == arn]


async def _subscribe(sns: Any, topic: str, arn: str, wanted: Mapping[str, JsonValue]) -> None:
    with translated("subscribe the queue to the topic"):
        await sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=arn,
            Attributes={
                "FilterPolicy": json.dumps(wanted),
                "RawMessageDelivery": "true",
            },
        )


async def _set(sns: Any, subscription: str, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        with translated(f"set {name} of the subscription"):
            await sns.set_subscription_attributes(
                SubscriptionArn=subscription, AttributeName=name, AttributeValue=value
            )


def _differences(
    change: Callable[[Mapping[str, str]], Awaitable[object]],
    attributes: Mapping[str, str],
    wanted: Mapping[str, JsonValue],
) -> Iterator[Difference]:
    """What a filter asks of other attributes is as its owner wants it."""
    scope, text = attributes.get("FilterPolicyScope"), attributes.get("FilterPolicy") or "{}"
    of_body = scope == "MessageBody"
    has: Mapping[str, JsonValue] = json.loads(text)
    if of_body or any(has.get(name) != value for name, value in wanted.items()):
        whole = json.dumps({**({} if of_body else has), **wanted})
        values = {"FilterPolicy": whole}
        if of_body:
            values = {"FilterPolicyScope": "MessageAttributes", **values}
        yield Difference(
            f"its filter is {text}{' (of the body)' if of_body else ''}, wanted is {whole}",
            partial(change, values),
        )
    if attributes.get("RawMessageDelivery", "false").lower() != "true":
        yield Difference(
            "it does not deliver messages raw", partial(change, {"RawMessageDelivery": "true"})
        )
