"""Every row of the table of endings, with whole agents as processes."""

import asyncio
import contextlib
import io
import json
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from PIL import Image

from harness import PATIENCE, Scene, scene, until, webui_process, webui_settings
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess, free_port

Plan = Callable[[int], Awaitable[None]]


async def runs(webui: ServerProcess, job_id: str) -> list[dict[str, object]]:
    """The generations that the runtime did for a job."""
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        answer = await client.get(f"{webui.url}/fake/runs")
    return [run for run in answer.json() if job_id in run["prompt"]]


@pytest.fixture
async def plan_errors(webui: ServerProcess) -> AsyncIterator[Plan]:
    """Makes so many of the next generations answer 500; what is not used ends with the test."""
    async with httpx.AsyncClient(base_url=webui.url, timeout=PATIENCE) as client:

        async def plan(times: int) -> None:
            fault = {"kind": "status", "status": 500, "times": times}
            (await client.post("/fake/faults", json=fault)).raise_for_status()

        yield plan
        (await client.delete("/fake/faults")).raise_for_status()


async def keeps_one(stage: Scene) -> bool:
    """Whether a message is in the queue; the emulator may have given it to a poll given up."""
    return sum(await stage.depth()) == 1


async def has_started(webui: ServerProcess, job_id: str) -> bool:
    return any(run["start"] is not None for run in await runs(webui, job_id))


async def test_a_published_job_becomes_an_image_a_manifest_and_a_notification(
    stage: Scene,
) -> None:
    stage.start_agent()
    await stage.publish(stage.job("good-1", prefix="/output/", context={"customer": [42]}, mine=1))
    answer = await stage.answer("good-1")

    assert answer["status"] == "completed"
    assert answer["result"] is True
    assert answer["error"] is None
    assert answer["context"] == {"customer": [42]}
    assert answer["runtime"] == stage.deployment.runtime_name
    assert (answer["attempt"], answer["redelivered"]) == (1, False)
    (image,) = answer["images"]
    assert answer["image_url"] == [image["url"]]
    bucket = stage.bucket_name
    assert image["url"].startswith(f"s3://{bucket}/output/good-1/good-1-")
    assert image["url"].endswith("-1.png")
    data = await stage.read(image["url"])
    assert image["bytes"] == len(data)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (image["width"], image["height"]) == (64, 64)
    manifest = await stage.manifest(answer)
    assert manifest["metadata"]["mine"] == 1
    assert manifest["response"]["parameters"]["steps"] == 2
    assert "images" not in manifest["response"]
    await stage.emptied()


async def test_a_job_that_the_runtime_refuses_fails_with_the_runtimes_own_words(
    stage: Scene,
) -> None:
    stage.start_agent()
    content = {"prompt": "refused-1", "steps": "many"}
    await stage.publish(stage.job("refused-1", content))
    answer = await stage.answer("refused-1")
    assert (answer["status"], answer["result"]) == ("failed", False)
    assert "integer" in answer["error"]["message"]
    assert answer["error"]["retryable"] is False
    assert answer["error"]["final"] is True
    manifest = await stage.manifest(answer)
    assert "integer" in json.dumps(manifest["response"])
    await stage.emptied()
    assert await stage.dead_letters() == 0


async def test_a_fault_that_passes_is_tried_again_in_place(stage: Scene, plan_errors: Plan) -> None:
    stage.start_agent()
    await plan_errors(1)
    await stage.publish(stage.job("again-1"))
    answer = await stage.answer("again-1")
    assert (answer["status"], answer["attempt"]) == ("completed", 1)


async def test_a_fault_that_stays_a_while_releases_the_message_for_another_attempt(
    stage: Scene, plan_errors: Plan
) -> None:
    stage.start_agent()
    await plan_errors(3)
    await stage.publish(stage.job("later-1"))
    answer = await stage.answer("later-1")
    assert (answer["status"], answer["attempt"]) == ("completed", 2)
    await stage.emptied()


