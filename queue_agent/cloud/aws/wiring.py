"""What feeds a queue: subscriptions of topics, and the events of buckets."""

import json
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import JsonValue

from queue_agent.cloud import Publication, Routing
from queue_agent.cloud.aws.addresses import is_queue
from queue_agent.cloud.aws.errors import translated

_MOST_PAGES = 20
"""Of a hundred subscriptions each."""
_NO_VALUES: Mapping[str, str] = MappingProxyType({})
_NOT_TO_AGENTS = frozenset({"application", "email", "email-json", "firehose", "sms"})
"""Protocols by which no job comes to an agent."""


async def reaches(sns: Any, topic_arn: str, queue_url: str, publication: Publication) -> bool:
    """Whether one of the topic's subscriptions gives the publication to the queue."""
    async for subscription in subscriptions(sns, topic_arn):
        if is_queue(subscription.get("Endpoint", ""), queue_url) and _passes(
            await subscription_attributes(sns, subscription), publication
        ):
            return True
    return False


async def routing(
    sns: Any, topic_arn: str, attribute: str, among: Mapping[str, str] = _NO_VALUES
) -> Routing:
    """What the filters of the topic's subscriptions ask of an attribute, as `Topic.routing`."""
    values: set[str] = set()
    without = others = False
    async for subscription in subscriptions(sns, topic_arn):
        if subscription.get("Protocol") in _NOT_TO_AGENTS or not _is_confirmed(subscription):
            continue
        attributes = await subscription_attributes(sns, subscription)
        policy: JsonValue = json.loads(attributes.get("FilterPolicy") or "{}")
        by_body = attributes.get("FilterPolicyScope") == "MessageBody"
        filters = policy if isinstance(policy, dict) and not by_body else {}
        if not all(_names(filters.get(name), value) for name, value in among.items()):
            continue
        conditions = filters.get(attribute)
        if not isinstance(conditions, list):
            without = others = True
            continue
        for condition in conditions:
            if isinstance(condition, str):
                values.add(condition)
            elif condition == {"exists": False}:
                without = True
            else:
                others = True
    return Routing(frozenset(values), without, others)


def _names(conditions: JsonValue, value: str) -> bool:
    return isinstance(conditions, list) and value in conditions


async def tells(s3: Any, bucket: str, queue_url: str) -> bool:
    """Whether the bucket's notification configuration names the queue."""
    with translated("read the bucket's notification configuration"):
        answer = await s3.get_bucket_notification_configuration(Bucket=bucket)
    arns = [entry.get("QueueArn", "") for entry in answer.get("QueueConfigurations", ())]
    return any(is_queue(arn, queue_url) for arn in arns)


async def subscriptions(sns: Any, topic_arn: str) -> AsyncIterator[Mapping[str, str]]:
    """The topic's subscriptions, as SNS lists them."""
    page: dict[str, str] = {}
    for _ in range(_MOST_PAGES):
        with translated("list the topic's subscriptions"):
            answer = await sns.list_subscriptions_by_topic(TopicArn=topic_arn, **page)
        for subscription in answer.get("Subscriptions", ()):
            yield subscription
        if not answer.get("NextToken"):
            return
        page = {"NextToken": answer["NextToken"]}


async def subscription_attributes(sns: Any, subscription: Mapping[str, str]) -> Mapping[str, str]:
    """What is said of a subscription that was listed."""
    with translated("read a subscription's attributes"):
        answer = await sns.get_subscription_attributes(
            SubscriptionArn=subscription["SubscriptionArn"]
        )
    attributes: Mapping[str, str] = answer.get("Attributes", {})
    return attributes


def _is_confirmed(subscription: Mapping[str, str]) -> bool:
    """The ARN of others is a word: ``PendingConfirmation``, ``Deleted``."""
    return subscription["SubscriptionArn"] not in {"PendingConfirmation", "Deleted"}


def _passes(subscription: Mapping[str, str], publication: Publication) -> bool:
    """Whether its filter lets the publication through.

    https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html
    """
    policy: JsonValue = json.loads(subscription.get("FilterPolicy") or "{}")
    if not isinstance(policy, dict):
        return True
    if subscription.get("FilterPolicyScope") == "MessageBody":
        return _lets_body_through(policy, json.loads(publication.body))
    return all(
        _any_holds(conditions, publication.attributes.get(name))
        for name, conditions in policy.items()
    )


def _lets_body_through(policy: Mapping[str, JsonValue], body: JsonValue) -> bool:
    if not isinstance(body, dict):
        return False
    return all(
        _lets_body_through(conditions, body.get(name))
        if isinstance(conditions, dict)
        else _any_holds(conditions, body.get(name))
        for name, conditions in policy.items()
    )


def _any_holds(conditions: JsonValue, value: JsonValue) -> bool:
    return not isinstance(conditions, list) or any(_holds(one, value) for one in conditions)


def _holds(condition: JsonValue, value: JsonValue) -> bool:
    """What is not known of conditions is taken for one that does not hold."""
    if not isinstance(condition, dict):
        return condition == value
    match condition:
        case {"exists": bool(wanted)}:
            return (value is not None) == wanted
        case {"anything-but": dict(other)}:
            return value is not None and not _holds(other, value)
        case {"anything-but": others}:
            named = others if isinstance(others, list) else [others]
            return value is not None and value not in named
    return isinstance(value, str) and _is_like(condition, value)


def _is_like(condition: Mapping[str, JsonValue], text: str) -> bool:
    match condition:
        case {"prefix": str(prefix)}:
            return text.startswith(prefix)
        case {"suffix": str(suffix)}:
            return text.endswith(suffix)
        case {"equals-ignore-case": str(other)}:
            return text.lower() == other.lower()
    return False
