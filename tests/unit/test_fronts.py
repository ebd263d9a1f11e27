"""The gateway and the function behind API Gateway take and refuse the same, in the same words."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

import httpx
import pytest

from foreign_bodies import FOREIGN
from queue_agent.client import Rejected
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.gateway import app as gateway_app
from queue_agent.gateway import service as gateway_service
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.wire import submission
from queue_agent.wire.job import find_pointer, parse_job
from queue_agent.wire.publication import Publication
from queue_agent.wire.submission import Terms, complete, read_body

RUNTIME: Final = "sdruntime"
FOLDERS: Final = ("output", "mine/own")
BUCKET: Final = "images-results"
TOPIC: Final = "arn:aws:sns:us-east-1:123456789012:jobs"
METADATA: Final = {"id": "a", "tasktype": "text-to-image", "runtime": RUNTIME, "prefix": "output"}
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def job(content: object = {"prompt": "a"}, **metadata: object) -> str:
    return json.dumps({"metadata": {**METADATA, **metadata}, "content": content})


def without(*fields: str, **content: object) -> str:
    metadata = {name: value for name, value in METADATA.items() if name not in fields}
    return json.dumps({"metadata": metadata, "content": {"prompt": "a", **content}})


TAKEN: Final = {
    "a job": job(),
    "the guidance's form": json.dumps({"task": json.loads(job(context={"order": [1, None]}))}),
    "no id": without("id"),
    "an id that is null": job(id=None),
    "no task type": without("tasktype"),
    "no task type but an image": without("tasktype", init_images=["s3://b/k"]),
    "a task type that is null": job(tasktype=None),
    "no runtime": without("runtime"),
    "an empty runtime": job(runtime=""),
    "no prefix": without("prefix"),
    "an empty prefix": job(prefix=""),
    "a prefix of slashes": job(prefix="//"),
    "a prefix that is null": job(prefix=None),
    "a prefix of the runtime's": job(prefix="/mine/own/2026/"),
    "no metadata": '{"content": {"prompt": "a"}}',
    "empty metadata": '{"metadata": {}, "content": {}}',
    "a priority": job(priority="high"),
    "a deadline": job(deadline="2030-01-01T12:00:00+02:00"),
    "a deadline that is null": job(deadline=None),
    "an empty priority": job(priority=""),
    "metadata of the publisher's own": job(tenant="blue", nothing=None),
    "the same key twice": '{"content": {"prompt": "a"}, "content": {"prompt": "b"}}',
    "a task that is no job beside one": '{"task": 1, "content": {"prompt": "a"}}',
    "content with null": job({"prompt": "a", "mask": None}),
    "more than the topic takes": job({"init_images": ["A" * 262_144]}),
}

REFUSED: Final = {
    "nothing": ("", 400),
    "no JSON": ("prompt=a", 400),
    "half of a job": (job()[:-5], 400),
    "a job and more": (job() + "}", 400),
    "NaN": (job({"seed": float("nan")}), 400),
    "infinity": (job({"seed": float("inf")}), 400),
    "half a surrogate pair": ('{"metadata": {"id": "\\ud800"}, "content": {}}', 400),
    "nested too deeply": ('{"content": ' + '{"a":' * 10_000 + "1" + "}" * 10_001, 400),
    "nested without end": ('{"metadata": ' + "[" * 10_000, 400),
    "a number that is infinite": ('{"content": {"seed": 1e400}}', 422),
    "null": ("null", 422),
    "a number": ("1", 422),
    "a list": ("[]", 422),
    "text": ('"job"', 422),
    "an empty object": ("{}", 422),
    "a task that is a list": ('{"task": []}', 422),
    "no content": (json.dumps({"metadata": METADATA}), 422),
    "metadata that are null": ('{"metadata": null, "content": {}}', 422),
    "content that is a list": (job([]), 422),
    "content that is null": (job(None), 422),
    "an empty id": (job(id=""), 422),
    "an id that is a path": (job(id="a/b"), 422),
    "an id that steps up": (job(id=".."), 422),
    "an id that is too long": (job(id="a" * 129), 422),
    "an id that is a number": (job(id=7), 422),
    "a task type in capitals": (job(tasktype="Text-To-Image"), 422),
    "a runtime that is a number": (job(runtime=1), 422),
    "a runtime that is unknown": (job(runtime="other"), 422),
    "a prefix that steps up": (job(prefix="output/../x"), 422),
    "a prefix with a backslash": (job(prefix="output\\x"), 422),
    "a prefix of the system's": (job(prefix="inputs/a"), 422),
    "a prefix that is somebody's": (job(prefix="outputs"), 422),
    "a priority with a line's end": (job(priority="a\nb"), 422),
    "a priority that nobody knows": (job(priority="urgent"), 422),
    "a priority in capitals": (job(priority="High"), 422),
    "a priority that is too long": (job(priority="a" * 65), 422),
    "an end without a zone": (job(expires_at="2030-01-01T00:00:00"), 422),
    "an end that is no time": (job(expires_at="soon"), 422),
    "a deadline without a zone": (job(deadline="2030-01-01T00:00:00"), 422),
    "a deadline that is no time": (job(deadline="soon"), 422),
    "a deadline in a month that is none": (job(deadline="2030-13-01T00:00:00Z"), 422),
    "a callback that is too long": (job(callback_url="a" * 2049), 422),
}


@dataclass
class Front:
    """One of the two, and what it sent into the cloud."""

    post: Callable[[str, str], Any]
    published: list[Publication]
    stored: Callable[[str], bytes]


@dataclass
class RecordedCalls:
    """Stands for the SDK's clients."""

    published: list[Publication] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)

    def publish(self, *, Message: str, MessageAttributes: Any, **_: object) -> None:  # noqa: N803
        attributes = {name: value["StringValue"] for name, value in MessageAttributes.items()}
        self.published.append(Publication(Message, attributes))

    def put_object(self, *, Key: str, Body: bytes, **_: object) -> None:  # noqa: N803
        self.objects[Key] = Body


