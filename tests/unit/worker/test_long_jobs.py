"""Jobs that take an hour: their lease, their limit by task type, the end of the pod amid them."""

from typing import ClassVar

import pytest

from queue_agent.settings.agent import Settings
from queue_agent.wire.errors import SettingsError
from worker_bench import Bench, ScriptedRuntime, drawing

pytestmark = pytest.mark.looptime

HOUR = 3600.0


class FilmingRuntime(ScriptedRuntime):
    """Makes videos, too."""

    task_types: ClassVar[frozenset[str]] = frozenset({"text-to-image", "text-to-video"})


def bench_of(**policy: object) -> Bench:
    return Bench(policy=policy, runtime=FilmingRuntime())


async def test_a_job_of_an_hour_is_made_once_under_a_lease_of_seconds() -> None:
    bench = bench_of(lease=30.0, run_timeouts={"text-to-video": 2 * HOUR})
    bench.runtime.script("clip", drawing(HOUR, progress=(0.25, 0.5, 0.75)))
    await bench.publish("clip", tasktype="text-to-video")
    idle = FilmingRuntime()
    async with bench.working(bench.agent(), bench.agent(idle)):
        told = await bench.settled("clip")
    assert (told.status, told.attempt) == ("completed", 1)
    assert [*bench.runtime.runs, *idle.runs] == ["clip"]
    assert told.timings.run == pytest.approx(HOUR, abs=1)


async def test_each_task_type_has_its_own_limit() -> None:
    bench = bench_of(run_timeout=60.0, run_timeouts={"text-to-video": 2 * HOUR})
    for job_id in ("clip", "picture"):
        bench.runtime.script(job_id, drawing(HOUR), drawing())
    async with bench.working():
        await bench.publish("picture")
        picture = await bench.settled("picture")
        await bench.publish("clip", tasktype="text-to-video")
        clip = await bench.settled("clip")
    assert (picture.status, picture.attempt) == ("completed", 2)
    assert (clip.status, clip.attempt) == ("completed", 1)
    assert bench.runtime.interrupted == ["picture"]


async def test_a_task_type_may_have_a_shorter_limit_than_the_others() -> None:
    bench = bench_of(run_timeout=2 * HOUR, run_timeouts={"text-to-image": 60.0})
    bench.runtime.script("picture", drawing(HOUR), drawing())
    await bench.publish("picture")
    async with bench.working():
        assert (await bench.settled("picture")).attempt == 2
    assert bench.runtime.interrupted == ["picture"]


async def test_a_pod_that_must_go_finishes_what_its_grace_allows() -> None:
    bench = bench_of(run_timeout=2 * HOUR, grace=HOUR)
    bench.runtime.script("clip", drawing(HOUR))
    await bench.publish("clip")
    async with bench.working():
        await bench.pass_time(60)
        assert bench.runtime.runs == ["clip"]
    assert bench.runtime.interrupted == []
    assert (await bench.answer("clip")).attempt == 1


async def test_a_pod_that_must_go_too_early_gives_the_job_back_at_once() -> None:
    bench = bench_of(run_timeout=2 * HOUR, grace=50.0, lease=600.0)
    bench.runtime.script("clip", drawing(HOUR))
    await bench.publish("clip")
    async with bench.working():
        await bench.pass_time(60)
    assert bench.runtime.interrupted == ["clip"]
    other = ScriptedRuntime()
    other.script("clip", drawing(HOUR))
    async with bench.working(bench.agent(other)):
        await bench.pass_time(5)
        assert other.runs == ["clip"], "whoever is there need not wait for the lease to end"
        assert (await bench.settled("clip")).attempt == 2


def settings(text: str) -> Settings:
    return Settings.load(
        {
            "QUEUE_AGENT_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs",
            "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:done",
            "QUEUE_AGENT_BUCKET": "images",
            "QUEUE_AGENT_RUNTIME": "openai",
            "QUEUE_AGENT_RUN_TIMEOUTS": text,
        }
    )


def test_the_limits_are_read_by_task_type() -> None:
    found = settings("text-to-video=3600, image-to-3d=900.5").run_timeout_by_type
    assert found == {"text-to-video": 3600.0, "image-to-3d": 900.5}
    assert settings("").run_timeout_by_type == {}


@pytest.mark.parametrize(
    "text",
    ["3600", "video=", "video=an hour", "video=-1", "video=0", "a=1,a=2", "a b=1", "=5", "a=1e3"],
)
def test_limits_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="QUEUE_AGENT_RUN_TIMEOUTS"):
        settings(text)
