"""A queue with its dead letters, made or compared."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pydantic import JsonValue

from queue_agent.cloud.aws.attributes import is_fifo
from queue_agent.cloud.aws.errors import translated
from queue_agent.cloud.aws.making import found, over_tls_only, policy
from queue_agent.cloud.making import NO_DEAD_LETTERS, Difference, Making, dead_letters_told

_SENDING: Final = frozenset({"*", "sqs:*", "sqs:sendmessage"})

_EQUALITIES: Final = frozenset({"ArnEquals", "ArnLike", "StringEquals", "StringLike"})


@dataclass(frozen=True)
class WantedQueue:
    """A queue by its name, its ARN and what is to be so of it."""

    name: str
    arn: str
    retention: int
    """Seconds for which it keeps a message."""
    visibility: float | None = None
    """Seconds; None where it does not matter."""
    dead_letters: str | None = None
    """The ARN of the queue that gets what was received too often."""
    max_receives: int | None = None
    topic: str | None = None
    """The ARN of the topic that may send to it."""
    source: str | None = None
    """The ARN of the queue whose dead letters it gets."""

    @property
    def numbers(self) -> dict[str, int]:
        """Its attributes that are seconds."""
        numbers = {"MessageRetentionPeriod": self.retention}
        if self.visibility is not None:
            numbers["VisibilityTimeout"] = math.ceil(self.visibility)
        return numbers

    @property
    def redrive(self) -> dict[str, JsonValue]:
        """Where messages go that were received too often; nothing where they stay."""
        if self.dead_letters is None:
            return {}
        return {"deadLetterTargetArn": self.dead_letters, "maxReceiveCount": self.max_receives}

    def attributes(self, sqs: Any) -> dict[str, str]:
        """What it is made with by this client."""
        statements = over_tls_only(sqs, "sqs:*", self.arn)
        if self.topic is not None:
            statements.append(_sending(self.arn, self.topic))
        made = {name: str(value) for name, value in self.numbers.items()}
        made["SqsManagedSseEnabled"] = "true"
        if statements:
            made["Policy"] = json.dumps(policy(statements))
        if is_fifo(self.name):
            made["FifoQueue"] = "true"
        if self.redrive:
            made["RedrivePolicy"] = json.dumps(self.redrive)
        if self.source is not None:
            made["RedriveAllowPolicy"] = _redrive_from([self.source])
        return made


async def make_queue(sqs: Any, wanted: WantedQueue, making: Making) -> str:
    """The queue's URL once it is there; empty where a dry run only says that it is missing.

    Raises:
        Unavailable: SQS does not answer, or refuses.
    """
    what = f"queue {wanted.name}"
    url = await found(_url(sqs, wanted.name))
    if url is None:
        await making.make(what, partial(_create, sqs, wanted))
        return "" if making.dry else await _url(sqs, wanted.name)
    with translated(f"read the attributes of {what}"):
        answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    attributes: Mapping[str, str] = answer.get("Attributes", {})
    await making.adjust(what, _differences(sqs, url, wanted, attributes))
    return url


async def _url(sqs: Any, name: str) -> str:
    with translated(f"look for queue {name}"):
        answer = await sqs.get_queue_url(QueueName=name)
    return str(answer["QueueUrl"])


async def _create(sqs: Any, wanted: WantedQueue) -> None:
    with translated(f"make queue {wanted.name}"):
        await sqs.create_queue(QueueName=wanted.name, Attributes=wanted.attributes(sqs))


async def _set(sqs: Any, url: str, name: str, value: str) -> None:
    with translated(f"set {name} of {url}"):
        await sqs.set_queue_attributes(QueueUrl=url, Attributes={name: value})


def _differences(
    sqs: Any, url: str, wanted: WantedQueue, attributes: Mapping[str, str]
) -> Iterator[Difference]:
    change = partial(_set, sqs, url)
    for name, number in wanted.numbers.items():
        has = int(attributes.get(name, "0"))
        if has == number:
            continue
        detail = f"{name} is {has} s, wanted are {number} s"
        if name == "MessageRetentionPeriod" and has > number:
            detail += "; it is not shortened, since that deletes what has waited longer"
            yield Difference(detail, None)
        else:
            yield Difference(detail, partial(change, name, str(number)))
    has_redrive = _read(attributes.get("RedrivePolicy"))
    if wanted.redrive and not _is_same_redrive(has_redrive, wanted.redrive):
        detail = f"{_told(has_redrive)}, wanted are {_told(wanted.redrive)}"
        yield Difference(detail, partial(change, "RedrivePolicy", json.dumps(wanted.redrive)))
    has_policy = _read(attributes.get("Policy"))
    if wanted.topic is not None and not _lets_send(has_policy, wanted.topic):
        statements = [*_listed(has_policy.get("Statement")), _sending(wanted.arn, wanted.topic)]
        whole = {**policy([]), **has_policy, "Statement": statements}
        yield Difference(
            f"its policy does not let {wanted.topic} send",
            partial(change, "Policy", json.dumps(whole)),
        )
    allowed = _read(attributes.get("RedriveAllowPolicy"))
    if wanted.source is not None and not _takes_from(allowed, wanted.source):
        sources = [*map(str, _listed(allowed.get("sourceQueueArns"))), wanted.source]
        yield Difference(
            f"it does not take the dead letters of {wanted.source}",
            partial(change, "RedriveAllowPolicy", _redrive_from(sources)),
        )


def _is_same_redrive(has: Mapping[str, JsonValue], wanted: Mapping[str, JsonValue]) -> bool:
    """SQS gives numbers as they were sent: also as strings."""
    return {name: str(value) for name, value in has.items()} == {
        name: str(value) for name, value in wanted.items()
    }


def _told(redrive: Mapping[str, JsonValue]) -> str:
    if not redrive:
        return NO_DEAD_LETTERS
    return dead_letters_told(redrive["maxReceiveCount"], redrive["deadLetterTargetArn"])


def _redrive_from(sources: Sequence[str]) -> str:
    return json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": list(sources)})


def _takes_from(allowed: Mapping[str, JsonValue], source: str) -> bool:
    match allowed.get("redrivePermission", "allowAll"):
        case "allowAll":
            return True
        case "byQueue":
            return source in _listed(allowed.get("sourceQueueArns"))
    return False


def _sending(arn: str, topic: str) -> dict[str, JsonValue]:
    return {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }


def _lets_send(has: Mapping[str, JsonValue], topic: str) -> bool:
    """Whether one of the policy's statements surely lets the topic send."""
    return any(
        isinstance(one, dict)
        and one.get("Effect") == "Allow"
        and _names_sns(one.get("Principal"))
        and any(str(action).lower() in _SENDING for action in _listed(one.get("Action")))
        and _is_of(one.get("Condition"), topic)
        for one in _listed(has.get("Statement"))
    )


def _names_sns(principal: JsonValue) -> bool:
    if isinstance(principal, dict):
        return "sns.amazonaws.com" in _listed(principal.get("Service")) or "*" in _listed(
            principal.get("AWS")
        )
    return principal == "*"


def _is_of(condition: JsonValue, topic: str) -> bool:
    """Whether the condition is none, or only that the topic sends."""
    if not condition:
        return True
    if not isinstance(condition, dict) or len(condition) != 1:
        return False
    ((operator, named),) = condition.items()
    if (
        operator not in _EQUALITIES
        or not isinstance(named, dict)
        or [key.lower() for key in named] != ["aws:sourcearn"]
    ):
        return False
    return any(topic in _listed(value) for value in named.values())


def _listed(value: JsonValue) -> list[JsonValue]:
    """Policies have single things without a list, too."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _read(text: str | None) -> dict[str, JsonValue]:
    value: JsonValue = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}
