"""Which job a result is of is told by its whole digest, never by the name it lies under.

Contents with the same sixteen digits cannot be found in an afternoon, so that what would happen
is shown with names of one digit, or with manifests put where they do not belong.
"""

import json

import pytest

from queue_agent.wire import layout
from queue_agent.wire.job import Job, parse_job
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.notification import ErrorReport
from queue_agent.wire.result import Result
from worker_bench import Bench, JsonObject, ScriptedRuntime, drawing

pytestmark = pytest.mark.looptime

OTHERS_PICTURE = "s3://results/out/order-1/of-another.png"


def manifest(job: Job, **fields: object) -> Result:
    """A finished result of the job, but for what is given otherwise."""
    given: JsonObject = {
        "runtime": "sdruntime",
        "id": job.id,
        "status": "completed",
        "result": True,
        "image_url": [OTHERS_PICTURE],
        "digest": job.digest,
    }
    return Result(**{**given, **fields})


def ordered(bench: Bench) -> Job:
    return parse_job(bench.body("order-1"))


FOREIGN: list[JsonObject] = [
    {"digest": "0" * 64},
    {"digest": None},
    {"digest": ""},
    {"id": "order-2"},
    {"digest": "0" * 64, "status": "failed", "result": False},
    {
        "digest": "0" * 64,
        "status": "failed",
        "result": False,
        "error": ErrorReport(type="x", message="x", retryable=True, final=True),
    },
]


@pytest.mark.parametrize("fields", FOREIGN, ids=" ".join)
async def test_another_jobs_manifest_in_its_place_answers_no_job(
    bench: Bench, fields: JsonObject
) -> None:
    job = ordered(bench)
    first, second = ResultKeys.of(job).manifests
    stored = manifest(job, **fields).model_dump_json().encode()
    bench.results.put(first, stored)
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.redelivered) == ("completed", False)
    assert told.image_url != [OTHERS_PICTURE]
    assert told.output_url == bench.results.url(second)
    assert bench.results.objects[first].data == stored, "what is another's is left alone"
    written = Result.model_validate_json(bench.results.objects[second].data)
    assert (written.digest, written.output_url) == (job.digest, told.output_url)


async def test_a_job_whose_place_is_taken_is_done_once_all_the_same(bench: Bench) -> None:
    job = ordered(bench)
    bench.results.put(
        ResultKeys.of(job).manifest, manifest(job, digest="0" * 64).model_dump_json().encode()
    )
    await bench.publish("order-1")
    await bench.publish("order-1")
    async with bench.working():
        second = await bench.answer("order-1", nth=2)
        await bench.emptied()
    assert bench.runtime.runs == ["order-1"]
    assert second.redelivered


async def test_places_that_others_have_both_of_fail_the_job(bench: Bench) -> None:
    job = ordered(bench)
    for key in ResultKeys.of(job).manifests:
        bench.results.put(key, manifest(job, digest="0" * 64).model_dump_json().encode())
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.answer("order-1")
    assert (told.status, told.image_url) == ("failed", [])


async def test_the_loser_to_another_content_of_the_same_name_keeps_its_own_picture(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both run at once, in two pods, and have the same name: each is answered with its own."""
    monkeypatch.setattr(layout, "_DIGEST_DIGITS", 0)
    second = ScriptedRuntime()
    for runtime in (bench.runtime, second):
        runtime.script("order-1", drawing(100.0))
    contents: list[JsonObject] = [{"prompt": "mine"}, {"prompt": "the attacker's"}]
    for content in contents:
        await bench.publish("order-1", content)
    async with bench.working(bench.agent(), bench.agent(second)):
        await bench.answer("order-1", nth=2)
        await bench.emptied()
    first, other = bench.told()
    assert [first.redelivered, other.redelivered] == [False, False]
    assert not {*first.image_url} & {*other.image_url}
    digests = {parse_job(bench.body("order-1", content)).digest for content in contents}
    assert {one.digest for one in bench.manifests()} == digests


async def test_the_first_versions_eight_digits_do_not_say_that_a_job_was_done(
    bench: Bench,
) -> None:
    job = ordered(bench)
    old = manifest(job).model_dump_json(exclude={"digest"}).encode()
    bench.results.put(f"out/order-1/order-1-{job.digest[:8]}.out", old)
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert told.image_url != [OTHERS_PICTURE]
    assert bench.runtime.runs == ["order-1"]


def test_a_job_is_digested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    job = parse_job(json.dumps({"metadata": {"id": "a", "tasktype": "b"}, "content": {"x": 1}}))
    before = job.digest
    routed = job.model_copy(update={"metadata": job.metadata.model_copy(update={"runtime": "r"})})
    monkeypatch.setattr("queue_agent.wire.job.canonical_json", None)
    assert job.digest == routed.digest == before


@pytest.mark.parametrize(
    "update",
    [{"content": {"x": 2}}, {"metadata": {"id": "a", "tasktype": "c"}}, {"content": {}}],
)
def test_a_copy_that_asks_for_something_else_has_another_digest(update: JsonObject) -> None:
    job = parse_job(json.dumps({"metadata": {"id": "a", "tasktype": "b"}, "content": {"x": 1}}))
    before = job.digest
    if "metadata" in update:
        update = {"metadata": job.metadata.model_copy(update=update["metadata"])}
    assert job.model_copy(update=update).digest != before
