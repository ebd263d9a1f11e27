"""An estimate at every door: the client, `queue-agent submit --estimate`, the gateway."""

import asyncio
import json

import pytest

from gateway_bench import Gateways, client_of
from queue_agent.cli.submit import estimate_lines, submit
from queue_agent.client import Client, JobEstimate, Unavailable, make_job
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.estimates.exchange import add_seen
from queue_agent.estimates.runs import SeenAgent, SeenRun, SeenRuns
from queue_agent.wire.job import open_envelope, parse_job
from queue_agent.wire.layout import seen_runs_folder
from queue_agent.wire.work import work_of
from worker_bench import NAME, Bench

QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/sd"


def drawing(steps: int = 20) -> dict[str, object]:
    return {"prompt": "a", "steps": steps, "model": "sdxl"}


async def teach(cloud: MemoryCloud, bucket: str, name: str, *, seconds: float = 4) -> None:
    """One agent is there, which has seen runs of so many seconds, at 1.8 an hour."""
    work = work_of(make_job(drawing()))  # type: ignore[arg-type]
    now = cloud.now()
    runs = [
        SeenRuns.of(
            work,
            SeenRun(
                at=now - number,
                amount=work.amount,
                megapixels=work.megapixels,
                count=work.count,
                seconds=seconds,
                gpu_seconds=seconds,
                price=1.8,
            ),
        )
        for number in range(5)
    ]
    here = SeenRuns().seen_by("agent", SeenAgent(at=now))
    await add_seen(cloud.bucket(bucket), name, lambda seen: seen.merged(here, *runs))


BUCKET = "sd-results"


def client_for(cloud: MemoryCloud) -> tuple[Client, str]:
    place = cloud.deploy("sd")
    client = Client(
        cloud,
        job_topic=place.job_topic,
        notification_topic=place.notification_topic,
        bucket=place.bucket,
        runtime="sd",
        spot_queue=place.queue_url,
    )
    return client, place.queue_url


async def test_a_client_is_told_when_its_job_starts_and_ends_and_what_it_costs() -> None:
    cloud = MemoryCloud()
    client, queue = client_for(cloud)
    await teach(cloud, BUCKET, "sd")
    job = make_job(drawing())  # type: ignore[arg-type]
    first = await client.estimate(job)
    assert first.start is not None
    assert first.start.expected < 1
    assert first.run.expected == pytest.approx(4, rel=0.05)
    assert first.cost is not None
    assert first.cost.expected == pytest.approx(4 * 1.8 / 3600, rel=0.05)
    for number in range(10):
        await cloud.queue(queue).send(str(number), {})
    later = await client.estimate(job)
    assert later.start is not None
    assert later.start.expected == pytest.approx(40, rel=0.1)


async def test_what_a_client_was_told_goes_with_its_job() -> None:
    cloud = MemoryCloud()
    client, queue = client_for(cloud)
    await teach(cloud, BUCKET, "sd")
    handle = await client.submit(make_job(drawing()), estimate=True)  # type: ignore[arg-type]
    (message,) = await cloud.queue(queue).receive(1, wait=0, visibility_timeout=30)
    job = parse_job(open_envelope(message.body, message.attributes).payload)
    assert handle.estimate is not None
    assert JobEstimate.told(job.metadata.estimate) == handle.estimate


async def test_an_estimate_counts_what_waits_in_all_queues_of_the_runtime() -> None:
    cloud = MemoryCloud()
    _, queue = client_for(cloud)
    await teach(cloud, BUCKET, "sd")
    for number in range(10):
        await cloud.queue("urgent").send(str(number), {})
    expected = []
    for queues in ([queue], [queue, "urgent"]):
        client = Client(cloud, bucket=BUCKET, runtime="sd", spot_queue=queues)
        told = await client.estimate(make_job(drawing()))  # type: ignore[arg-type]
        assert told.start is not None
        expected.append(told.start.expected)
    assert expected[0] < 1
    assert expected[1] > 10


async def test_a_bucket_that_does_not_answer_holds_up_no_job() -> None:
    cloud = MemoryCloud()
    client, queue = client_for(cloud)
    folder = seen_runs_folder("sd")
    cloud.faults.fail("bucket.keys", Unavailable("AccessDenied"), matching=folder, times=9)
    job = make_job(drawing(), job_id="a")  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await client.estimate(job)
    handle = await client.submit(job, estimate=True)
    assert handle.estimate is None
    assert (await cloud.queue(queue).backlog()).waiting == 1


