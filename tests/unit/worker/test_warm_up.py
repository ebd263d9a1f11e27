"""The job that warms a runtime up before the agent is ready."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from queue_agent.runtime import Output, Prepared, ProgressCallback, Readiness
from queue_agent.telemetry.metrics import Metrics
from queue_agent.wire.errors import (
    QueueAgentError,
    Rejected,
    RuntimeSick,
    RuntimeStuck,
    Unavailable,
)
from queue_agent.wire.job import Job
from worker_bench import RUN, Bench, ScriptedRuntime, drawing, failing

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

WARM_UP = Job.model_validate(
    {"metadata": {"id": "warm-up", "tasktype": "text-to-image"}, "content": {"prompt": "x"}}
)


def warmed(**policy: Any) -> Bench:
    return Bench(policy={"warm_up": WARM_UP, **policy})


def warnings_in(logs: list[Any]) -> list[Any]:
    return [entry for entry in logs if entry["event"].startswith("warm-up failed")]


async def test_it_runs_before_the_first_job_and_readiness_waits_for_it() -> None:
    bench = warmed()
    bench.runtime.script("warm-up", drawing(60))
    agent = bench.agent()
    await bench.publish("a")
    async with bench.working(agent):
        await bench.pass_time(30)
        assert (await agent.readiness())["runtime"] == "starting: warming up"
        assert bench.operations()["receive"] == 0, "no message is held meanwhile"
        await bench.settled("a")
        assert (await agent.readiness())["runtime"] is None
    assert bench.runtime.runs == ["warm-up", "a"]


async def test_nothing_of_it_is_stored_or_told() -> None:
    bench = warmed()
    agent = bench.agent()
    async with bench.working(agent):
        await bench.pass_time(60)
    assert bench.runtime.runs == ["warm-up"]
    assert bench.keys() == []
    assert list(bench.topic.published) == []


async def test_how_long_it_took_is_logged_and_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[float] = []
    monkeypatch.setattr(Metrics, "warmed_up", lambda _, seconds: measured.append(seconds))
    bench = warmed()
    with capture_logs() as logs:
        async with bench.working():
            await bench.pass_time(60)
    assert measured == pytest.approx([RUN])
    assert [entry["seconds"] for entry in logs if entry["event"] == "warmed up"] == [RUN]


async def test_it_runs_once_after_each_start_of_the_runtime() -> None:
    bench = warmed()
    async with bench.working():
        for number in range(3):
            await bench.publish(f"job-{number}")
            await bench.settled(f"job-{number}")
    assert bench.runtime.runs == ["warm-up", "job-0", "job-1", "job-2"]


async def test_after_a_restart_what_is_held_waits_for_it() -> None:
    bench = warmed()
    bench.runtime.script("killer", bench.runtime.killing(after=5, back_after=20), drawing())
    async with bench.working():
        await bench.publish("killer")
        assert (await bench.settled("killer")).status == "completed"
    assert bench.runtime.runs == ["warm-up", "killer", "warm-up", "killer"]


async def test_a_restart_that_only_a_probe_saw_is_followed_by_it() -> None:
    bench = warmed()
    agent = bench.agent()
    async with bench.working(agent):
        await bench.publish("a")
        await bench.settled("a")
        bench.runtime.up = False
        await agent.readiness()
        bench.runtime.up = True
        await bench.pass_time(60)
        await bench.publish("b")
        await bench.settled("b")
    assert bench.runtime.runs == ["warm-up", "a", "warm-up", "b"]


async def test_a_job_that_comes_just_after_a_restart_waits_for_it() -> None:
    bench = warmed()
    agent = bench.agent()
    async with bench.working(agent):
        await bench.publish("a")
        await bench.settled("a")
        bench.runtime.up = False
        await agent.readiness()
        bench.runtime.up = True
        await bench.publish("b")
        await bench.settled("b")
    assert bench.runtime.runs == ["warm-up", "a", "warm-up", "b"]


async def test_a_restart_that_nobody_saw_is_told_by_the_run_that_was_lost() -> None:
    bench = warmed()
    bench.runtime.notice = lambda: 0.5
    bench.runtime.script("a", bench.runtime.killing(after=5, back_after=0.1), drawing())
    async with bench.working():
        await bench.publish("a")
        assert (await bench.settled("a")).status == "completed"
    assert bench.runtime.runs == ["warm-up", "a", "warm-up", "a"]


async def test_what_was_known_to_be_ready_a_moment_ago_is_asked_anew() -> None:
    bench = warmed()
    agent = bench.agent()
    async with bench.working(agent):
        await bench.pass_time(RUN + 5)
        await agent.health.until_ready()
        bench.runtime.up = False
        await agent.readiness()
        bench.runtime.up = True
        await agent.health.until_ready()
    assert bench.runtime.runs == ["warm-up", "warm-up"]


async def test_a_runtime_that_was_only_too_busy_to_answer_is_not_warmed_up_beside_its_job() -> None:
    bench = warmed()
    bench.runtime.script("long", drawing(100))
    agent = bench.agent()
    async with bench.working(agent):
        await bench.publish("long")
        await bench.pass_time(50)
        bench.runtime.up = False
        await agent.readiness()
        bench.runtime.up = True
        await bench.settled("long")
        await bench.publish("b")
        await bench.settled("b")
    assert bench.runtime.runs == ["warm-up", "long", "b"]


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("out of memory", type="out_of_memory"),
        Rejected("no such model"),
        ValueError("a fault of the adapter"),
    ],
)
async def test_one_that_fails_is_warned_of_once_and_the_agent_works(error: Exception) -> None:
    bench = warmed()
    bench.runtime.script("warm-up", failing(error))
    with capture_logs() as logs:
        async with bench.working():
            await bench.publish("a")
            assert (await bench.settled("a")).status == "completed"
    (warning,) = warnings_in(logs)
    assert warning["log_level"] == "warning"
    assert warning["reason"]
    assert bench.runtime.runs == ["warm-up", "a"]


async def test_one_that_hangs_ends_at_the_time_limit() -> None:
    bench = warmed(run_timeout=100.0)
    bench.runtime.script("warm-up", drawing(10_000))
    with capture_logs() as logs:
        async with bench.working():
            await bench.publish("a")
            assert (await bench.settled("a")).status == "completed"
    assert bench.runtime.interrupted == ["warm-up"]
    (warning,) = warnings_in(logs)
    assert "100 s" in warning["reason"]


@pytest.mark.parametrize("error", [RuntimeSick("no context"), RuntimeStuck("runs on")])
async def test_one_that_breaks_the_runtime_is_not_repeated_after_its_restart(
    error: QueueAgentError,
) -> None:
    bench = warmed()
    bench.runtime.script("warm-up", failing(error))
    agent = bench.agent()
    await bench.publish("a")
    async with bench.working(agent):
        await bench.pass_time(40)
        wanted, told = await agent.health.to_restart()
        assert wanted
        assert told.reason == error.message
        bench.runtime.die(back_after=20)
        assert (await bench.settled("a")).status == "completed"
    assert bench.runtime.runs == ["warm-up", "a"]


async def test_one_that_ends_the_runtime_does_so_once() -> None:
    bench = warmed()
    bench.runtime.script("warm-up", bench.runtime.killing(after=5, back_after=20))
    await bench.publish("a")
    async with bench.working():
        assert (await bench.settled("a")).status == "completed"
    assert bench.runtime.runs == ["warm-up", "a"]


async def test_a_passing_failure_is_tried_again_after_the_next_start() -> None:
    bench = warmed()
    bench.runtime.script("warm-up", failing(Unavailable("busy")), drawing())
    agent = bench.agent()
    async with bench.working(agent):
        await bench.pass_time(60)
        bench.runtime.up = False
        await agent.readiness()
        bench.runtime.up = True
        await bench.pass_time(60)
    assert bench.runtime.runs == ["warm-up", "warm-up"]


class Refusing(ScriptedRuntime):
    """Says that it is ready, and lets no job in."""

    asked = 0

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        self.asked += prepared.job.id == "warm-up"
        self.up = False
        try:
            return await super().run(prepared, progress)
        finally:
            self.up = True


async def test_a_runtime_that_refuses_the_job_is_not_asked_for_ever() -> None:
    bench = warmed()
    bench.runtime = Refusing()
    agent = bench.agent()
    async with bench.working(agent):
        await bench.pass_time(10)
        assert (await agent.readiness())["runtime"] == "starting: warming up"
        await bench.pass_time(600)
        assert (await agent.readiness())["runtime"] is None
    assert 3 < bench.runtime.asked < 50


async def test_a_drain_interrupts_it() -> None:
    bench = warmed()
    bench.runtime.script("warm-up", drawing(10_000))
    began = asyncio.get_running_loop().time()
    async with bench.working():
        await bench.runtime.began.wait()
    assert bench.runtime.interrupted == ["warm-up"]
    assert asyncio.get_running_loop().time() < began + 5


async def test_without_one_the_first_job_runs_at_once() -> None:
    bench = Bench()
    async with bench.working():
        await bench.publish("a")
        await bench.settled("a")
    assert bench.runtime.runs == ["a"]


class Lingering(ScriptedRuntime):
    """Goes on with the warm-up for so many seconds after it was told to stop."""

    lingers = 0.0
    asked = 0
    _until: float | None = None

    async def still_runs(self, prepared: Prepared) -> bool | None:
        assert prepared.job.id == "warm-up"
        self.asked += 1
        now = asyncio.get_running_loop().time()
        self._until = now + self.lingers if self._until is None else self._until
        if self.asked == 2:
            raise Unavailable("it does not answer now")
        return now < self._until

    async def ready(self) -> bool | Readiness:
        return True


async def test_no_job_comes_before_a_warm_up_that_was_cut_off_is_over() -> None:
    bench = warmed(run_timeout=20.0)
    bench.runtime = runtime = Lingering()
    runtime.lingers = 30.0
    runtime.script("warm-up", drawing(1000))
    await bench.publish("a")
    async with bench.working():
        await bench.pass_time(45)
        assert runtime.runs == ["warm-up"]
        await bench.settled("a")
    assert runtime.asked > 50


async def test_a_warm_up_that_goes_on_for_ever_shows_that_the_runtime_is_stuck() -> None:
    bench = warmed(run_timeout=20.0)
    bench.runtime = runtime = Lingering()
    runtime.lingers = 1e9
    runtime.script("warm-up", drawing(1000))
    agent = bench.agent()
    await bench.publish("a")
    async with bench.working(agent):
        await bench.pass_time(100)
        assert str((await agent.readiness())["runtime"]).startswith("stuck: ")
        assert runtime.runs == ["warm-up"], "no job is submitted behind it"


async def test_a_warm_up_is_cleaned_up_after_however_it_ends() -> None:
    for end in (drawing(), failing(Rejected("no")), drawing(1e9)):
        bench = warmed(run_timeout=20.0)
        bench.runtime.script("warm-up", end)
        async with bench.working():
            await bench.pass_time(100)
        assert bench.runtime.cleaned == [("warm-up", False)]


async def test_a_runtime_that_went_away_with_the_warm_up_is_not_asked_to_clean_up() -> None:
    bench = warmed()
    bench.runtime.script("warm-up", bench.runtime.killing(after=5, back_after=5), drawing())
    async with bench.working():
        await bench.pass_time(100)
    assert bench.runtime.cleaned == []
