"""Nobody's objects leave their place, and no tenant reaches into another's."""

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from queue_agent.cli.options import reference_policy
from queue_agent.cloud.aws import AwsCloud
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.inputs.addresses import ObjectLocation
from queue_agent.inputs.references import ReferenceFetcher, ReferencePolicy
from queue_agent.settings.agent import Settings
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent.wire.layout import DEFAULT_PREFIX, ResultKeys, cancel_marker, quarantine_key

PIECES = st.sampled_from(["..", ".", "/", "//", "\\", "%2e%2e", "a", "b c", "\x00", "é", "\u2024"])
ODD_NAMES = st.one_of(st.text(max_size=12), st.lists(PIECES, max_size=6).map("".join))


@given(ODD_NAMES, st.one_of(ODD_NAMES, st.from_regex(r"\A[A-Za-z0-9._-]{1,128}\Z")))
def test_every_object_of_a_job_lies_in_the_jobs_own_folder(prefix: str, job_id: str) -> None:
    message = {"metadata": {"id": job_id, "tasktype": "a", "prefix": prefix}, "content": {}}
    try:
        job = Job.model_validate(message)
    except ValidationError:
        return
    keys = ResultKeys.of(job)
    inside = [part for part in prefix.split("/") if part] or [DEFAULT_PREFIX]
    for key in (keys.manifest, keys.artifact(1, "image/png"), keys.artifact(2, "../x", suffix="s")):
        *folders, name = key.split("/")
        assert folders == [*inside, job_id]
        assert name.startswith(f"{job_id}-")
        assert not {"", ".", ".."} & {*folders, name}
    assert cancel_marker(job_id).count("/") == 1
    assert quarantine_key("2026-01-01", "message").startswith("quarantine/2026-01-01/message")


def restricted(buckets: str) -> ReferencePolicy:
    environment = {
        "QUEUE_URL": "https://sqs.example.com/1/jobs",
        "TOPIC_ARN": "arn:aws:sns:us-east-1:1:results",
        "BUCKET": "results",
        "RUNTIME": "webui",
        "REFERENCE_BUCKETS": buckets,
    }
    given = {f"QUEUE_AGENT_{name}": value for name, value in environment.items()}
    return reference_policy(Settings.load(given))


@pytest.mark.parametrize(
    ("buckets", "opened", "closed"),
    [
        ("", ["s3://results/a", "s3://results/tenant-b/a"], ["s3://other/a"]),
        ("inputs", ["s3://results/a", "s3://inputs/a"], ["s3://inputs-b/a", "s3://other/a"]),
        (
            "results/tenant-a/, inputs/tenant-a",
            ["s3://results/tenant-a/x/y.png", "s3://inputs/tenant-a/y.png"],
            [
                "s3://results/tenant-b/y.png",
                "s3://results/tenant-ab/y.png",
                "s3://results/tenant-a",
                "s3://results/y.png",
                "s3://results//tenant-a/y.png",
                "s3://inputs/y.png",
                "s3://inputs/tenant-ab/y.png",
                "s3://resultstenant-a/y.png",
            ],
        ),
        # a prefix of another bucket says nothing of the results
        ("inputs/tenant-a/", ["s3://results/tenant-b/a"], ["s3://inputs/tenant-b/a"]),
    ],
)
def test_references_and_payloads_stay_within_what_the_operator_opens(
    buckets: str, opened: list[str], closed: list[str]
) -> None:
    policy = restricted(buckets)
    assert [url for url in opened if not policy.opens(ObjectLocation.parse(url))] == []
    assert [url for url in closed if policy.opens(ObjectLocation.parse(url))] == []


def test_a_payload_pointer_cannot_climb_either() -> None:
    policy = ReferencePolicy(buckets=frozenset({"results/tenant-a/"}))
    fetcher = ReferenceFetcher(policy, MemoryCloud().bucket)
    assert fetcher.may_read("results", "tenant-a/x..y")
    for key in ("tenant-a/../tenant-b/x", "tenant-a/./x", "tenant-a/.."):
        assert not fetcher.may_read("results", key)


@given(st.lists(st.one_of(PIECES, st.just("tenant-a/"), st.just("tenant-b/")), max_size=6))
def test_no_key_steps_out_of_a_tenants_prefix(pieces: list[str]) -> None:
    policy = ReferencePolicy(buckets=frozenset({"results/tenant-a/"}))
    try:
        place = ObjectLocation.parse(f"s3://results/{''.join(pieces)}")
    except Rejected:
        return
    steps = place.key.split("/")
    assert not {".", ".."} & set(steps)
    assert not policy.opens(place) or steps[0] == "tenant-a"


async def test_an_object_is_read_no_further_than_the_limit_whatever_its_length_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        """Without a length, as no honest store answers."""
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        while written < 200 * 2**20:
            await response.write(bytes(2**16))
            written += 2**16
        return response

    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    application = web.Application()
    application.router.add_get("/{tail:.*}", endless)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    cloud = AwsCloud(
        "us-east-1",
        endpoint_url=f"http://127.0.0.1:{runner.addresses[0][1]}",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    try:
        with pytest.raises(Rejected) as caught:
            await cloud.bucket("results").read("huge.png", limit=2**20)
    finally:
        await cloud.aclose()
        await runner.cleanup()
    assert caught.value.type == "reference_too_large"
    assert written < 100 * 2**20
