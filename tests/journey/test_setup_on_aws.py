"""`queue-agent setup` against the emulated AWS: what is missing is made, what differs is shown."""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from command_here import queue_agent_here
from harness import PATIENCE, webui_settings
from queue_agent.client import Client
from queue_agent.cloud.aws import AwsCloud
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.cloud_contract.hooks import received
from queue_agent.testing.process import ServerProcess


@dataclass
class Account:
    """The names of one test in the emulated account, and the command with its environment."""

    embedded: EmbeddedCloud
    cloud: AwsCloud
    name: str
    folder: Path
    ending: str = ""

    @property
    def options(self) -> list[str]:
        return [
            "--topic", f"{self.name}-jobs{self.ending}",
            "--notifications", f"{self.name}-notifications{self.ending}",
            "--queue", f"{self.name}{self.ending}",
            "--bucket", f"{self.name}-results",
            "--runtime", self.name,
        ]  # fmt: skip

    @property
    def everything(self) -> list[str]:
        name, end = self.name, self.ending
        return [
            f"topic {name}-jobs{end}",
            f"topic {name}-notifications{end}",
            f"queue {name}-dead{end}",
            f"queue {name}{end}",
            f"subscription of queue {name}{end} to topic {name}-jobs{end}",
            f"bucket {name}-results",
        ]

    async def setup(self, *arguments: str) -> tuple[int, list[str], dict[str, str], str]:
        """Exit code, what was done, the settings that were printed, and stderr."""
        environment = {**self.embedded.environment(), "COLUMNS": "200"}
        done = await asyncio.to_thread(
            queue_agent_here, "setup", *self.options, *arguments, environment=environment
        )
        lines = done.stdout.splitlines()
        settings = [line for line in lines if line.startswith("QUEUE_AGENT_")]
        steps = [line for line in lines if line not in settings]
        return done.returncode, steps, dict(line.split("=", 1) for line in settings), done.stderr

    async def attributes(self, name: str) -> Mapping[str, str]:
        sqs = await self.cloud.client("sqs")
        url = (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
        answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        found: Mapping[str, str] = answer["Attributes"]
        return found

    async def rules(self) -> list[dict[str, Any]]:
        s3 = await self.cloud.client("s3")
        answer = await s3.get_bucket_lifecycle_configuration(Bucket=f"{self.name}-results")
        found: list[dict[str, Any]] = answer["Rules"]
        return found

    async def names(self) -> set[str]:
        """Of all that bears the test's name in the account."""
        sqs, sns, s3 = [await self.cloud.client(service) for service in ("sqs", "sns", "s3")]
        urls = (await sqs.list_queues(QueueNamePrefix=self.name)).get("QueueUrls", ())
        found = [url.rpartition("/")[2] for url in urls]
        found += [
            topic["TopicArn"].rpartition(":")[2] for topic in (await sns.list_topics())["Topics"]
        ]
        found += [bucket["Name"] for bucket in (await s3.list_buckets())["Buckets"]]
        return {name for name in found if name.startswith(self.name)}


@pytest.fixture
async def account(embedded_cloud: EmbeddedCloud, tmp_path: Path) -> AsyncIterator[Account]:
    cloud = embedded_cloud.connect()
    yield Account(embedded_cloud, cloud, f"made-{secrets.token_hex(4)}", tmp_path)
    await cloud.aclose()


@pytest.mark.parametrize("ending", ["", ".fifo"])
async def test_from_nothing_to_a_job_that_is_done(
    account: Account, webui: ServerProcess, ending: str
) -> None:
    account.ending = ending
    code, steps, settings, _ = await account.setup()
    assert (code, steps) == (0, account.everything)
    command = [sys.executable, "-m", "queue_agent", "run"]
    environment = {
        **account.embedded.environment(),
        **settings,
        **webui_settings(webui.url),
        "QUEUE_AGENT_RECEIVE_WAIT": "1",
        "QUEUE_AGENT_HEALTH_HOST": "127.0.0.1",
        "QUEUE_AGENT_HEALTH_PORT": "{port}",
    }
    client = Client(
        account.cloud,
        job_topic=settings["QUEUE_AGENT_JOB_TOPIC_ARN"],
        notification_topic=settings["QUEUE_AGENT_TOPIC_ARN"],
        bucket=settings["QUEUE_AGENT_BUCKET"],
        runtime=settings["QUEUE_AGENT_RUNTIME_NAME"],
    )
    with ServerProcess(command, env=environment, log=account.folder / "agent.log"):
        job = await client.submit("a lighthouse", steps=2, width=64, height=64)
        async with asyncio.timeout(PATIENCE):
            result = await job.result()
        assert result.status == "completed"


@pytest.mark.parametrize("ending", ["", ".fifo"])
async def test_each_priority_gets_a_queue_that_takes_its_jobs_alone(
    account: Account, ending: str
) -> None:
    account.ending = ending
    code, steps, settings, _ = await account.setup("--priorities", "low,high")
    assert code == 0
    name = account.name
    queues = [f"{name}{middle}{ending}" for middle in ("", "-low", "-high")]
    dead = [f"{name}{middle}-dead{ending}" for middle in ("", "-low", "-high")]
    assert {f"queue {each}" for each in (*queues, *dead)} < set(steps)
    named = dict(one.split("=", 1) for one in settings["QUEUE_AGENT_QUEUES"].split(","))
    assert [*named] == ["high", "normal", "low"]
    assert "QUEUE_AGENT_QUEUE_URL" not in settings
    client = Client(account.cloud, job_topic=settings["QUEUE_AGENT_JOB_TOPIC_ARN"], runtime=name)
    for priority in ("high", "normal", "low", None):
        await client.submit("a", job_id=f"is-{priority}", priority=priority)
    for priority, expected in (
        ("high", ["high"]), ("low", ["low"]), ("normal", ["none", "normal"]),
    ):  # fmt: skip
        messages = await received(account.cloud.queue(named[priority]), len(expected))
        assert sorted(one.attributes.get("priority", "none") for one in messages) == expected
    assert (await account.setup("--priorities", "high,low"))[:2] == (0, [])


async def test_queues_for_priorities_are_added_to_what_is_there(account: Account) -> None:
    await account.setup()
    code, steps, _, _ = await account.setup("--priorities", "high")
    (differing,) = (step for step in steps if "differs" in step)
    assert code == 1
    assert "its filter is" in differing
    assert (await account.setup("--priorities", "high", "--change"))[0] == 0
    assert (await account.setup("--priorities", "high"))[:2] == (0, [])


async def test_a_priority_that_nobody_knows_is_no_queue(account: Account) -> None:
    code, _, _, said = await account.setup("--priorities", "high,urgent")
    assert code == 2
    assert "'urgent' is none of: high, low" in said


async def test_a_second_run_changes_nothing_by_names_or_by_the_addresses_printed(
    account: Account,
) -> None:
    _, _, settings, _ = await account.setup()
    before = await account.attributes(account.name), await account.rules()
    code, steps, again, said = await account.setup("--change")
    assert (code, steps, again) == (0, [], settings)
    assert "0 made; what else was there stays as it is" in said
    by_address = await account.setup(
        "--topic", settings["QUEUE_AGENT_JOB_TOPIC_ARN"],
        "--queue", settings["QUEUE_AGENT_QUEUE_URL"],
        "--notifications", settings["QUEUE_AGENT_TOPIC_ARN"],
        "--dead-letters", settings["QUEUE_AGENT_DEAD_LETTER_QUEUE_URL"],
    )  # fmt: skip
    assert by_address[:3] == (0, [], settings)
    assert (await account.attributes(account.name), await account.rules()) == before


async def test_a_dry_run_says_what_is_missing_and_makes_nothing(account: Account) -> None:
    code, steps, settings, said = await account.setup("--dry-run", "--change")
    assert (code, steps, settings) == (0, account.everything, {})
    assert "6 would be made" in said
    assert await account.names() == set()


async def test_what_is_made_is_as_the_cdk_app_makes_it(account: Account) -> None:
    await account.setup("--job-seconds", "400", "--max-receives", "5")
    name = account.name
    queue, dead = await account.attributes(name), await account.attributes(f"{name}-dead")
    assert queue["VisibilityTimeout"] == "800"
    assert queue["MessageRetentionPeriod"] == str(10 * 86_400)
    assert dead["MessageRetentionPeriod"] == str(14 * 86_400)
    redrive = json.loads(queue["RedrivePolicy"])
    assert redrive == {"deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": 5}
    topic = f"arn:aws:sns:us-east-1:123456789012:{name}-jobs"
    statements = json.loads(queue["Policy"])["Statement"]
    (sending,) = statements
    assert sending["Condition"] == {"ArnEquals": {"aws:SourceArn": topic}}
    sns, s3 = await account.cloud.client("sns"), await account.cloud.client("s3")
    (listed,) = (await sns.list_subscriptions_by_topic(TopicArn=topic))["Subscriptions"]
    answer = await sns.get_subscription_attributes(SubscriptionArn=listed["SubscriptionArn"])
    assert json.loads(answer["Attributes"]["FilterPolicy"]) == {"runtime": [name]}
    assert answer["Attributes"]["RawMessageDelivery"] == "true"
    expiring = {rule["Filter"]["Prefix"]: rule.get("Expiration") for rule in await account.rules()}
    fortnight = {"Days": 14}
    prefixes = ("cancelled/", "checkpoints/", "payloads/")
    assert expiring == dict.fromkeys(prefixes, fortnight) | {"": None}
    block = await s3.get_public_access_block(Bucket=f"{name}-results")
    assert all(block["PublicAccessBlockConfiguration"].values())


async def test_a_queue_with_another_visibility_is_shown_and_changed_only_when_told(
    account: Account,
) -> None:
    await account.setup("--lease", "45")
    line = f"queue {account.name} {{}}: VisibilityTimeout is 45 s, wanted are 60 s"
    code, steps, _, _ = await account.setup()
    assert (code, steps) == (1, [line.format("differs")])
    code, steps, _, said = await account.setup("--change", "--dry-run")
    assert (code, steps) == (0, [line.format("changed")])
    assert "1 would be changed" in said
    assert (await account.attributes(account.name))["VisibilityTimeout"] == "45"
    code, steps, _, _ = await account.setup("--change")
    assert (code, steps) == (0, [line.format("changed")])
    assert (await account.attributes(account.name))["VisibilityTimeout"] == "60"


async def test_a_retention_is_lengthened_and_never_shortened(account: Account) -> None:
    await account.setup("--retention-days", "12")
    code, (step,), _, _ = await account.setup("--change")
    assert code == 1
    assert "differs: MessageRetentionPeriod" in step
    assert "not shortened" in step
    assert (await account.setup("--change", "--retention-days", "13"))[0] == 0
    kept = (await account.attributes(account.name))["MessageRetentionPeriod"]
    assert kept == str(13 * 86_400)


async def test_what_a_foreign_queue_lacks_is_added_to_what_it_has(account: Account) -> None:
    sqs = await account.cloud.client("sqs")
    own = {"Sid": "own", "Effect": "Allow", "Principal": {"AWS": "123456789012"},
           "Action": "sqs:SendMessage", "Resource": "*"}  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": own})
    await sqs.create_queue(
        QueueName=account.name,
        Attributes={"Policy": policy, "VisibilityTimeout": "60",
                    "MessageRetentionPeriod": str(10 * 86_400)},
    )  # fmt: skip
    code, steps, _, _ = await account.setup()
    assert code == 1
    assert [step for step in steps if " differs: " not in step] == [
        one for one in account.everything if one != f"queue {account.name}"
    ]
    assert any("does not let" in step for step in steps)
    assert any("no dead letters" in step for step in steps)
    assert (await account.setup("--change"))[0] == 0
    attributes = await account.attributes(account.name)
    statements = json.loads(attributes["Policy"])["Statement"]
    assert statements[0] == own
    assert len(statements) == 2
    assert (await account.setup())[:2] == (0, [])


async def test_a_filter_keeps_what_it_asks_of_other_attributes(account: Account) -> None:
    _, _, settings, _ = await account.setup()
    sns = await account.cloud.client("sns")
    topic = settings["QUEUE_AGENT_JOB_TOPIC_ARN"]
    (listed,) = (await sns.list_subscriptions_by_topic(TopicArn=topic))["Subscriptions"]
    arn = listed["SubscriptionArn"]

    async def put(name: str, value: str) -> None:
        await sns.set_subscription_attributes(
            SubscriptionArn=arn, AttributeName=name, AttributeValue=value
        )

    others = {"status": [{"exists": False}]}
    await put("FilterPolicy", json.dumps({"runtime": [account.name], **others}))
    assert (await account.setup())[:2] == (0, [])
    await put("FilterPolicy", json.dumps({"runtime": ["another"], **others}))
    await put("RawMessageDelivery", "false")
    code, steps, _, _ = await account.setup()
    assert code == 1
    assert len(steps) == 2
    assert (await account.setup("--change"))[0] == 0
    answer = await sns.get_subscription_attributes(SubscriptionArn=arn)
    policy = json.loads(answer["Attributes"]["FilterPolicy"])
    assert policy == {"runtime": [account.name], **others}
    assert answer["Attributes"]["RawMessageDelivery"] == "true"


async def test_a_foreign_bucket_keeps_its_own_rules(account: Account) -> None:
    s3, bucket = await account.cloud.client("s3"), f"{account.name}-results"
    await s3.create_bucket(Bucket=bucket)
    own = [
        {"ID": "archive", "Status": "Enabled", "Filter": {"Prefix": "archive/"},
         "Expiration": {"Days": 400}},
        {"ID": "hasty", "Status": "Enabled", "Filter": {"Prefix": "payloads/"},
         "Expiration": {"Days": 2}},
    ]  # fmt: skip
    await s3.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": own}
    )
    code, steps, _, _ = await account.setup()
    assert code == 1
    assert any("no lifecycle rule for cancelled/, checkpoints/, uploads" in step for step in steps)
    assert await account.rules() == own
    code, steps, _, _ = await account.setup("--change")
    assert code == 1
    (left,) = [step for step in steps if " differs: " in step]
    assert "'hasty' removes payloads/ after 2 days" in left
    rules = await account.rules()
    assert rules[:2] == own
    made = [rule["ID"].removeprefix("queue-agent-") for rule in rules[2:]]
    assert made == ["cancelled", "checkpoints", "uploads"]
    block = await s3.get_public_access_block(Bucket=bucket)
    assert all(block["PublicAccessBlockConfiguration"].values())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--queue", "jobs.fifo"], ".fifo"),
        (["--dead-letters", "dead.fifo"], ".fifo"),
        (["--queue", "no name"], "can be no queue's"),
        (["--bucket", "No_Bucket"], "is no bucket name"),
        (["--notifications", "arn:aws:sns:us-east-1:210987654321:done"], "account 210987654321"),
        (["--queue", "https://sqs.us-east-1.amazonaws.com/210987654321/q"], "account 210987654321"),
        (["--topic", "arn:aws:sns:eu-west-1:123456789012:a", "--notifications",
          "arn:aws:sns:us-east-1:123456789012:b"], "several regions"),
        (["--topic", "one", "--notifications", "one"], "topics of their own"),
        (["--dead-letters", "one", "--queue", "one"], "a queue of their own"),
    ],
)  # fmt: skip
async def test_what_cannot_be_wanted_is_refused_in_words_before_anything_is_made(
    account: Account, arguments: list[str], told: str
) -> None:
    code, steps, _, said = await account.setup(*arguments)
    assert (code, steps) == (2, [])
    assert told in said
    assert await account.names() == set()
