"""What feeds a queue is seen in subscriptions and in buckets' configurations."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from queue_agent.cloud import Routing
from queue_agent.cloud.aws.wiring import reaches, routing, tells
from queue_agent.wire.notification import Notification
from queue_agent.wire.publication import Publication

ACCOUNT = "111122223333"
QUEUE = f"https://sqs.eu-central-1.amazonaws.com/{ACCOUNT}/jobs"
ARN = f"arn:aws:sqs:eu-central-1:{ACCOUNT}:jobs"
TOLD = Notification(runtime="sdruntime", id="a", status="completed", result=True)
PUBLICATION = Publication(TOLD.to_json(), TOLD.attributes())


class Subscriptions:
    """Answers as SNS does, a page for each subscription."""

    protocol = "sqs"

    def __init__(self, *subscriptions: tuple[str, Mapping[str, str]]) -> None:
        self._all = subscriptions

    async def list_subscriptions_by_topic(self, **request: str) -> dict[str, Any]:
        place = int(request.get("NextToken", "0"))
        if place >= len(self._all):
            return {"Subscriptions": []}
        entry = {"Endpoint": self._all[place][0], "SubscriptionArn": str(place)}
        entry["Protocol"] = self.protocol
        return {"Subscriptions": [entry], "NextToken": str(place + 1)}

    async def get_subscription_attributes(self, **request: str) -> dict[str, Any]:
        return {"Attributes": self._all[int(request["SubscriptionArn"])][1]}


def filtered(policy: object, **attributes: str) -> Mapping[str, str]:
    return {"FilterPolicy": json.dumps(policy), **attributes}


async def is_reached(*subscriptions: tuple[str, Mapping[str, str]], url: str = QUEUE) -> bool:
    return await reaches(Subscriptions(*subscriptions), "arn", url, PUBLICATION)


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"runtime": ["sdruntime"]},
        {"runtime": ["other", "sdruntime"]},
        {"runtime": [{"prefix": "sd"}]},
        {"runtime": [{"suffix": "runtime"}]},
        {"runtime": [{"equals-ignore-case": "SDRuntime"}]},
        {"runtime": [{"anything-but": ["other"]}]},
        {"runtime": [{"anything-but": "other"}]},
        {"runtime": [{"anything-but": {"prefix": "x"}}]},
        {"runtime": [{"exists": True}]},
        {"runtime": ["sdruntime"], "status": ["completed", "failed"]},
        {"runtime": ["sdruntime"], "priority": [{"exists": False}]},
    ],
)
async def test_a_filter_that_notifications_pass_is_seen(policy: object) -> None:
    others = [f"{ARN}-dead", "https://example.com/hook"]
    unfiltered = [(other, dict[str, str]()) for other in others]
    assert await is_reached(*unfiltered, (ARN, filtered(policy)))


@pytest.mark.parametrize(
    "policy",
    [
        {"runtime": ["other"]},
        {"runtime": ["sdruntime"], "status": [{"exists": False}]},
        {"runtime": ["sdruntime"], "priority": ["high"]},
        {"runtime": [{"prefix": "x"}]},
        {"runtime": [{"suffix": "x"}]},
        {"runtime": [{"anything-but": ["sdruntime"]}]},
        {"runtime": [{"anything-but": {"prefix": "sd"}}]},
        {"priority": [{"anything-but": "low"}]},
        {"runtime": []},
        {"id": [{"numeric": [">", 1]}]},
    ],
)
async def test_a_filter_that_keeps_notifications_away_is_no_loop(policy: object) -> None:
    assert not await is_reached((ARN, filtered(policy)))


@pytest.mark.parametrize(
    ("policy", "passes"),
    [
        ({"runtime": ["sdruntime"]}, True),
        ({"result": [True]}, True),
        ({"metadata": {"runtime": ["sdruntime"]}}, False),
        ({"content": [{"exists": True}]}, False),
        ({"content": [{"exists": False}]}, True),
    ],
)
async def test_filters_by_the_body_are_judged_too(policy: object, passes: bool) -> None:
    attributes = filtered(policy, FilterPolicyScope="MessageBody")
    assert await is_reached((ARN, attributes)) is passes


@pytest.mark.parametrize(
    ("url", "arn", "same"),
    [
        (QUEUE, ARN, True),
        (f"http://127.0.0.1:5000/{ACCOUNT}/jobs", ARN, True),
        (QUEUE, f"arn:aws:sqs:eu-west-1:{ACCOUNT}:jobs", False),
        (QUEUE, "arn:aws:sqs:eu-central-1:999999999999:jobs", False),
        (QUEUE, f"{ARN}.fifo", False),
        (f"{QUEUE}.fifo", f"{ARN}.fifo", True),
        (QUEUE, "", False),
        (QUEUE, f"arn:aws:lambda:eu-central-1:{ACCOUNT}:jobs", False),
    ],
)
async def test_queues_are_told_apart_by_name_account_and_region(
    url: str, arn: str, same: bool
) -> None:
    assert await is_reached((arn, {}), url=url) is same
    assert await tells(Notifying(arn), "results", url) is same


class Notifying:
    """Answers as S3 does."""

    def __init__(self, *queues: str) -> None:
        self._queues = queues

    async def get_bucket_notification_configuration(self, **_: str) -> dict[str, Any]:
        if not self._queues:
            return {}
        return {"QueueConfigurations": [{"QueueArn": arn, "Events": []} for arn in self._queues]}


async def test_a_bucket_that_tells_nobody_or_others_is_no_loop() -> None:
    assert not await tells(Notifying(), "results", QUEUE)
    assert not await tells(Notifying(f"{ARN}-other"), "results", QUEUE)
    assert await tells(Notifying(f"{ARN}-other", ARN), "results", QUEUE)


async def routing_of(*attributes: Mapping[str, str], protocol: str = "sqs") -> Routing:
    subscriptions = Subscriptions(*((ARN, attribute) for attribute in attributes))
    subscriptions.protocol = protocol
    return await routing(subscriptions, "arn", "runtime")


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ((), Routing()),
        (({"runtime": ["a"]}, {"runtime": ["b", "c"]}), Routing(frozenset("abc"))),
        (({"runtime": ["a"], "priority": ["high"]},), Routing(frozenset("a"))),
        (({},), Routing(without=True, others=True)),
        (({"priority": ["high"]},), Routing(without=True, others=True)),
        (({"$or": [{"runtime": ["a"]}]},), Routing(without=True, others=True)),
        (({"runtime": ["a", {"exists": False}]},), Routing(frozenset("a"), without=True)),
        (
            ({"runtime": ["a"]}, {"runtime": [{"prefix": "b"}]}),
            Routing(frozenset("a"), others=True),
        ),
        (({"runtime": [{"anything-but": ["a"]}]},), Routing(others=True)),
    ],
)
async def test_filters_tell_which_runtimes_have_a_queue(
    policies: Sequence[object], expected: Routing
) -> None:
    assert await routing_of(*map(filtered, policies)) == expected


async def test_an_attribute_is_looked_for_among_the_filters_that_name_others_values() -> None:
    policies = (
        {"runtime": ["a"], "capacity_type": ["on-demand"]},
        {"runtime": ["b"], "capacity_type": ["spot"]},
        {"runtime": [{"prefix": "b"}], "capacity_type": ["x"]},
        {"capacity_type": ["y"]},
        {"runtime": ["c"]},
    )
    subscriptions = Subscriptions(*((ARN, filtered(policy)) for policy in policies))

    async def found(runtime: str) -> Routing:
        return await routing(subscriptions, "arn", "capacity_type", {"runtime": runtime})

    assert await found("a") == Routing(frozenset({"on-demand"}))
    assert await found("b") == Routing(frozenset({"spot"}))
    assert await found("c") == Routing(without=True, others=True)
    assert await found("d") == Routing()


async def test_a_filter_of_the_body_may_let_any_runtime_through() -> None:
    policy = filtered({"runtime": ["a"]}, FilterPolicyScope="MessageBody")
    assert await routing_of(policy) == Routing(without=True, others=True)


@pytest.mark.parametrize("protocol", ["email", "email-json", "sms", "firehose", "application"])
async def test_people_who_are_told_of_every_job_are_no_queue(protocol: str) -> None:
    assert await routing_of({}, protocol=protocol) == Routing()


async def test_a_subscription_that_nobody_confirmed_takes_nothing() -> None:
    class Unconfirmed(Subscriptions):
        async def list_subscriptions_by_topic(self, **request: str) -> dict[str, Any]:
            answer = await super().list_subscriptions_by_topic(**request)
            for entry in answer["Subscriptions"]:
                entry["SubscriptionArn"] = "PendingConfirmation"
            return answer

    assert await routing(Unconfirmed((ARN, {})), "arn", "runtime") == Routing()
