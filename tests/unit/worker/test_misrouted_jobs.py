"""A queue that gets jobs for other runtimes is told of, once and then by number."""

import pytest
from structlog.testing import capture_logs

from worker_bench import NAME, Bench

pytestmark = pytest.mark.looptime


async def test_jobs_for_other_runtimes_are_warned_of_once_a_minute_with_what_to_do() -> None:
    bench = Bench()
    with capture_logs() as logs:
        async with bench.working():
            for number in range(5):
                job_id = f"other-{number}"
                await bench.publish(job_id, runtime=f"comfy-{number % 2}")
                assert (await bench.settled(job_id)).status == "failed"
            await bench.publish("mine")
            await bench.settled("mine")
            await bench.pass_time(61)
            await bench.publish("later", runtime="comfy-0")
            await bench.settled("later")
    first, second = [log for log in logs if log["event"] == "jobs for other runtimes"]
    assert (first["runtimes"], first["count"], first["log_level"]) == (["comfy-0"], 1, "warning")
    assert f'{{"runtime": ["{NAME}"]}}' in first["reason"]
    assert (second["runtimes"], second["count"]) == (["comfy-0", "comfy-1"], 5)


async def test_jobs_of_its_own_and_those_that_name_none_are_not_warned_of() -> None:
    bench = Bench()
    with capture_logs() as logs:
        async with bench.working():
            await bench.publish("mine")
            await bench.settled("mine")
    assert [log for log in logs if log["event"] == "jobs for other runtimes"] == []
