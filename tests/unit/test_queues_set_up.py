"""What `queue-agent setup` says to SQS, SNS and S3 that the emulator does not keep or not tell."""

import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from queue_agent.cloud.aws.making_buckets import make_bucket
from queue_agent.cloud.aws.making_queues import WantedQueue, make_queue
from queue_agent.cloud.aws.names import Account
from queue_agent.cloud.making import Making
from queue_agent.cloud.resources import SetupStep

ARN = "arn:aws:sqs:eu-west-1:1:{}"
TOPIC = "arn:aws:sns:eu-west-1:1:jobs"


class RecordedClient:
    """Answers as it is told, else with nothing; keeps what it was asked."""

    def __init__(self, endpoint: str = "https://eu-west-1.example", **answers: Any) -> None:
        self.meta = SimpleNamespace(endpoint_url=endpoint)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._answers = answers

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(**arguments: Any) -> Any:
            self.asked.append((name, arguments))
            answer = self._answers.get(name, {})
            if isinstance(answer, list):
                answer = answer.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    def arguments(self, name: str) -> dict[str, Any]:
        (found,) = [arguments for asked, arguments in self.asked if asked == name]
        return found


def error(code: str, operation: str, status: int = 400) -> ClientError:
    answer = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, operation)


def queue(**given: Any) -> WantedQueue:
    return WantedQueue("jobs", ARN.format("jobs"), 864_000, **given)


async def differing(wanted: WantedQueue, **attributes: str) -> tuple[list[SetupStep], Any]:
    """The steps for a queue that is there, and the attributes that were set."""
    steps: list[SetupStep] = []
    has = {"MessageRetentionPeriod": "864000", **attributes}
    sqs = RecordedClient(
        get_queue_url={"QueueUrl": "https://q/1/jobs"}, get_queue_attributes={"Attributes": has}
    )
    await make_queue(sqs, wanted, Making(steps.append, dry=False, change=True))
    sets = [arguments for name, arguments in sqs.asked if name == "set_queue_attributes"]
    return steps, {name: value for one in sets for name, value in one["Attributes"].items()}


async def made(wanted: WantedQueue, endpoint: str) -> dict[str, str]:
    """The attributes that a missing queue is made with."""
    missing = error("AWS.SimpleQueueService.NonExistentQueue", "GetQueueUrl")
    sqs = RecordedClient(endpoint, get_queue_url=[missing, {"QueueUrl": "https://q/1/jobs"}])
    await make_queue(sqs, wanted, Making(lambda _: None, dry=False, change=False))
    attributes: dict[str, str] = sqs.arguments("create_queue")["Attributes"]
    return attributes


async def test_dead_letters_are_taken_from_their_queue_only() -> None:
    attributes = await made(queue(source=ARN.format("source")), "https://x")
    allowed = {"redrivePermission": "byQueue", "sourceQueueArns": [ARN.format("source")]}
    assert json.loads(attributes["RedriveAllowPolicy"]) == allowed
    assert attributes["SqsManagedSseEnabled"] == "true"


@pytest.mark.parametrize(
    ("allowed", "sources"),
    [
        ({"redrivePermission": "byQueue", "sourceQueueArns": ["other"]}, ["other", "source"]),
        ({"redrivePermission": "denyAll"}, ["source"]),
    ],
)
async def test_dead_letters_of_others_stay_welcome(
    allowed: dict[str, Any], sources: list[str]
) -> None:
    wanted = queue(source="source")
    steps, changed = await differing(wanted, RedriveAllowPolicy=json.dumps(allowed))
    assert [step.outcome for step in steps] == ["changed"]
    assert json.loads(changed["RedriveAllowPolicy"])["sourceQueueArns"] == sources


