"""The function behind the HTTP front, run as Lambda runs it."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from assembly import CDK, synthesised
from intrinsics import Resolver
from lambda_process import LambdaFunction, package_of, sdk_folder, started

from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.fault_proxy import FaultProxy, Status
from queue_agent.testing.process import free_port
from queue_agent.wire.job import find_pointer, parse_job

EXAMPLE = "minimal"
MESSAGES = CDK.parent / "tests" / "messages"
GOOD = {"id": "a", "tasktype": "text-to-image", "runtime": "sdruntime", "prefix": "output"}
LARGEST_PACKAGE = 15 * 2**20
THROTTLED = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>Throttled</Code>"
    b"<Message>Rate exceeded</Message></Error></ErrorResponse>"
)


def job(content: object = {"prompt": "a"}, **metadata: object) -> str:
    return json.dumps({"metadata": {**GOOD, **metadata}, "content": content})


BAD_BODIES = {
    "no JSON": ("prompt=a", 400, "not usable JSON"),
    "a list": ("[]", 422, "not an object"),
    "no content": (json.dumps({"metadata": GOOD}), 422, "content: Field required"),
    "an id that is a path": (job(id="a/b"), 422, "metadata.id: "),
    "a runtime that is unknown": (job(runtime="other"), 422, "metadata.runtime: "),
    "a prefix that is somebody's": (job(prefix="outputs"), 422, "metadata.prefix: "),
}
"""Some of those that `tests/unit/test_fronts.py` has."""


@pytest.fixture(scope="session")
def package() -> Path:
    return package_of(synthesised(EXAMPLE))


@pytest.fixture(scope="session")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sdk_folder(tmp_path_factory.mktemp("sdk"))


@pytest.fixture(scope="session")
def environment(embedded_cloud: EmbeddedCloud) -> dict[str, str]:
    """The template's environment and Lambda's own."""
    assembly = synthesised(EXAMPLE)
    function = assembly.named("AWS::Lambda::Function", Handler="intake.handler.handle")
    given: dict[str, str] = Resolver(region="us-east-1").resolve(
        function.properties["Environment"]["Variables"]
    )
    cloud = embedded_cloud.environment()
    return {
        **given,
        **cloud,
        "AWS_DEFAULT_REGION": cloud["AWS_REGION"],
        "JOB_TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:intake-jobs",
    }


@pytest.fixture
async def jobs(
    embedded_cloud: EmbeddedCloud, environment: dict[str, str]
) -> AsyncIterator[AsyncIterator[str]]:
    """What is published to the job topic, made for the test."""
    cloud = embedded_cloud.connect()
    try:
        sns = await cloud.client("sns")
        s3 = await cloud.client("s3")
        await s3.create_bucket(Bucket=environment["RESULTS_BUCKET"])
        made = await sns.create_topic(Name="intake-jobs")
        assert made["TopicArn"] == environment["JOB_TOPIC_ARN"]
        async with cloud.topic(environment["JOB_TOPIC_ARN"]).subscribe() as bodies:
            yield bodies
    finally:
        await cloud.aclose()


@pytest.fixture
async def function(
    package: Path, sdk: Path, environment: dict[str, str], jobs: AsyncIterator[str]
) -> AsyncIterator[LambdaFunction]:
    async with started(package, sdk, environment) as running:
        yield running


def sample(name: str) -> str:
    return (MESSAGES / f"guidance-{name}.json").read_text()


@pytest.mark.parametrize(
    "name", ["text-to-image", "image-to-image", "extra-single-image", "pipeline"]
)
async def test_the_guidances_samples_are_published_as_agents_read_them(
    function: LambdaFunction, jobs: AsyncIterator[str], name: str
) -> None:
    asked = json.loads(sample(name))["task"]
    asked["metadata"] |= {"runtime": "sdruntime", "prefix": "output/"}
    answer = await function.post(json.dumps({"task": asked}))
    assert answer["statusCode"] == 200, answer
    job_id = asked["metadata"]["id"]
    assert answer["body"]["id"] == job_id
    assert answer["body"]["runtime"] == "sdruntime"
    assert answer["body"]["output_location"].endswith(f"-us-west-2/output/{job_id}")
    published = json.loads(await anext(jobs))
    assert published["content"] == asked["content"]
    assert published["metadata"]["context"] == asked["metadata"].get("context")


async def test_what_a_job_leaves_open_is_filled_in(
    function: LambdaFunction, jobs: AsyncIterator[str]
) -> None:
    body = json.dumps({"metadata": {"tasktype": "text-to-image"}, "content": {"prompt": "a"}})
    answer = await function.post(body, resource="/v1/jobs")
    assert answer["statusCode"] == 202, answer
    published = json.loads(await anext(jobs))
    assert published["metadata"]["id"] == answer["body"]["id"]
    assert published["metadata"]["runtime"] == "sdruntime"
    assert published["metadata"]["prefix"] == "output"


async def test_bad_bodies_are_answered_with_the_field_and_nothing_is_published(
    function: LambdaFunction, jobs: AsyncIterator[str]
) -> None:
    for name, (body, status, told) in BAD_BODIES.items():
        for resource in ("/task", "/v1/jobs"):
            answer = await function.post(body, resource=resource)
            assert answer["statusCode"] == status, (name, answer)
            assert told in answer["body"]["detail"], (name, answer)
            assert answer["body"]["request_id"] == "request-1"
            assert answer["headers"]["Content-Type"] == "application/problem+json"
    await function.post(job(id="the-only-one"))
    assert json.loads(await anext(jobs))["metadata"]["id"] == "the-only-one"


async def test_bytes_that_are_no_text_are_answered(function: LambdaFunction) -> None:
    for body in ("%%%", "/////w=="):
        answer = await function.invoke({"resource": "/task", "body": body, "isBase64Encoded": True})
        assert answer["statusCode"] == 400
        assert answer["body"]["type"] == "urn:queue-agent:problem:invalid-json"


async def test_a_job_larger_than_the_topic_takes_goes_by_way_of_the_bucket(
    function: LambdaFunction,
    jobs: AsyncIterator[str],
    embedded_cloud: EmbeddedCloud,
    environment: dict[str, str],
) -> None:
    body = job({"init_images": ["A" * 262_144]})
    answer = await function.post(body)
    assert answer["statusCode"] == 200, answer
    pointer = find_pointer(await anext(jobs))
    assert pointer is not None
    assert pointer.bucket == environment["RESULTS_BUCKET"]
    cloud = embedded_cloud.connect()
    try:
        stored = await cloud.bucket(pointer.bucket).read(pointer.key)
    finally:
        await cloud.aclose()
    assert parse_job(stored.decode()) == parse_job(body)


async def test_what_the_topic_refuses_is_answered_422(
    package: Path, sdk: Path, environment: dict[str, str], embedded_cloud: EmbeddedCloud
) -> None:
    refusal = THROTTLED.replace(b"Throttled", b"InvalidParameterValue")
    async with FaultProxy(embedded_cloud.url) as proxy:
        with proxy.fault(Status(400, refusal, {"content-type": "text/xml"})):
            refused = {**environment, "AWS_ENDPOINT_URL": proxy.url}
            async with started(package, sdk, refused) as running:
                answer = await running.post(job())
    assert answer["statusCode"] == 422, answer


async def test_a_throttled_topic_is_answered_429(
    package: Path, sdk: Path, environment: dict[str, str], embedded_cloud: EmbeddedCloud
) -> None:
    async with FaultProxy(embedded_cloud.url) as proxy:
        with proxy.fault(Status(429, THROTTLED, {"content-type": "text/xml"})):
            throttled = {**environment, "AWS_ENDPOINT_URL": proxy.url}
            async with started(package, sdk, throttled) as running:
                answer = await running.post(job())
    assert answer["statusCode"] == 429, answer
    assert answer["headers"]["Retry-After"] == "1"


async def test_a_topic_that_does_not_answer_is_answered_503(
    package: Path, sdk: Path, environment: dict[str, str]
) -> None:
    away = {**environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    async with started(package, sdk, away) as running:
        answer = await running.post(job())
    assert answer["statusCode"] == 503
    assert "127.0.0.1" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("headers", "xray", "expected"),
    [
        (
            {"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        (
            {},
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
        ),
        (
            {"traceparent": "nonsense"},
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00",
        ),
        ({}, "", None),
    ],
)
async def test_the_trace_goes_on(
    package: Path,
    sdk: Path,
    environment: dict[str, str],
    jobs: AsyncIterator[str],
    embedded_cloud: EmbeddedCloud,
    headers: dict[str, str],
    xray: str,
    expected: str | None,
) -> None:
    async with FaultProxy(embedded_cloud.url) as proxy:
        traced = {**environment, "AWS_ENDPOINT_URL": proxy.url, "_X_AMZN_TRACE_ID": xray}
        async with started(package, sdk, traced) as running:
            await running.post(job(), **headers)
        sent = proxy.requests[-1].body.decode()
    assert ("traceparent" in sent) == (expected is not None)
    assert expected is None or expected in sent


def test_no_module_of_the_package_is_compiled_at_a_cold_start(package: Path) -> None:
    modules = list(package.rglob("*.py"))
    assert modules
    assert [path for path in modules if not Path(cache_from_source(path)).exists()] == []


def test_every_format_needs_no_more_than_the_package_has(package: Path) -> None:
    modules = [
        f"queue_agent.wire.{path.stem}" for path in (package / "queue_agent/wire").glob("*.py")
    ]
    assert len(modules) > 8
    imports = f"import sys; sys.path.insert(0, {str(package)!r}); import {', '.join(modules)}"
    subprocess.run([sys.executable, "-I", "-S", "-c", imports], check=True)


def test_the_package_is_small_and_holds_the_agents_own_modules(package: Path) -> None:
    files = [path for path in package.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST_PACKAGE
    shared = list((package / "queue_agent").rglob("*.py"))
    assert shared
    for path in shared:
        assert path.read_bytes() == (CDK.parent / path.relative_to(package)).read_bytes()
