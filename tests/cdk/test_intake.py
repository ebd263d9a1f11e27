"""The function behind the HTTP front, run as Lambda runs it."""

import json
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


def without(field: str) -> str:
    metadata = {name: value for name, value in GOOD.items() if name != field}
    return json.dumps({"metadata": metadata, "content": {"prompt": "a"}})


BAD_BODIES = {
    "nothing": ("", "not JSON"),
    "no JSON": ("prompt=a", "not JSON"),
    "half of a job": (job()[:-5], "not JSON"),
    "a job and more": (job() + "}", "not JSON"),
    "NaN": (job({"seed": float("nan")}), "not JSON"),
    "infinity": (job({"seed": float("inf")}), "not JSON"),
    "half a surrogate pair": ('{"metadata": {"id": "\\ud800"}}', "not JSON"),
    "nested without end": ('{"metadata": ' + "[" * 10_000, "not JSON"),
    "null": ("null", "not an object"),
    "a number": ("1", "not an object"),
    "a list": ("[]", "not an object"),
    "text": ('"job"', "not an object"),
    "an empty object": ("{}", "metadata: Field required"),
    "a task that is a list": ('{"task": []}', "metadata: Field required"),
    "no metadata": ('{"content": {}}', "metadata: Field required"),
    "no content": (json.dumps({"metadata": GOOD}), "content: Field required"),
    "metadata that are null": ('{"metadata": null, "content": {}}', "metadata: "),
    "content that is a list": (job([]), "content: "),
    "content that is null": (job(None), "content: "),
    "no id": (without("id"), "metadata.id: Field required"),
    "an empty id": (job(id=""), "metadata.id: "),
    "an id that is a path": (job(id="a/b"), "metadata.id: "),
    "an id that steps up": (job(id=".."), "metadata.id: "),
    "an id that is too long": (job(id="a" * 129), "metadata.id: "),
    "an id that is a number": (job(id=7), "metadata.id: "),
    "no task type": (without("tasktype"), "metadata.tasktype: Field required"),
    "a task type in capitals": (job(tasktype="Text-To-Image"), "metadata.tasktype: "),
    "a task type that is too long": (job(tasktype="a" * 65), "metadata.tasktype: "),
    "a runtime that is a number": (job(runtime=1), "metadata.runtime: "),
    "a runtime that is unknown": (job(runtime="other"), "metadata.runtime: "),
    "a prefix that steps up": (job(prefix="output/../x"), "metadata.prefix: "),
    "a prefix with a backslash": (job(prefix="output\\x"), "metadata.prefix: "),
    "a prefix that is too long": (job(prefix="output/" + "a" * 512), "metadata.prefix: "),
    "a prefix that is somebody's": (job(prefix="outputs"), "metadata.prefix: "),
    "an end without a zone": (job(expires_at="2030-01-01T00:00:00"), "metadata.expires_at: "),
    "an end that is no time": (job(expires_at="soon"), "metadata.expires_at: "),
    "a priority that is too long": (job(priority="a" * 65), "metadata.priority: "),
    "a callback that is too long": (job(callback_url="a" * 2049), "metadata.callback_url: "),
}


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
    return {**given, **cloud, "AWS_DEFAULT_REGION": cloud["AWS_REGION"]}


@pytest.fixture
async def jobs(
    embedded_cloud: EmbeddedCloud, environment: dict[str, str]
) -> AsyncIterator[AsyncIterator[str]]:
    """What is published to the job topic, made for the test."""
    cloud = embedded_cloud.connect()
    try:
        sns = await cloud.client("sns")
        environment["JOB_TOPIC_ARN"] = (await sns.create_topic(Name="intake-jobs"))["TopicArn"]
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
    assert len(BAD_BODIES) >= 30
    for name, (body, told) in BAD_BODIES.items():
        for resource in ("/task", "/v1/jobs"):
            if (name, resource) == ("no id", "/v1/jobs"):
                continue  # there it gets one
            answer = await function.post(body, resource=resource)
            assert answer["statusCode"] == 400, (name, answer)
            assert told in answer["body"]["detail"], (name, answer)
            assert answer["body"]["request_id"] == "request-1"
            assert answer["headers"]["Content-Type"] == "application/problem+json"
    await function.post(job(id="the-only-one"))
    assert json.loads(await anext(jobs))["metadata"]["id"] == "the-only-one"


async def test_bytes_that_are_no_text_are_answered(function: LambdaFunction) -> None:
    for body in ("%%%", "/////w=="):
        answer = await function.invoke({"resource": "/task", "body": body, "isBase64Encoded": True})
        assert answer["statusCode"] == 400
        assert "UTF-8" in answer["body"]["detail"]


async def test_a_job_larger_than_the_topic_takes_is_answered_413(
    function: LambdaFunction,
) -> None:
    answer = await function.post(job({"init_images": ["A" * 262_144]}))
    assert answer["statusCode"] == 413
    assert "262144" in answer["body"]["detail"]


async def test_what_the_topic_refuses_is_answered_400(
    package: Path, sdk: Path, environment: dict[str, str], embedded_cloud: EmbeddedCloud
) -> None:
    refusal = THROTTLED.replace(b"Throttled", b"InvalidParameterValue")
    async with FaultProxy(embedded_cloud.url) as proxy:
        with proxy.fault(Status(400, refusal, {"content-type": "text/xml"})):
            refused = {**environment, "AWS_ENDPOINT_URL": proxy.url}
            async with started(package, sdk, refused) as running:
                answer = await running.post(job(priority="\x01"))
    assert answer["statusCode"] == 400, answer


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


def test_the_package_is_small_and_holds_the_agents_own_modules(package: Path) -> None:
    files = [path for path in package.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST_PACKAGE
    shared = list((package / "queue_agent").rglob("*.py"))
    assert shared
    for path in shared:
        assert path.read_bytes() == (CDK.parent / path.relative_to(package)).read_bytes()
