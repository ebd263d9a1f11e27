"""What a run has done is kept for the attempt that goes on with it."""

import asyncio
from typing import ClassVar

import pytest

from queue_agent.runtime import Checkpoint, Output, Prepared, Progress, ProgressCallback
from queue_agent.wire.errors import Rejected, RunLost, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.layout import CheckpointPlace, checkpoint_key
from worker_bench import NAME, Bench, ScriptedRuntime, drawing, failing

pytestmark = pytest.mark.looptime

STEPS = 20
SECONDS = 1.0
"""Of a step."""


class ResumableRuntime(ScriptedRuntime):
    """Takes steps, from where a checkpoint says; a checkpoint is the number of steps in words."""

    checkpoints: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.usually = self.stepping
        self.done = 0
        """Steps of the run under way, those that it was given included."""
        self.taken: list[int] = []
        """Each step that was taken."""
        self.begun_with: list[bytes | None] = []
        self.refusal: Exception | None = None
        """What asking for a checkpoint raises."""
        self.hangs = False
        self.stops: list[bool] = []
        """Of each question, whether the run was to end with it."""
        self.size = 0
        """How large checkpoints are, at least."""

    async def stepping(self, prepared: Prepared, report: ProgressCallback) -> Output:
        self.begun_with.append(prepared.checkpoint)
        given = prepared.checkpoint or b""
        self.done = saved = int(given) if given.strip().isdigit() else 0
        for step in range(saved, STEPS):
            report(Progress(step / STEPS, step=step, steps=STEPS))
            await asyncio.sleep(SECONDS)
            self.taken.append(step)
            self.done = step + 1
        output = await drawing(0)(prepared, report)
        return Output(output.artifacts, steps_saved=saved)

    async def checkpoint(self, prepared: Prepared, *, stop: bool) -> Checkpoint | None:
        assert prepared.job.id in self.runs
        self.stops.append(stop)
        if self.refusal is not None:
            raise self.refusal
        if self.hangs:
            await asyncio.Event().wait()
        done = self.done
        return Checkpoint(f"{done}".rjust(self.size).encode(), done) if done else None


@pytest.fixture
def runtime() -> ResumableRuntime:
    return ResumableRuntime()


def bench_of(runtime: ResumableRuntime, *, every: int = 0, limit: int = 1000) -> Bench:
    policy = {"grace": 0.0, "checkpoint_limit": limit, "checkpoint_every": every}
    return Bench(runtime=runtime, policy=policy, max_receives=5)


async def keep(bench: Bench, done: int, attempt: int, data: bytes | None = None) -> None:
    """Write what an attempt at the job `a` has done to the bucket."""
    job = Job.model_validate_json(bench.body("a"))
    key = checkpoint_key(NAME, job, CheckpointPlace(done, attempt))
    await bench.results.write(key, data or b"%d" % done, media_type="application/octet-stream")


def kept(bench: Bench) -> list[str]:
    return bench.keys("checkpoints/")


async def ended_after(bench: Bench, seconds: float) -> None:
    """An agent that is told to stop while it works on the job."""
    async with bench.working():
        await bench.runtime.began.wait()
        await bench.pass_time(seconds)
    bench.runtime.began.clear()


async def killed_after(bench: Bench, runtime: ResumableRuntime, seconds: float) -> None:
    """An agent that is gone from one moment to the next."""
    agent = asyncio.create_task(bench.agent().run(asyncio.Event()))
    await bench.runtime.began.wait()
    await bench.pass_time(seconds)
    before = kept(bench)
    runtime.refusal = Unavailable("nobody is there to ask")
    agent.cancel()
    await asyncio.wait({agent})
    assert kept(bench) == before
    runtime.refusal = None
    bench.runtime.began.clear()


async def test_a_job_whose_agent_must_end_goes_on_where_it_was(runtime: ResumableRuntime) -> None:
    bench = bench_of(runtime)
    await bench.publish("a")
    await ended_after(bench, 7.5)
    assert len(kept(bench)) == 1
    assert kept(bench)[0].startswith(f"checkpoints/{NAME}/a-")
    async with bench.working():
        answer = await bench.settled("a")
    assert answer.status == "completed"
    assert runtime.begun_with == [None, b"7"]
    assert runtime.taken == list(range(STEPS)), "none twice"
    assert kept(bench) == []


async def test_a_job_can_be_taken_up_more_than_once(runtime: ResumableRuntime) -> None:
    bench = bench_of(runtime)
    await bench.publish("a")
    await ended_after(bench, 3.5)
    await ended_after(bench, 3.5)
    assert len(kept(bench)) == 1, "what is less far is removed"
    async with bench.working():
        await bench.settled("a")
    assert runtime.begun_with == [None, b"3", b"6"]
    assert kept(bench) == []