async def test_the_last_allowed_attempt_ends_in_an_answer_and_among_the_dead_letters(
    stage: Scene, plan_errors: Plan
) -> None:
    stage.start_agent()
    await plan_errors(9)
    await stage.publish(stage.job("doomed-1"))
    answer = await stage.answer("doomed-1")
    assert (answer["status"], answer["attempt"]) == ("failed", 3)
    assert answer["error"]["retryable"] is True
    assert answer["error"]["final"] is True
    assert (await stage.manifest(answer))["error"]["type"] == answer["error"]["type"]

    async def is_dead() -> bool:
        return await stage.dead_letters() == 1

    await until(is_dead, what="the message among the dead letters")
    assert len(stage.answers("doomed-1")) == 1


async def test_a_job_redriven_from_the_dead_letters_is_worked_on_again(
    stage: Scene, plan_errors: Plan
) -> None:
    stage.start_agent()
    await plan_errors(9)
    job = stage.job("redriven-1")
    await stage.publish(job)
    await stage.answer("redriven-1")
    await stage.publish(job)
    answer = await stage.answer("redriven-1", nth=2)
    assert (answer["status"], answer["redelivered"]) == ("completed", False)


async def test_without_dead_letters_an_exhausted_message_is_quarantined(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, plan_errors: Plan, tmp_path: Path
) -> None:
    name = f"rt-{secrets.token_hex(4)}"
    settings = {**webui_settings(webui.url), "QUEUE_AGENT_MAX_RECEIVES": "1"}
    async with scene(embedded_cloud, name, tmp_path, settings, max_receives=None) as stage:
        stage.start_agent()
        await plan_errors(3)
        await stage.publish(stage.job("kept-1"))
        answer = await stage.answer("kept-1")
        assert answer["status"] == "failed"
        await stage.emptied()
        (key,) = [key for key in await stage.bucket_keys() if key.startswith("quarantine/")]
        record = json.loads(await stage.read(f"s3://{stage.bucket_name}/{key}"))
        assert "kept-1" in record["body"]


async def test_a_signal_with_no_grace_interrupts_the_runtime_and_releases_the_message(
    stage: Scene, webui: ServerProcess
) -> None:
    agent = stage.start_agent(QUEUE_AGENT_SHUTDOWN_GRACE="0")
    content = {"prompt": "interrupted-1", "steps": 400, "width": 64, "height": 64}
    await stage.publish(stage.job("interrupted-1", content))
    await until(lambda: has_started(webui, "interrupted-1"), what="the generation")
    assert agent.stop(grace=PATIENCE) == 0
    await stage.holds(1)
    (run,) = await runs(webui, "interrupted-1")
    assert run["interrupted"] is True
    assert stage.answers("interrupted-1") == []


async def test_a_signal_lets_what_fits_the_grace_finish_and_takes_nothing_new(
    stage: Scene, webui: ServerProcess
) -> None:
    agent = stage.start_agent()
    content = {"prompt": "last-1", "steps": 50, "width": 64, "height": 64}
    await stage.publish(stage.job("last-1", content))
    await until(lambda: has_started(webui, "last-1"), what="the generation")
    agent.send_signal(signal.SIGTERM)
    await stage.publish(stage.job("after-1"))
    assert (await stage.answer("last-1"))["status"] == "completed"
    assert agent.wait() == 0
    assert await runs(webui, "after-1") == []
    await stage.holds(1)


async def test_an_idle_agent_ends_at_once_and_gives_nothing_away(stage: Scene) -> None:
    agent = stage.start_agent()
    await stage.publish(stage.job("first-1"))
    await stage.answer("first-1")
    assert agent.stop(grace=PATIENCE) == 0
    await stage.publish(stage.job("next-1"))
    await until(lambda: keeps_one(stage), what="the message in the queue")
    await stage.caught_up()
    assert len(stage.notifications) == 1


async def test_a_cancel_marker_stops_a_running_job(stage: Scene, webui: ServerProcess) -> None:
    stage.start_agent(QUEUE_AGENT_CANCEL_POLL="0.2")
    content = {"prompt": "cancelled-1", "steps": 400, "width": 64, "height": 64}
    await stage.publish(stage.job("cancelled-1", content, context="mine"))
    await until(lambda: has_started(webui, "cancelled-1"), what="the generation")
    bucket = stage.cloud.bucket(stage.deployment.bucket)
    await bucket.write("cancelled/cancelled-1", b"", media_type="text/plain")
    answer = await stage.answer("cancelled-1")
    assert (answer["status"], answer["context"]) == ("cancelled", "mine")
    (run,) = await runs(webui, "cancelled-1")
    assert run["interrupted"] is True
    await stage.emptied()


