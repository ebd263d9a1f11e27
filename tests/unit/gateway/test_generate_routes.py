"""The routes that guides to serving teach, before a worker on a cloud in memory."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gateway_bench import Gateways, client_of
from queue_agent.gateway import events
from queue_agent.gateway.schemas import JobView
from queue_agent.wire.errors import Rejected
from worker_bench import NAME, Bench, drawing, failing

ALL = {
    "prompt": "a lighthouse",
    "negative_prompt": "fog",
    "num_inference_steps": 20,
    "guidance_scale": 7.5,
    "width": 512,
    "height": 768,
    "seed": 42,
}


@pytest.fixture
def bench(gateways: Gateways) -> Bench:
    made = Bench()
    gateways.cloud = made.cloud
    return made


async def started(gateways: Gateways, bench: Bench, **settings: Any) -> FastAPI:
    usual: dict[str, Any] = {
        "job_topic": bench.deployment.job_topic,
        "notification_topic": bench.deployment.notification_topic,
        "bucket": bench.deployment.bucket,
        "runtimes": (f"{NAME}={bench.deployment.queue_url}",),
        "poll": 0.05,
    }
    return await gateways.start(**usual | settings)


@pytest.fixture
async def api(gateways: Gateways, bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    """A client where nobody works yet."""
    async with client_of(await started(gateways, bench, link_seconds=0)) as client:
        yield client


def published(bench: Bench) -> dict[str, Any]:
    """The last job."""
    sent = bench.cloud.topic(bench.deployment.job_topic).published[-1]
    job: dict[str, Any] = json.loads(sent.body)
    return job


async def ended(api: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    await api.post(f"/v1/jobs/{job_id}/wait")
    shown: dict[str, Any] = (await api.get(f"/jobs/{job_id}")).json()
    return shown


async def asked(api: httpx.AsyncClient, **fields: Any) -> str:
    answer = await api.post("/generate", json={"prompt": "a lighthouse", **fields})
    assert answer.status_code == 200, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


async def test_a_request_becomes_a_portable_job(api: httpx.AsyncClient, bench: Bench) -> None:
    answer = await api.post("/generate", json=ALL)
    taken = answer.json()
    assert taken == {
        "job_id": answer.headers["x-job-id"],
        "status": "pending",
        "queue_position": 0,
        "estimated_time": taken["estimated_time"],
    }
    job = published(bench)
    assert job["metadata"]["id"] == taken["job_id"]
    assert job["metadata"]["tasktype"] == "text-to-image"
    assert job["content"] == {
        "prompt": "a lighthouse",
        "negative_prompt": "fog",
        "steps": 20,
        "cfg_scale": 7.5,
        "width": 512,
        "height": 768,
        "seed": 42,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"seed": None, "width": None, "negative_prompt": None}, {}),
        ({"num_images": 2}, {"batch_size": 2}),
        ({"num_images_per_prompt": 3}, {"batch_size": 3}),
        (
            {"sampler_name": "Euler", "model": "dreamy"},
            {"sampler_name": "Euler", "model": "dreamy"},
        ),
    ],
)
async def test_what_is_not_said_is_left_out_and_portable_fields_go_along(
    api: httpx.AsyncClient, bench: Bench, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    await asked(api, **fields)
    assert published(bench)["content"] == {"prompt": "a lighthouse", **expected}


async def test_a_job_with_an_image_to_start_from_is_one_of_images(
    api: httpx.AsyncClient, bench: Bench
) -> None:
    await asked(api, init_images=["https://example.com/a.png"])
    assert published(bench)["metadata"]["tasktype"] == "image-to-image"


async def test_a_job_is_pending_then_completed_with_an_address_that_has_the_image(
    api: httpx.AsyncClient, bench: Bench
) -> None:
    bench.runtime.usually = drawing()
    job_id = await asked(api)
    assert (await api.get(f"/jobs/{job_id}")).json() == {
        "job_id": job_id,
        "status": "pending",
        "progress": 0.0,
        "image_url": None,
        "error": None,
    }
    async with bench.working():
        done = await ended(api, job_id)
    url = f"http://localhost/v1/jobs/{job_id}/images/1"
    assert done == {
        "job_id": job_id,
        "status": "completed",
        "progress": 1.0,
        "image_url": url,
        "error": None,
    }
    assert (await api.get(url)).headers["content-type"] == "image/png"


async def test_the_address_of_an_image_is_a_link_where_the_gateway_gives_some(
    gateways: Gateways, bench: Bench
) -> None:
    bench.runtime.usually = drawing()
    async with client_of(await started(gateways, bench, link_seconds=60)) as api, bench.working():
        done = await ended(api, await asked(api))
    assert done["image_url"].startswith("https://memory.invalid/")


async def test_a_failure_is_told_in_words(api: httpx.AsyncClient, bench: Bench) -> None:
    bench.runtime.usually = failing(Rejected("The seed is odd."))
    job_id = await asked(api)
    async with bench.working():
        done = await ended(api, job_id)
    assert (done["status"], done["error"]) == ("failed", "The seed is odd.")
    assert done["image_url"] is None


async def test_a_job_that_is_called_off_has_failed_and_says_why(
    api: httpx.AsyncClient, bench: Bench
) -> None:
    job_id = await asked(api)
    called_off = await api.delete(f"/jobs/{job_id}")
    assert called_off.status_code == 200
    assert called_off.json()["status"] == "processing", "until an agent has let go of it"
    async with bench.working():
        done = await ended(api, job_id)
    assert done["status"] == "failed"
    assert "cancel" in done["error"].lower()
    again = await api.delete(f"/jobs/{job_id}")
    assert again.json() == done


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_job_is_not_found_in_fastapis_words(
    api: httpx.AsyncClient, method: str
) -> None:
    answer = await api.request(method, "/jobs/none")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "There is no job of that id."}
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, ["body", "prompt"]),
        ({"prompt": None}, ["body", "prompt"]),
        ({"prompt": "a", "num_inference_steps": 0}, ["body", "num_inference_steps"]),
        ({"prompt": "a", "guidance_scale": "strong"}, ["body", "guidance_scale"]),
        ({"prompt": "a", "width": 511}, ["body", "width"]),
        ({"prompt": "a", "seed": -2}, ["body", "seed"]),
        ([], ["body"]),
    ],
)
async def test_a_body_that_is_wrong_is_told_in_fastapis_shape(
    api: httpx.AsyncClient, body: Any, place: list[str]
) -> None:
    answer = await api.post("/generate", json=body)
    assert answer.status_code == 422
    (fault,) = answer.json()["detail"]
    assert fault["loc"] == place
    assert fault["msg"]
    assert fault["type"]


async def test_a_job_that_no_agent_would_understand_is_told_in_the_same_shape(
    api: httpx.AsyncClient,
) -> None:
    unknown = await api.post("/generate", json={"prompt": "a"}, headers={"X-Runtime": "other"})
    assert unknown.status_code == 422
    (fault,) = unknown.json()["detail"]
    assert fault["loc"] == ["body"]
    assert "other" in fault["msg"]


async def test_who_has_no_key_is_told_so_and_jobs_of_others_are_not_there(
    gateways: Gateways, bench: Bench
) -> None:
    app = await started(gateways, bench, keys=True)
    async with (
        client_of(app) as stranger,
        client_of(app, "one") as one,
        client_of(app, "two") as two,
    ):
        refused = await stranger.post("/generate", json=ALL)
        job_id = await asked(one)
        assert (await one.get(f"/jobs/{job_id}")).status_code == 200
        for method in ("GET", "DELETE"):
            assert (await two.request(method, f"/jobs/{job_id}")).status_code == 404
    assert refused.status_code == 401
    assert refused.json() == {"detail": "An API key is needed."}


async def test_the_same_idempotency_key_is_the_same_job(api: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "order-7"}
    answers = [await api.post("/generate", json=ALL, headers=headers) for _ in range(2)]
    assert len({answer.json()["job_id"] for answer in answers}) == 1


async def test_news_that_say_the_same_are_told_once(
    gateways: Gateways, bench: Bench, api: httpx.AsyncClient
) -> None:
    """A place in the queue changes what a job looks like, and nothing of these news."""
    job_id = await asked(api)
    view = JobView.model_validate((await api.get(f"/v1/jobs/{job_id}")).json())
    moved = view.model_copy(update={"queue": None})
    running = view.model_copy(update={"status": "running", "progress": 0.5})

    class Service:
        async def views(self, _: Any) -> AsyncGenerator[JobView | None]:
            for seen in (view, None, moved, running):
                yield seen

    texts = events._texts(Service(), job_id, lambda seen: seen.status)  # type: ignore[arg-type]
    assert [text async for text in texts] == ["queued", "running"]