async def test_what_is_kept_every_few_steps_survives_a_kill(runtime: ResumableRuntime) -> None:
    bench = bench_of(runtime, every=4)
    await bench.publish("a")
    await killed_after(bench, runtime, 10.5)
    async with bench.working():
        answer = await bench.settled("a")
    assert answer.status == "completed"
    assert runtime.begun_with == [None, b"8"]
    assert len(runtime.taken) <= STEPS + 4
    assert not any(runtime.stops[:2])
    assert kept(bench) == []


async def test_a_runtime_that_died_is_given_what_was_kept_of_its_runs(
    runtime: ResumableRuntime,
) -> None:
    bench = bench_of(runtime, every=4)
    bench.policy["grace"] = 50.0
    await bench.publish("a")
    async with bench.working():
        await runtime.began.wait()
        await bench.pass_time(10.5)
        runtime.die(back_after=5)
        answer = await bench.settled("a")
    assert answer.status == "completed"
    assert runtime.begun_with == [None, b"8"]


@pytest.mark.parametrize("trouble", ["refused", "hangs", "too large", "off", "no bucket"])
async def test_a_job_without_its_checkpoint_begins_anew(
    runtime: ResumableRuntime, trouble: str
) -> None:
    bench = bench_of(runtime, limit=0 if trouble == "off" else 1000)
    runtime.refusal = Unavailable("no answer") if trouble == "refused" else None
    runtime.hangs = trouble == "hangs"
    runtime.size = 2000 if trouble == "too large" else 0
    await bench.publish("a")
    await ended_after(bench, 7.5)
    if trouble == "no bucket":
        for key in kept(bench):
            await bench.results.delete(key)
    assert kept(bench) == []
    async with bench.working():
        answer = await bench.settled("a")
    assert answer.status == "completed"
    assert runtime.begun_with == [None, None]


async def test_a_cancelled_job_leaves_no_checkpoint(runtime: ResumableRuntime) -> None:
    bench = bench_of(runtime)
    bench.policy["cancel_poll"] = 1.0
    await bench.publish("a")
    async with bench.working():
        await runtime.began.wait()
        await bench.pass_time(5)
        await bench.results.write("cancelled/a", b"", media_type="text/plain")
        answer = await bench.settled("a")
    assert answer.status == "cancelled"
    assert runtime.interrupted == ["a"]
    assert runtime.stops == [], "nobody needs what was done of it"
    assert kept(bench) == []


async def test_an_agent_whose_job_another_goes_on_with_asks_for_nothing_more(
    runtime: ResumableRuntime,
) -> None:
    bench = bench_of(runtime, every=2)
    await bench.publish("a")
    async with bench.working():
        await runtime.began.wait()
        await bench.pass_time(2.5)
        asked = len(runtime.stops)
        await keep(bench, done=15, attempt=2)
        await bench.pass_time(10)
        assert len(runtime.stops) == asked + 1, "by that it has learned of the other"
    assert True not in runtime.stops
    runtime.taken.clear()
    async with bench.working():
        await bench.settled("a")
    assert runtime.begun_with == [None, b"15"]
    assert runtime.taken == list(range(15, STEPS))
    assert kept(bench) == []


async def test_a_job_that_was_sent_anew_goes_on_where_it_was(runtime: ResumableRuntime) -> None:
    bench = bench_of(runtime)
    await keep(bench, done=12, attempt=4)
    await bench.publish("a")
    await ended_after(bench, 3.5)
    assert [CheckpointPlace.of(key) for key in kept(bench)] == [CheckpointPlace(15, 5)]
    async with bench.working():
        await bench.settled("a")
    assert runtime.begun_with == [b"12", b"15"]


async def test_a_runtime_that_cannot_use_what_was_kept_has_its_own_kept(
    runtime: ResumableRuntime,
) -> None:
    bench = bench_of(runtime)
    await keep(bench, done=12, attempt=1, data=b"of other weights")
    await bench.publish("a")
    await ended_after(bench, 3.5)
    async with bench.working():
        await bench.settled("a")
    assert runtime.begun_with == [b"of other weights", b"3"]


async def test_jobs_do_not_get_each_others_checkpoints(runtime: ResumableRuntime) -> None:
    bench = bench_of(runtime)
    await bench.publish("a")
    await ended_after(bench, 7.5)
    await bench.publish("a", {"prompt": "another picture"})
    async with bench.working():
        await bench.answer("a", nth=2)
        await bench.emptied()
    assert sorted(map(str, runtime.begun_with)) == sorted(map(str, [None, b"7", None]))