async def test_a_job_cancelled_before_its_receipt_never_reaches_the_runtime(
    stage: Scene, webui: ServerProcess
) -> None:
    bucket = stage.cloud.bucket(stage.deployment.bucket)
    await bucket.write("cancelled/early-1", b"", media_type="text/plain")
    stage.start_agent()
    content = {"prompt": "early-1", "steps": 400, "width": 64, "height": 64}
    await stage.publish(stage.job("early-1", content))
    assert (await stage.answer("early-1"))["status"] == "cancelled"
    assert not any(run["end"] and not run["interrupted"] for run in await runs(webui, "early-1"))


async def test_an_expired_job_is_answered_and_never_run(stage: Scene, webui: ServerProcess) -> None:
    stage.start_agent()
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    await stage.publish(stage.job("expired-1", expires_at=past))
    assert (await stage.answer("expired-1"))["status"] == "expired"
    assert await runs(webui, "expired-1") == []
    await stage.emptied()


async def test_a_job_that_expires_while_it_runs_is_stopped(
    stage: Scene, webui: ServerProcess
) -> None:
    stage.start_agent()
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    content = {"prompt": "expiring-1", "steps": 1000, "width": 64, "height": 64}
    await stage.publish(stage.job("expiring-1", content, expires_at=soon))
    assert (await stage.answer("expiring-1"))["status"] == "expired"
    assert all(run["interrupted"] for run in await runs(webui, "expiring-1"))


async def test_a_run_that_takes_too_long_is_interrupted_and_left_to_another_attempt(
    stage: Scene, webui: ServerProcess
) -> None:
    stage.start_agent(QUEUE_AGENT_RUN_TIMEOUT="1")
    content = {"prompt": "slow-1", "steps": 400, "width": 64, "height": 64}
    await stage.publish(stage.job("slow-1", content))
    answer = await stage.answer("slow-1")
    assert answer["error"]["type"] == "timeout"
    assert answer["attempt"] == 3
    done = await runs(webui, "slow-1")
    assert done
    assert all(run["interrupted"] for run in done)


async def test_an_agent_killed_in_the_middle_of_a_job_leaves_it_to_the_next(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path: Path
) -> None:
    name = f"rt-{secrets.token_hex(4)}"
    settings = webui_settings(webui.url)
    async with scene(embedded_cloud, name, tmp_path, settings, visibility_timeout=3) as stage:
        agent = stage.start_agent()
        content = {"prompt": "killed-1", "steps": 60, "width": 64, "height": 64}
        await stage.publish(stage.job("killed-1", content))
        await until(lambda: has_started(webui, "killed-1"), what="the generation")
        agent.kill()
        stage.start_agent()
        answer = await stage.answer("killed-1")
        assert (answer["status"], answer["attempt"]) == ("completed", 2)
        assert len(await runs(webui, "killed-1")) == 2
        await stage.emptied()


async def test_a_duplicate_of_a_finished_job_is_only_notified_again(
    stage: Scene, webui: ServerProcess
) -> None:
    stage.start_agent()
    job = stage.job("twice-1")
    await stage.publish(job)
    first = await stage.answer("twice-1")
    await stage.publish(job)
    second = await stage.answer("twice-1", nth=2)
    assert (first["redelivered"], second["redelivered"]) == (False, True)
    assert second["images"] == first["images"]
    assert len(await runs(webui, "twice-1")) == 1
    await stage.emptied()


async def test_while_the_runtime_is_down_no_message_is_held(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    name, port = f"rt-{secrets.token_hex(4)}", free_port()
    settings = webui_settings(f"http://127.0.0.1:{port}")
    async with scene(embedded_cloud, name, tmp_path, settings) as stage:
        agent = stage.start_agent()
        await stage.publish(stage.job("patient-1"))
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            ready = await client.get(f"{agent.url}/readyz")
            alive = await client.get(f"{agent.url}/healthz")
        assert (ready.status_code, ready.json()["runtime"]) == (503, False)
        assert alive.status_code == 200
        await stage.holds(1)
        with webui_process(port=port):
            answer = await stage.answer("patient-1")
            assert (answer["status"], answer["attempt"]) == ("completed", 1)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "in an SNS envelope"])