@pytest.fixture(autouse=True)
def known_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "new_id", lambda: "made")


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "JOB_TOPIC_ARN": TOPIC,
        "RESULTS_BUCKET": BUCKET,
        "RUNTIMES": json.dumps({RUNTIME: FOLDERS}),
    }.items():
        monkeypatch.setenv(name, value)
    from intake import handler  # noqa: PLC0415  it reads the environment

    return handler


@pytest.fixture
def function(handler: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Front:
    calls = RecordedCalls()
    monkeypatch.setattr(handler, "_TOPIC", handler.JobTopic(TOPIC, BUCKET, lambda *_: calls))

    async def post(path: str, body: str) -> httpx.Response:
        event = {
            "resource": path,
            "headers": {"Content-Type": "application/json", "Traceparent": TRACE},
            "requestContext": {"requestId": "request-1"},
            "body": body,
        }
        answer = handler.handle(event, None)
        return httpx.Response(answer["statusCode"], headers=answer["headers"], text=answer["body"])

    return Front(post, calls.published, calls.objects.__getitem__)


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    cloud = MemoryCloud()
    async with served(cloud, monkeypatch) as client:

        async def post(path: str, body: str) -> httpx.Response:
            headers = {"Content-Type": "application/json", "Traceparent": TRACE}
            return await client.post(path, content=body, headers=headers)

        yield Front(
            post,
            cloud.topic("jobs").published,
            lambda key: cloud.bucket(BUCKET).objects[key].data,
        )


@asynccontextmanager
async def served(
    cloud: MemoryCloud, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway in front of that cloud."""
    monkeypatch.setattr(gateway_app, "connect", lambda *_, **__: cloud)
    # The function estimates nothing; what the gateway adds is not compared.
    monkeypatch.setattr(gateway_service, "with_estimate", lambda job, _estimate: job)
    settings = GatewaySettings.model_construct(
        job_topic="jobs", notification_topic="notifications", bucket=BUCKET,
        runtimes=(RUNTIME,), prefixes=FOLDERS[1:],
    )  # fmt: skip
    app = gateway_app.create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost"
        ) as client,
    ):
        yield client


@pytest.mark.parametrize("path", ["/task", "/v1/jobs"])
@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN.keys())
async def test_both_fronts_publish_the_same(
    gateway: Front, function: Front, path: str, body: str
) -> None:
    theirs, ours = await function.post(path, body), await gateway.post(path, body)
    assert theirs.status_code == ours.status_code == (200 if path == "/task" else 202), ours.text
    assert set(theirs.json()) == {"id", "runtime", "output_location"}
    assert ours.json() | theirs.json() == ours.json()
    assert function.published == gateway.published
    (published,) = gateway.published
    assert published.attributes["runtime"] == RUNTIME
    assert published.attributes["traceparent"] == TRACE
    text = published.body
    if pointer := find_pointer(text):
        assert pointer.bucket == BUCKET
        assert function.stored(pointer.key) == gateway.stored(pointer.key)
        text = gateway.stored(pointer.key).decode()
    understood = parse_job(text)
    assert theirs.json()["output_location"] == f"s3://{BUCKET}/{understood.prefix}/{understood.id}"
    assert understood == complete(read_body(body), Terms.among({RUNTIME: FOLDERS}))


@pytest.mark.parametrize("path", ["/task", "/v1/jobs"])
@pytest.mark.parametrize(("body", "status"), REFUSED.values(), ids=REFUSED.keys())
async def test_both_fronts_refuse_the_same_by_the_same_words(
    gateway: Front, function: Front, path: str, body: str, status: int
) -> None:
    theirs, ours = await function.post(path, body), await gateway.post(path, body)
    assert theirs.status_code == ours.status_code == status, ours.text
    assert theirs.headers["content-type"] == ours.headers["content-type"]
    assert ours.headers["content-type"] == "application/problem+json"
    assert problem(theirs) == problem(ours)
    assert gateway.published == function.published == []


@pytest.mark.parametrize("name", FOREIGN)
async def test_both_fronts_publish_nothing_of_what_asks_for_nothing(
    gateway: Front, function: Front, name: str
) -> None:
    _, body = FOREIGN[name]
    theirs, ours = await function.post("/v1/jobs", body), await gateway.post("/v1/jobs", body)
    assert theirs.status_code == ours.status_code
    assert ours.status_code in {400, 422}
    assert gateway.published == function.published == []


@pytest.mark.parametrize(("body", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_what_the_fronts_refuse_is_rejected_in_a_program_too(body: str, status: int) -> None:
    del status
    with pytest.raises(Rejected):
        complete(read_body(body), Terms.among({RUNTIME: FOLDERS}))


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("path", ["/task", "/v1/jobs"])
async def test_the_gateway_takes_only_what_no_page_of_others_can_send_without_asking(
    monkeypatch: pytest.MonkeyPatch, path: str, kind: str
) -> None:
    """Browsers ask first for what says that it is JSON: https://fetch.spec.whatwg.org/#cors-safelisted-request-header"""
    cloud = MemoryCloud()
    async with served(cloud, monkeypatch) as client:
        answer = await client.post(path, content=job(), headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert cloud.topic("jobs").published == []


def test_the_table_is_long() -> None:
    assert len(TAKEN) + len(REFUSED) >= 40


def problem(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "request_id"}
    assert body.pop("request_id")
    return body
