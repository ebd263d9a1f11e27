"""Publishers tell queues whose jobs are."""

import hashlib
import json
from importlib.util import find_spec, module_from_spec
from types import ModuleType

import pytest

from queue_agent.client import Client, make_job
from queue_agent.cloud import Publication
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.settings.client import ClientSettings
from queue_agent.wire.errors import SettingsError
from queue_agent.wire.job import parse_job
from queue_agent.wire.publication import publication_of

TOPIC = "arn:aws:sns:us-east-1:123456789012:jobs"


def sent(cloud: MemoryCloud) -> list[tuple[str, str | None]]:
    """Whose the queues take a job for, and whose it says that it is."""
    published: list[Publication] = cloud.topic("jobs").published
    return [(one.ordering.tenant, parse_job(one.body).metadata.tenant) for one in published]


@pytest.mark.parametrize(
    ("usual", "said", "tenant"),
    [
        (None, "blue", "blue"),
        ("house", "blue", "blue"),
        ("house", None, "house"),
        (None, None, None),
    ],
)
async def test_a_job_is_its_tenants_or_else_the_clients(
    usual: str | None, said: str | None, tenant: str | None
) -> None:
    cloud = MemoryCloud()
    client = Client(cloud, job_topic="jobs", tenant=usual)
    await client.submit("a", runtime="r", tenant=said)
    await client.submit_many([make_job({"prompt": "b"}, runtime="r", tenant=said)])
    assert sent(cloud) == [(tenant or "", tenant)] * 2


async def test_a_client_that_is_not_fair_tells_no_queue() -> None:
    cloud = MemoryCloud()
    client = Client(cloud, job_topic="jobs", fair=False)
    await client.submit("a", runtime="r", tenant="blue")
    await client.submit_many([make_job({"prompt": "b"}, runtime="r", tenant="blue")])
    assert sent(cloud) == [("", "blue")] * 2


async def test_a_large_job_keeps_its_tenant_on_the_way_through_the_bucket() -> None:
    cloud = MemoryCloud()
    client = Client(cloud, job_topic="jobs", bucket="results")
    await client.submit("x" * 300_000, runtime="r", tenant="blue")
    (pointer,) = cloud.topic("jobs").published
    assert len(pointer.body) < 1000
    assert pointer.ordering.tenant == "blue"


def test_the_group_that_keeps_an_order_is_the_jobs_own_all_the_same() -> None:
    job = make_job({"prompt": "a"}, job_id="a", tenant="blue")
    assert publication_of(job).ordering.group == "a"


def test_tenant_and_fairness_are_settings() -> None:
    usual = ClientSettings.load({})
    assert (usual.tenant, usual.fair) == (None, True)
    given = ClientSettings.load({"QUEUE_AGENT_TENANT": "house", "QUEUE_AGENT_FAIR": "false"})
    assert (given.tenant, given.fair) == ("house", False)
    with pytest.raises(SettingsError, match="QUEUE_AGENT_TENANT"):
        ClientSettings.load({"QUEUE_AGENT_TENANT": "a" * 129})


class Calls:
    """Stands for the SDK's clients; keeps the groups of what was published."""

    def __init__(self) -> None:
        self.groups: list[object] = []

    def publish(self, **given: object) -> None:
        self.groups.append(given.get("MessageGroupId"))


@pytest.mark.parametrize(
    ("said", "identity", "fair", "group"),
    [
        ("blue", {"apiKeyId": "k1"}, "true", "blue"),
        (None, {"apiKeyId": "k1"}, "true", "k1"),
        (None, {"apiKeyId": None}, "true", None),
        (None, None, "true", None),
        ("blue", {"apiKeyId": "k1"}, "false", None),
        ("two words", None, "true", hashlib.sha256(b"two words").hexdigest()),
    ],
)
async def test_the_function_tells_the_tenant_or_else_the_keys_id(
    monkeypatch: pytest.MonkeyPatch,
    said: str | None,
    identity: dict[str, str | None] | None,
    fair: str,
    group: str | None,
) -> None:
    calls = Calls()
    handler = _handler(monkeypatch)
    given = {"JOB_TOPIC_ARN": TOPIC, "RESULTS_BUCKET": "b", "RUNTIMES": '{"r": []}', "FAIR": fair}
    monkeypatch.setattr(handler, "_SETTINGS", handler.IntakeSettings.read(given))
    monkeypatch.setattr(handler, "_TOPIC", handler.JobTopic(TOPIC, "b", lambda *_: calls))
    body = json.dumps({"metadata": {"tenant": said}, "content": {"prompt": "a"}})
    context = {"requestId": "1"} | ({} if identity is None else {"identity": identity})
    answer = handler.handle({"body": body, "requestContext": context}, None)
    assert answer["statusCode"] == 202, answer
    assert calls.groups == [group]


def _handler(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The function's module, made anew, so that no other test gets what it read here."""
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "JOB_TOPIC_ARN": TOPIC,
        "RESULTS_BUCKET": "b",
        "RUNTIMES": '{"r": []}',
    }.items():
        monkeypatch.setenv(name, value)
    spec = find_spec("intake.handler")
    assert spec is not None
    assert spec.loader is not None
    handler = module_from_spec(spec)
    spec.loader.exec_module(handler)
    return handler
