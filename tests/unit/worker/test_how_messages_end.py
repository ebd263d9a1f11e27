"""How each kind of message ends: what is told, what is stored, what becomes of the message."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from queue_agent.testing import sample_png
from queue_agent.wire.errors import TimedOut, Unavailable
from worker_bench import EPOCH, NAME, RUN, Bench, ScriptedRuntime, drawing, failing

pytestmark = pytest.mark.looptime


async def test_a_job_is_made_stored_told_and_acknowledged(bench: Bench) -> None:
    await bench.publish("order-1", context={"customer": 42})
    async with bench.working():
        told = await bench.settled("order-1")
    (manifest,) = bench.manifests()
    assert (told.status, told.result, told.runtime, told.attempt) == ("completed", True, NAME, 1)
    assert told.context == {"customer": 42}
    assert told.image_url == [image.url for image in manifest.images]
    assert told.output_url == manifest.output_url
    assert manifest.response == {"seed": 7}
    assert told.timings.run == pytest.approx(RUN)
    artifact = told.image_url[0].removeprefix(bench.results.url(""))
    assert bench.results.objects[artifact] == (sample_png(8, 8), "image/png")
    assert dict(bench.topic.published[-1].attributes) == {
        "runtime": NAME,
        "status": "completed",
        "id": "order-1",
    }


async def test_the_steps_come_in_the_order_of_the_story(bench: Bench) -> None:
    await bench.publish("order-1")
    bench.cloud.calls.clear()
    async with bench.working():
        await bench.settled("order-1")
    manifest = bench.manifests()[0].output_url
    assert manifest is not None
    key = manifest.removeprefix(bench.results.url(""))
    story = [
        (call.operation, call.subject == key)
        for call in bench.cloud.calls
        if call.operation in {"bucket.read", "bucket.write", "topic.publish", "queue.delete"}
        and not call.subject.endswith(".claim")
        and not call.subject.startswith("pauses/")
    ]
    assert story == [
        ("bucket.read", True),
        ("bucket.write", False),
        ("bucket.write", True),
        ("topic.publish", False),
        ("queue.delete", False),
    ]


async def test_warnings_of_preparing_and_running_are_told_together(bench: Bench) -> None:
    await bench.publish("order-1", {"prompt": "x", "odd": True})
    async with bench.working():
        told = await bench.settled("order-1")
    assert told.warnings == ["prepared oddly", "came out oddly"]


async def test_an_input_in_the_bucket_reaches_the_runtime(bench: Bench) -> None:
    await bench.results.write("cats/1.png", sample_png(), media_type="image/png")
    url = bench.results.url("cats/1.png")
    await bench.publish("order-1", {"init_images": [url]}, tasktype="image-to-image")
    async with bench.working():
        assert (await bench.settled("order-1")).status == "completed"


@pytest.mark.parametrize(
    ("content", "metadata", "error"),
    [
        ({"refused": True}, {}, "runtime_rejected"),
        ({"prompt": "x"}, {"tasktype": "text-to-symphony"}, "unknown_task_type"),
        ({"prompt": "x"}, {"runtime": "another"}, "wrong_runtime"),
        ({"init_images": ["s3://sdruntime-results/no.png"]}, {}, "reference_not_found"),
        ({"init_images": ["s3://elsewhere/no.png"]}, {}, "reference_forbidden"),
        ({"init_images": ["http://127.0.0.1/x.png"]}, {}, "reference_forbidden"),
    ],
)
async def test_a_job_at_fault_is_answered_stored_and_never_tried_again(
    bench: Bench, content: dict[str, object], metadata: dict[str, str], error: str
) -> None:
    await bench.queue.send(bench.body("order-1", content, **metadata), {})
    async with bench.working():
        told = await bench.settled("order-1")
    assert told.status == "failed"
    assert told.error is not None
    assert (told.error.type, told.error.retryable, told.error.final) == (error, False, True)
    assert [manifest.error for manifest in bench.manifests()] == [told.error]
    assert (bench.runtime.runs, bench.dead_letters) == ([], [])


async def test_what_the_runtime_answered_to_a_refused_job_is_in_the_manifest(bench: Bench) -> None:
    await bench.publish("order-1", {"refused": True})
    async with bench.working():
        await bench.settled("order-1")
    assert bench.manifests()[0].response == {"status": 422}


@pytest.mark.parametrize(
    ("body", "job_id", "context"),
    [
        ("this is no JSON", None, None),
        ("[1, 2, 3]", None, None),
        (json.dumps({"metadata": {"id": "order-1"}, "content": {}}), "order-1", None),
        (json.dumps({"metadata": {"id": "order-1", "context": 5}}), "order-1", 5),
        (json.dumps({"metadata": {"id": "../etc", "tasktype": "x"}}), None, None),
    ],
)
async def test_what_cannot_be_understood_is_kept_answered_and_acknowledged(
    bench: Bench, body: str, job_id: str | None, context: object
) -> None:
    await bench.queue.send(body, {})
    async with bench.working():
        told = await bench.settled()
    (key,) = bench.keys("quarantine/")
    kept = json.loads(bench.results.objects[key].data)
    assert told.output_url == bench.results.url(key)
    assert kept["body"] == body
    assert told.id == (job_id or kept["message_id"])
    assert (told.status, told.context) == ("failed", context)
    assert bench.manifests() == []


async def test_a_passing_failure_is_tried_again_in_place(bench: Bench) -> None:
    bench.runtime.script("order-1", failing(), failing(), drawing())
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt) == ("completed", 1)
    assert bench.runtime.runs == ["order-1"] * 3


async def test_a_failure_that_lasts_gives_the_message_back_later_and_later(bench: Bench) -> None:
    bench.max_receives = 3
    bench.runtime.script("order-1", *[failing()] * 6, drawing())
    await bench.publish("order-1")
    started = bench.cloud.clock.now()
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt) == ("completed", 3)
    waited = bench.cloud.clock.now() - started - RUN
    assert waited >= 2 + 4, "the delay doubles with each delivery"


async def test_the_last_failure_is_told_and_left_to_the_dead_letters(bench: Bench) -> None:
    bench.runtime.script("order-1", failing())
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert told.error is not None
    assert (told.status, told.attempt, told.error.final) == ("failed", 3, True)
    assert told.error.retryable
    assert len(bench.dead_letters) == 1
    assert bench.runtime.runs == ["order-1"] * 9
    assert len(bench.told()) == 1


async def test_without_dead_letters_the_last_failure_is_quarantined_and_acknowledged() -> None:
    bench = Bench(max_receives=None, policy={"max_receives": 2})
    bench.runtime.script("order-1", failing())
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt) == ("failed", 2)
    assert len(bench.keys("quarantine/")) == 1
    assert told.output_url == bench.manifests()[0].output_url


async def test_a_fault_of_ours_is_one_more_passing_failure(bench: Bench) -> None:
    bench.runtime.script("order-1", failing(ZeroDivisionError("surprise")), drawing())
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt) == ("completed", 2)


async def test_a_run_that_takes_too_long_is_interrupted_and_left_to_others() -> None:
    bench = Bench(policy={"run_timeout": 60.0})
    bench.runtime.script("order-1", drawing(3600.0), drawing())
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt) == ("completed", 2)
    assert bench.runtime.interrupted == ["order-1"]
    assert bench.runtime.runs == ["order-1"] * 2, "no second try in place"


async def test_the_time_limit_counts_from_when_the_runtime_is_free() -> None:
    bench = Bench(policy={"run_timeout": 15.0})
    bench.runtime.backlog = 1
    await bench.publish("order-1")
    await bench.publish("order-2")
    async with bench.working():
        for job_id in ("order-1", "order-2"):
            assert (await bench.answer(job_id)).status == "completed"
    assert bench.runtime.interrupted == []


async def test_a_message_that_the_runtime_has_no_place_for_is_given_back() -> None:
    bench = Bench(policy={"hold_limit": 20.0}, max_receives=9)
    bench.runtime.script("long", drawing(100.0))
    await bench.publish("long")
    await bench.publish("short")
    async with bench.working():
        await bench.answer("long")
        told = await bench.answer("short")
    assert told.status == "completed"
    assert told.attempt > 1


async def test_waiting_for_one_long_job_costs_one_delivery_at_most() -> None:
    bench = Bench(policy={"hold_limit": 20.0}, max_receives=9)
    bench.runtime.script("long", drawing(300.0))
    await bench.publish("long")
    await bench.publish("short")
    async with bench.working():
        assert (await bench.answer("short")).attempt == 2


async def test_what_is_given_back_goes_to_an_idle_pod() -> None:
    bench = Bench(policy={"hold_limit": 20.0}, max_receives=9)
    bench.runtime.script("long", drawing(300.0))
    await bench.publish("long")
    await bench.publish("short")
    idle = ScriptedRuntime()
    async with bench.working():
        await bench.pass_time(10)
        assert bench.runtime.prepared == ["long", "short"]
        began = asyncio.get_running_loop().time()
        async with bench.working(bench.agent(idle)):
            await bench.answer("short")
        assert asyncio.get_running_loop().time() - began < 30
    assert idle.runs == ["short"]


async def test_the_last_delivery_waits_for_the_runtime_as_long_as_it_takes() -> None:
    bench = Bench(policy={"hold_limit": 5.0}, max_receives=1)
    bench.runtime.script("long", drawing(100.0))
    await bench.publish("long")
    await bench.publish("short")
    async with bench.working():
        assert (await bench.answer("short")).status == "completed"


async def test_a_job_that_is_done_is_only_told_again(bench: Bench) -> None:
    await bench.publish("order-1")
    async with bench.working():
        first = await bench.settled("order-1")
        await bench.publish("order-1")
        again = await bench.answer("order-1", nth=2)
        await bench.emptied()
    assert bench.runtime.runs == ["order-1"]
    assert again == first.model_copy(update={"redelivered": True})


async def test_duplicates_at_the_same_time_are_made_once(bench: Bench) -> None:
    await bench.publish("order-1")
    await bench.publish("order-1")
    async with bench.working():
        await bench.answer("order-1", nth=2)
        await bench.emptied()
    assert bench.runtime.runs == ["order-1"]
    assert [told.redelivered for told in bench.told()] == [False, True]


async def test_the_same_id_with_another_content_is_another_job(bench: Bench) -> None:
    await bench.publish("order-1", {"prompt": "a cat"})
    await bench.publish("order-1", {"prompt": "a dog"})
    async with bench.working():
        await bench.answer("order-1", nth=2)
        await bench.emptied()
    assert bench.runtime.runs == ["order-1"] * 2
    assert len({manifest.output_url for manifest in bench.manifests()}) == 2


async def test_a_passing_failure_that_was_final_is_worked_on_anew_when_it_comes_again(
    bench: Bench,
) -> None:
    bench.runtime.script("order-1", *[failing()] * 9, drawing())
    await bench.publish("order-1")
    async with bench.working():
        await bench.settled("order-1")
        (dead,) = bench.dead_letters
        await bench.queue.send(dead, {})
        again = await bench.answer("order-1", nth=2)
        await bench.emptied()
    assert (again.status, again.redelivered) == ("completed", False)
    assert [manifest.status for manifest in bench.manifests()] == ["completed"]


async def test_a_message_whose_every_attempt_was_cut_off_is_not_run_once_more() -> None:
    bench = Bench(max_receives=None, policy={"max_receives": 2})
    await bench.publish("order-1")
    for _ in range(2):
        (message,) = await bench.queue.receive(1, wait=0, visibility_timeout=30)
        await bench.queue.extend(message, 0)
    async with bench.working():
        told = await bench.settled("order-1")
    assert told.error is not None
    assert (told.error.type, bench.runtime.runs) == ("attempts_exhausted", [])


async def test_an_offloaded_payload_is_read_from_the_bucket(bench: Bench) -> None:
    body = bench.body("order-1").encode()
    await bench.results.write("payloads/1.json", body, media_type="application/json")
    place = {"s3BucketName": bench.results.name, "s3Key": "payloads/1.json"}
    pointer = ["software.amazon.payloadoffloading.PayloadS3Pointer", place]
    await bench.queue.send(json.dumps(pointer), {})
    async with bench.working():
        assert (await bench.settled("order-1")).status == "completed"


async def test_a_payload_that_cannot_be_read_now_is_waited_for(bench: Bench) -> None:
    body = bench.body("order-1").encode()
    await bench.results.write("payloads/1.json", body, media_type="application/json")
    bench.cloud.faults.fail("bucket.read", Unavailable("slow down"), matching="payloads/")
    place = {"s3BucketName": bench.results.name, "s3Key": "payloads/1.json"}
    pointer = ["software.amazon.payloadoffloading.PayloadS3Pointer", place]
    await bench.queue.send(json.dumps(pointer), {})
    async with bench.working():
        assert (await bench.settled("order-1")).attempt == 2


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(EPOCH + seconds, UTC).isoformat()


async def test_a_job_that_expired_before_it_came_is_not_run(bench: Bench) -> None:
    await bench.publish("order-1", expires_at=moment(-1))
    async with bench.working():
        assert (await bench.settled("order-1")).status == "expired"
    assert (bench.runtime.prepared, bench.dead_letters) == ([], [])


async def test_a_job_that_expires_while_it_runs_is_interrupted(bench: Bench) -> None:
    await bench.publish("order-1", expires_at=moment(RUN / 2))
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, bench.runtime.interrupted) == ("expired", ["order-1"])
    assert [manifest.status for manifest in bench.manifests()] == ["expired"]


async def test_a_job_cancelled_before_it_came_is_not_run(bench: Bench) -> None:
    await bench.results.write("cancelled/order-1", b"", media_type="text/plain")
    bench.runtime.script("order-1", drawing(3600.0))
    await bench.publish("order-1")
    async with bench.working():
        assert (await bench.settled("order-1")).status == "cancelled"


async def test_a_job_cancelled_while_it_waits_never_reaches_the_runtime(bench: Bench) -> None:
    bench.runtime.script("long", drawing(50.0))
    await bench.publish("long")
    await bench.publish("order-1")
    async with bench.working():
        await bench.runtime.began.wait()
        await asyncio.sleep(20)
        await bench.results.write("cancelled/order-1", b"", media_type="text/plain")
        assert (await bench.answer("order-1")).status == "cancelled"
        assert (await bench.settled("long")).status == "completed"
    assert bench.runtime.runs == ["long"]


async def test_a_job_cancelled_while_it_runs_is_interrupted_within_the_poll(bench: Bench) -> None:
    bench.runtime.script("order-1", drawing(3600.0))
    await bench.publish("order-1")
    async with bench.working():
        await bench.runtime.began.wait()
        await asyncio.sleep(30)
        await bench.results.write("cancelled/order-1", b"", media_type="text/plain")
        cancelled = asyncio.get_running_loop().time()
        told = await bench.settled("order-1")
        assert asyncio.get_running_loop().time() <= cancelled + 2.1
    assert (told.status, bench.runtime.interrupted) == ("cancelled", ["order-1"])


async def test_a_runtime_that_says_it_took_too_long_is_not_tried_in_place(bench: Bench) -> None:
    bench.runtime.script("order-1", failing(TimedOut("no answer")), drawing())
    await bench.publish("order-1")
    async with bench.working():
        assert (await bench.settled("order-1")).attempt == 2
    assert len(bench.runtime.runs) == 2


async def test_a_payload_in_a_place_that_may_not_be_read_is_not_read(bench: Bench) -> None:
    elsewhere = bench.cloud.bucket("elsewhere")
    body = bench.body("order-1").encode()
    await elsewhere.write("payloads/1.json", body, media_type="application/json")
    place = {"s3BucketName": "elsewhere", "s3Key": "payloads/1.json"}
    pointer = ["software.amazon.payloadoffloading.PayloadS3Pointer", place]
    await bench.queue.send(json.dumps(pointer), {})
    async with bench.working():
        told = await bench.settled()
    assert told.error is not None
    assert (told.error.type, bench.runtime.runs) == ("payload_forbidden", [])