@pytest.mark.parametrize("end", ["cancelled", "expired", "refused", "done before"])
async def test_a_job_that_ends_before_it_is_taken_up_leaves_no_checkpoint(
    runtime: ResumableRuntime, end: str
) -> None:
    bench = bench_of(runtime)
    content = {"prompt": "a", "refused": end == "refused"}
    if end == "done before":
        await bench.publish("a", content)
        async with bench.working():
            await bench.settled("a")
        runtime.taken.clear()
    expiry = {"expires_at": "2026-01-01T00:00:10Z"} if end == "expired" else {}
    await bench.publish("a", content, **expiry)
    await bench.queue.receive(1, wait=1, visibility_timeout=1)  # by an agent that is gone
    job = Job.model_validate_json(bench.body("a", content))
    for done in (3, 8):
        key = checkpoint_key(NAME, job, CheckpointPlace(done, 1))
        await bench.results.write(key, b"%d" % done, media_type="application/octet-stream")
    if end == "cancelled":
        await bench.results.write("cancelled/a", b"", media_type="text/plain")
    await bench.pass_time(20)
    async with bench.working():
        await bench.answer("a", nth=2 if end == "done before" else 1)
    assert runtime.taken == []
    assert kept(bench) == []


async def test_a_job_that_began_anew_since_nothing_could_be_read_leaves_no_checkpoint(
    runtime: ResumableRuntime,
) -> None:
    bench = bench_of(runtime)
    await bench.publish("a")
    await ended_after(bench, 7.5)
    bench.cloud.faults.fail("bucket.read", Unavailable("not now"), matching="checkpoints/")
    async with bench.working():
        await bench.settled("a")
    assert runtime.begun_with == [None, None]
    assert kept(bench) == []


@pytest.mark.parametrize("failure", [Rejected("no"), Unavailable("500"), RunLost("it broke")])
async def test_no_job_fails_by_a_checkpoint_by_which_the_runtime_does(
    runtime: ResumableRuntime, failure: Exception
) -> None:
    bench = bench_of(runtime)

    async def cannot_stand_it(prepared: Prepared, report: ProgressCallback) -> Output:
        if prepared.checkpoint == b"poison":
            runtime.begun_with.append(prepared.checkpoint)
            raise failure
        return await runtime.stepping(prepared, report)

    runtime.usually = cannot_stand_it
    await keep(bench, done=12, attempt=1, data=b"poison")
    await bench.publish("a")
    async with bench.working():
        answer = await bench.settled("a")
    assert answer.status == "completed"
    assert answer.attempt == 1
    assert runtime.begun_with == [b"poison", None]
    assert kept(bench) == []


async def test_a_job_that_no_run_can_end_fails_by_its_own_words(runtime: ResumableRuntime) -> None:
    bench = bench_of(runtime)
    runtime.usually = failing(Rejected("never"))
    await keep(bench, done=12, attempt=1)
    await bench.publish("a")
    async with bench.working():
        answer = await bench.settled("a")
    assert answer.error is not None
    assert answer.error.message == "never"
    assert runtime.runs == ["a", "a"], "once with what was kept, once without"
    assert kept(bench) == []


async def test_a_run_that_is_tried_again_in_place_goes_on_from_what_was_kept_of_it(
    runtime: ResumableRuntime,
) -> None:
    bench = bench_of(runtime, every=4)
    failed = asyncio.Event()

    async def failing_once(prepared: Prepared, report: ProgressCallback) -> Output:
        try:
            async with asyncio.timeout(None if failed.is_set() else 10.5):
                return await runtime.stepping(prepared, report)
        except TimeoutError:
            failed.set()
            raise Unavailable("a step went wrong") from None

    runtime.usually = failing_once
    await bench.publish("a")
    async with bench.working():
        answer = await bench.settled("a")
    assert answer.attempt == 1
    assert runtime.begun_with == [None, b"8"]


async def test_a_checkpoint_larger_than_is_read_gives_way_to_what_is_less_far(
    runtime: ResumableRuntime,
) -> None:
    bench = bench_of(runtime)
    await keep(bench, done=12, attempt=1, data=b"12".rjust(2000))
    await bench.publish("a")
    await ended_after(bench, 3.5)
    async with bench.working():
        await bench.settled("a")
    assert runtime.begun_with == [None, b"3"]


async def test_tenants_jobs_of_one_id_and_content_share_no_checkpoint(
    runtime: ResumableRuntime,
) -> None:
    bench = bench_of(runtime)
    await bench.publish("a", prefix="shop-1")
    await ended_after(bench, 7.5)
    others = kept(bench)
    await bench.queue.receive(1, wait=1, visibility_timeout=60)  # that it is the other's turn
    await bench.publish("a", prefix="shop-1/a")
    async with bench.working():
        await bench.answer("a")
    assert runtime.begun_with == [None, None]
    assert kept(bench) == others
    async with bench.working():
        await bench.answer("a", nth=2)
    assert runtime.begun_with == [None, None, b"7"]
    assert kept(bench) == []