@pytest.mark.parametrize(
    "allowed",
    [
        {"redrivePermission": "allowAll"},
        {"redrivePermission": "byQueue", "sourceQueueArns": ["other", "source"]},
        {},
    ],
)
async def test_a_queue_that_takes_the_dead_letters_is_left_alone(allowed: dict[str, Any]) -> None:
    assert await differing(queue(source="source"), RedriveAllowPolicy=json.dumps(allowed)) == (
        [],
        {},
    )


@pytest.mark.parametrize(
    ("change", "lets"),
    [
        ({}, True),
        ({"Principal": "*", "Action": ["SQS:SendMessage"]}, True),
        ({"Principal": {"AWS": "*"}, "Action": "sqs:*"}, True),
        ({"Condition": {"ArnLike": {"AWS:SourceArn": [TOPIC, "other"]}}}, True),
        ({"Condition": None}, True),
        ({"Effect": "Deny"}, False),
        ({"Principal": {"Service": "events.amazonaws.com"}}, False),
        ({"Action": "sqs:ReceiveMessage"}, False),
        ({"Condition": {"ArnEquals": {"aws:SourceArn": f"{TOPIC}-2"}}}, False),
        ({"Condition": {"ArnNotEquals": {"aws:SourceArn": TOPIC}}}, False),
        ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, False),
    ],
)
async def test_a_policy_is_left_alone_where_it_surely_lets_the_topic_send(
    change: dict[str, Any], lets: bool
) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": ARN.format("jobs"),
        "Condition": {"ArnEquals": {"aws:SourceArn": TOPIC}},
    }
    own = {**statement, **change}
    policy = {"Version": "2008-10-17", "Id": "own", "Statement": own}
    steps, changed = await differing(queue(topic=TOPIC), Policy=json.dumps(policy))
    if lets:
        assert (steps, changed) == ([], {})
        return
    whole = json.loads(changed["Policy"])
    assert whole == {**policy, "Statement": [own, statement]}


@pytest.mark.parametrize(("endpoint", "refusals"), [("https://x", 1), ("http://127.0.0.1:5000", 0)])
async def test_who_comes_without_tls_is_refused_where_there_is_tls(
    endpoint: str, refusals: int
) -> None:
    attributes = await made(queue(topic=TOPIC), endpoint)
    effects = [one["Effect"] for one in json.loads(attributes["Policy"])["Statement"]]
    assert effects == ["Deny"] * refusals + ["Allow"]
    s3 = RecordedClient(endpoint, head_bucket=error("404", "HeadBucket", 404))
    account = Account("1", "aws", "eu-west-1")
    await make_bucket(s3, "results", account, Making(lambda _: None, dry=False, change=False))
    policies = [arguments for name, arguments in s3.asked if name == "put_bucket_policy"]
    assert len(policies) == refusals
    place = s3.arguments("create_bucket")["CreateBucketConfiguration"]
    assert place == {"LocationConstraint": "eu-west-1"}


async def test_what_else_is_said_of_lifecycle_rules_stays() -> None:
    size = {"TransitionDefaultMinimumObjectSize": "varies_by_storage_class"}
    hasty = {"ID": "queue-agent-payloads", "Status": "Enabled", "Filter": {"Prefix": "payloads/"},
             "Expiration": {"Days": 1}}  # fmt: skip
    whole = {"ID": "own", "Status": "Enabled", "Prefix": "", "Expiration": {"Days": 90}}
    s3 = RecordedClient(get_bucket_lifecycle_configuration={"Rules": [hasty, whole], **size})
    steps: list[SetupStep] = []
    making = Making(steps.append, dry=False, change=True)
    await make_bucket(s3, "results", Account("1", "aws", "us-east-1"), making)
    put = s3.arguments("put_bucket_lifecycle_configuration")
    assert put["TransitionDefaultMinimumObjectSize"] == "varies_by_storage_class"
    rules = put["LifecycleConfiguration"]["Rules"]
    assert rules[0] == whole
    assert [rule["ID"] for rule in rules[1:]] == ["queue-agent-payloads", "queue-agent-uploads"]
    assert rules[1]["Expiration"] == {"Days": 14}