async def test_running_notifications_tell_the_progress_in_order(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path: Path, raw: bool
) -> None:
    name = f"rt-{secrets.token_hex(4)}"
    settings = {
        **webui_settings(webui.url),
        "QUEUE_AGENT_NOTIFY_RUNNING": "1",
        "QUEUE_AGENT_PROGRESS_INTERVAL": "0.05",
    }
    async with scene(embedded_cloud, name, tmp_path, settings, raw_delivery=raw) as stage:
        stage.start_agent()
        content = {"prompt": "shown-1", "steps": 250, "width": 64, "height": 64}
        await stage.publish(stage.job("shown-1", content))
        await stage.answer("shown-1")
        shares = [n["progress"] for n in stage.notifications if n["status"] == "running"]
        assert len(shares) > 1
        assert shares == sorted(shares)
        assert stage.notifications[-1]["status"] == "completed"


def files_of(agent: ServerProcess) -> int:
    """How many nameless temporary files the agent has open."""
    found = 0
    for link in Path(f"/proc/{agent.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += str(link.readlink()).endswith("(deleted)")
    return found


@pytest.mark.parametrize("ending", ["completed", "rejected", "released", "cancelled"])
async def test_a_large_input_is_on_disk_while_its_job_lasts_and_no_longer(
    stage: Scene, webui: ServerProcess, plan_errors: Plan, tmp_path: Path, ending: str
) -> None:
    noise = io.BytesIO()
    Image.effect_noise((1500, 1500), 100).save(noise, "PNG")
    assert len(noise.getvalue()) > 2**20
    bucket = stage.cloud.bucket(stage.deployment.bucket)
    await bucket.write("input.png", noise.getvalue(), media_type="image/png")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    agent = stage.start_agent(TMPDIR=str(scratch), QUEUE_AGENT_CANCEL_POLL="0.2")
    if ending == "released":
        await plan_errors(3)
    job_id = f"large-{ending}"
    content = {
        "prompt": job_id,
        "init_images": [bucket.url("input.png")],
        "steps": 400 if ending == "cancelled" else 2,
        "sampler_name": "No such sampler" if ending == "rejected" else "Euler a",
    }
    await stage.publish(stage.job(job_id, content, tasktype="image-to-image"))
    if ending == "cancelled":
        await until(lambda: has_started(webui, job_id), what="the generation")
        assert files_of(agent) == 1
        assert list(scratch.iterdir()) == []
        await bucket.write(f"cancelled/{job_id}", b"", media_type="text/plain")
    answer = await stage.answer(job_id)
    assert (answer["status"], answer["attempt"]) == {
        "completed": ("completed", 1),
        "rejected": ("failed", 1),
        "released": ("completed", 2),
        "cancelled": ("cancelled", 1),
    }[ending]
    assert files_of(agent) == 0
    assert list(scratch.iterdir()) == []


async def test_a_link_is_added_where_the_operator_wants_one(stage: Scene) -> None:
    stage.start_agent(QUEUE_AGENT_PRESIGN="60")
    await stage.publish(stage.job("linked-1"))
    (image,) = (await stage.answer("linked-1"))["images"]
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        answer = await client.get(image["presigned_url"])
    assert len(answer.content) == image["bytes"]


async def test_a_payload_offloaded_to_the_bucket_is_fetched(stage: Scene) -> None:
    stage.start_agent()
    bucket = stage.cloud.bucket(stage.deployment.bucket)
    job = json.dumps(stage.job("offloaded-1")).encode()
    await bucket.write("payloads/1", job, media_type="application/json")
    pointer = {"s3BucketName": stage.bucket_name, "s3Key": "payloads/1"}
    await stage.send(json.dumps(["software.amazon.payloadoffloading.PayloadS3Pointer", pointer]))
    assert (await stage.answer("offloaded-1"))["status"] == "completed"


async def test_an_agent_for_one_job_ends_by_itself_after_it(stage: Scene) -> None:
    await stage.publish(stage.job("only-1"))
    await stage.publish(stage.job("only-2"))
    agent = stage.start_agent(QUEUE_AGENT_MAX_JOBS="1")
    assert await asyncio.to_thread(agent.wait) == 0
    await until(lambda: keeps_one(stage), what="the other in the queue")
    await stage.caught_up()
    assert len(stage.notifications) == 1