async def test_submit_tells_the_estimate_beside_the_id(capsys: pytest.CaptureFixture[str]) -> None:
    cloud = MemoryCloud()
    client, _ = client_for(cloud)
    await teach(cloud, BUCKET, "sd")
    await submit(client, make_job(drawing(), job_id="order-7"), estimate=True)  # type: ignore[arg-type]
    out, told = capsys.readouterr()
    assert out.strip() == "order-7"
    assert "Starts in 0." in told
    assert "GPU: 4.0 s (" in told
    assert "which cost 0.002 (" in told
    assert "by runs of the same model." in told


async def test_without_a_queue_and_without_runs_it_says_so() -> None:
    cloud = MemoryCloud()
    cloud.deploy("sd")
    client = Client(cloud, bucket=BUCKET, runtime="sd")
    lines = list(estimate_lines(await client.estimate(make_job({"prompt": "a"}))))
    assert "name the queue" in lines[0]
    assert lines[1].startswith("GPU: 30.0 s (7.5 to 120)")
    assert "a guess" in lines[1]


@pytest.fixture
async def gateways(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Gateways:
    made = Gateways(tmp_path_factory.mktemp("gateways"))
    monkeypatch.setattr("queue_agent.gateway.app.connect", lambda *_, **__: made.cloud)
    return made


async def test_the_gateway_estimates_without_submitting(gateways: Gateways) -> None:
    async with gateways.stack:
        app = await gateways.start(runtimes=(f"sdruntime={QUEUE}",))
        await teach(gateways.cloud, gateways.bucket.name, "sdruntime")
        async with client_of(app) as client:
            answer = await client.post("/v1/estimate", json={"content": drawing()})
            refused = await client.post("/v1/estimate", json={"content": 7})
    told = JobEstimate.model_validate(answer.json())
    assert told.run.expected == pytest.approx(4, rel=0.05)
    assert told.start is not None
    assert refused.status_code == 422
    assert gateways.cloud.topic("jobs").published == []


async def test_a_job_of_the_gateway_has_its_estimate_until_it_is_asked_for_again(
    gateways: Gateways,
) -> None:
    async with gateways.stack:
        app = await gateways.start(runtimes=(f"sdruntime={QUEUE}",))
        await teach(gateways.cloud, gateways.bucket.name, "sdruntime")
        async with client_of(app) as client:
            view = (await client.post("/v1/jobs", json={"content": drawing()})).json()
            again = (await client.get(f"/v1/jobs/{view['id']}/request")).json()
    (published,) = gateways.cloud.topic("jobs").published
    sent = json.loads(published.body)["metadata"]["estimate"]
    assert JobEstimate.told(sent) == JobEstimate.model_validate(view["estimate"])
    assert "estimate" not in again["metadata"]


async def test_a_gateway_whose_bucket_is_slow_submits_without_an_estimate(
    gateways: Gateways,
) -> None:
    async with gateways.stack:
        app = await gateways.start(runtimes=(f"sdruntime={QUEUE}",))
        held = gateways.cloud.faults.hold("bucket.keys", matching=seen_runs_folder("sdruntime"))
        async with client_of(app) as client:
            view = (await client.post("/v1/jobs", json={"content": drawing()})).json()
        held.release()
    assert view["estimate"] is None
    assert view["status"] == "queued"


@pytest.mark.looptime
async def test_estimate_and_truth_come_back_with_the_end() -> None:
    bench = Bench(policy={"gpu_price": 1.8})
    await teach(bench.cloud, bench.results.name, NAME, seconds=10)
    client = Client(
        bench.cloud,
        job_topic=bench.deployment.job_topic,
        bucket=bench.results.name,
        runtime=NAME,
        spot_queue=bench.deployment.queue_url,
    )
    handles = []
    async with bench.working():
        for _ in range(4):
            job = make_job(drawing())  # type: ignore[arg-type]
            handles.append(await client.submit(job, estimate=True))
            await asyncio.sleep(4)
        told = [await bench.settled(handle.id) for handle in handles]
    for number, one in enumerate(told):
        assert one.estimate is not None
        assert one.estimate.end is not None
        assert one.gpu_seconds == pytest.approx(one.estimate.gpu_seconds.expected, rel=0.05)
        assert one.cost == pytest.approx((one.gpu_seconds or 0) * 1.8 / 3600, rel=0.01)
        truth = one.timings.queued + one.timings.prepare + one.timings.wait + one.timings.run
        assert truth == pytest.approx(10 * (number + 1) - 4 * number, abs=1)
        assert one.estimate.end.low <= truth <= one.estimate.end.high
