"""`queue-agent status` and `list`: what is told of jobs that ended, and of those that have not."""

import asyncio
import json

import pytest

from queue_agent.cli.status import show_latest, status
from queue_agent.client import Client, make_job
from queue_agent.cloud.memory import Clock, ManualClock, MemoryCloud
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.layout import ResultKeys, cancel_marker, pauses_key
from queue_agent.wire.notification import ErrorReport, Notification
from queue_agent.wire.pause import Pause, Pauses
from queue_agent.wire.result import Result


class Stage:
    def __init__(self, clock: Clock | None = None) -> None:
        self.cloud = MemoryCloud(clock)
        self.place = self.cloud.deploy("sd")
        self.bucket = self.cloud.bucket(self.place.bucket)
        self.client = Client(
            self.cloud,
            notification_topic=self.place.notification_topic,
            bucket=self.place.bucket,
        )

    async def write(self, key: str, body: bytes = b"") -> None:
        await self.bucket.write(key, body, media_type="text/plain")

    async def end(self, job: Job, *, error: ErrorReport | None = None) -> None:
        result = Result(
            runtime="sd",
            id=job.id,
            status="failed" if error else "completed",
            result=error is None,
            error=error,
            digest=job.digest,
        )
        await self.write(ResultKeys.of(job).manifest, result.to_json().encode())

    async def tell(self, job_id: str, progress: float) -> None:
        news = Notification(
            runtime="sd", id=job_id, status="running", result=False, progress=progress
        )
        topic = self.cloud.topic(self.place.notification_topic)
        await topic.publish(news.to_json(), news.attributes())

    async def status(self, job_id: str, *, listens: bool = False) -> int:
        return await status(self.client, job_id, prefix="output", output=None, listens=listens)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def a_job(job_id: str, **metadata: str) -> Job:
    return make_job({"prompt": job_id}, job_id=job_id, runtime="sd", **metadata)  # type: ignore[arg-type]


Captured = pytest.CaptureFixture[str]


async def test_an_id_of_which_nothing_is_known_is_told_as_such(
    stage: Stage, capsys: Captured
) -> None:
    await stage.end(a_job("order-10"))
    await stage.write(cancel_marker("order-10"))
    await stage.write(ResultKeys.of(a_job("order-10")).claim)
    assert await stage.status("order-1") == 4
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith("Nothing is known of order-1 below output/: ")
    assert "nobody submitted a job with this id and prefix" in errors


@pytest.mark.parametrize("kind", ["claim", "preview"])
async def test_a_job_that_an_agent_works_on_is_told_as_such(
    stage: Stage, capsys: Captured, kind: str
) -> None:
    keys = ResultKeys.of(a_job("order-1"))
    await stage.write({"claim": keys.claim, "preview": keys.preview}[kind])
    assert await stage.status("order-1") == 3
    assert capsys.readouterr().err == "order-1 has not ended: an agent works on it.\n"


async def test_a_job_that_is_to_be_given_up_is_told_as_such(stage: Stage, capsys: Captured) -> None:
    await stage.client.cancel("order-1")
    assert await stage.status("order-1") == 3
    assert "asked to be given up" in capsys.readouterr().err


@pytest.mark.looptime
async def test_the_progress_of_a_job_that_runs_is_listened_for(
    stage: Stage, capsys: Captured
) -> None:
    asked = asyncio.create_task(stage.status("order-1", listens=True))
    await asyncio.sleep(1)
    await stage.tell("order-2", 0.9)
    await stage.tell("order-1", 0.4)
    assert await asked == 3
    out, errors = capsys.readouterr()
    assert json.loads(out)["progress"] == 0.4
    assert errors == "order-1 has not ended: 40%.\n"


@pytest.mark.looptime
async def test_a_job_that_ends_while_its_progress_is_listened_for_has_ended(
    stage: Stage, capsys: Captured
) -> None:
    asked = asyncio.create_task(stage.status("order-1", listens=True))
    await asyncio.sleep(1)
    await stage.end(a_job("order-1"))
    assert await asked == 0
    assert json.loads(capsys.readouterr().out)["status"] == "completed"


async def test_without_the_right_to_listen_the_bucket_tells(stage: Stage, capsys: Captured) -> None:
    stage.cloud.faults.fail("topic.subscribe", Unavailable("no", type="cloud_unauthorized"))
    await stage.write(ResultKeys.of(a_job("order-1")).claim)
    assert await stage.status("order-1", listens=True) == 3
    assert "an agent works on it" in capsys.readouterr().err


async def test_jobs_that_ended_are_listed_by_prefix_with_images_or_why_not(
    stage: Stage, capsys: Captured
) -> None:
    await stage.end(a_job("order-1"))
    bad = ErrorReport.of(Rejected("No \x1b[31msampler\nlike this."))
    await stage.end(a_job("order-2"), error=bad)
    await stage.end(a_job("other", prefix="elsewhere"))
    await stage.write("output/order-3/notes.out", b"no manifest")
    await show_latest(stage.client, prefix="output", limit=20, as_json=False)
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "order-1\tcompleted\tsd\t0 images",
        "order-2\tfailed\tsd\tNo \ufffd[31msampler like this.",
    ]
    await show_latest(stage.client, prefix="elsewhere", limit=20, as_json=True)
    assert json.loads(capsys.readouterr().out)["id"] == "other"
    await show_latest(stage.client, prefix="nowhere", limit=20, as_json=True)
    assert capsys.readouterr().err == "No job with the prefix nowhere has ended.\n"


async def test_the_latest_jobs_are_listed_first_and_no_more_than_asked_for(
    capsys: Captured,
) -> None:
    clock = ManualClock()
    stage = Stage(clock)
    for job_id in ("b", "c", "a"):
        await stage.end(a_job(job_id))
        clock.advance(60)
    await show_latest(stage.client, prefix="output", limit=2, as_json=False)
    listed = capsys.readouterr().out.splitlines()
    assert [line.partition("\t")[0] for line in listed] == ["a", "c"]


async def test_of_a_job_that_has_not_ended_what_is_paused_is_told(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    await stage.write(pauses_key("sd"), Pauses(pauses=(Pause(reason="new nodes"),)).to_json())
    await stage.write(pauses_key("broken"), b"[")
    assert await stage.status("order-1") == 4
    assert "Paused: sd: the runtime (new nodes)." in capsys.readouterr().err
