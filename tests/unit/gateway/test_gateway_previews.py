"""Images of jobs under way at the gateway's doors, from a whole worker on a cloud in memory."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from gateway_bench import Gateways, client_of
from queue_agent.media.facts import facts_of
from queue_agent.media.previews import LARGEST_PREVIEW, small_preview
from queue_agent.runtime import Artifact, Output, Prepared, Progress, ProgressCallback
from queue_agent.testing import eventually, sample_png
from queue_agent.wire.job import parse_job
from queue_agent.wire.layout import ResultKeys, offer_key
from queue_agent.wire.offer import Offer
from worker_bench import NAME, Bench

GENERATIONS = "/v1/images/generations"
JPEG = small_preview(sample_png(8, 8))


class Watched:
    """A run that shows what it is told to, step by step, until it is told to end."""

    def __init__(self) -> None:
        self.wanted: list[bool] = []
        self._steps: asyncio.Queue[Progress | None] = asyncio.Queue()

    def reach(self, fraction: float, shade: int | None = None) -> None:
        """Go so far, and show a picture of that shade, if any."""
        preview = None if shade is None else _picture(shade)
        self._steps.put_nowait(Progress(fraction, preview=preview))

    def end(self) -> None:
        self._steps.put_nowait(None)

    async def __call__(self, prepared: Prepared, report: ProgressCallback) -> Output:
        self.wanted.append(prepared.job.wants_previews)
        while (progress := await self._steps.get()) is not None:
            report(progress)
        return Output((Artifact(sample_png(8, 8), "image/png"),))


def _picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def run() -> Watched:
    return Watched()


@pytest.fixture
async def bench(gateways: Gateways, run: Watched) -> Bench:
    made = Bench(policy={"progress_interval": 0.01, "preview_interval": 0.01})
    made.runtime.usually = run
    gateways.cloud = made.cloud
    return made


@asynccontextmanager
async def site(
    gateways: Gateways, bench: Bench, *, offered: bool = True, **settings: Any
) -> AsyncIterator[FastAPI]:
    """A gateway and an agent."""
    offer = Offer(runtime=NAME, adapter="scripted", previews=offered or None)
    await bench.results.write(offer_key(NAME), offer.to_json(), media_type="application/json")
    deployment = bench.deployment
    app = await gateways.start(
        job_topic=deployment.job_topic,
        notification_topic=deployment.notification_topic,
        bucket=deployment.bucket,
        runtimes=(NAME,),
        poll=0.05,
        **settings,
    )
    async with bench.working():
        yield app


async def shown(api: httpx.AsyncClient, job_id: str, *, number: int = 1) -> str:
    """Where the preview of that number is served, once the job is shown with it."""
    href = ""

    async def there() -> bool:
        nonlocal href
        href = (await api.get(f"/v1/jobs/{job_id}")).json()["preview"] or ""
        return href.endswith(f"number={number}")

    await eventually(there)
    return href


def shade_of(jpeg: bytes) -> int:
    with Image.open(io.BytesIO(jpeg)) as image:
        pixel = image.convert("L").getpixel((10, 10))
    assert isinstance(pixel, int)
    return pixel


async def asked(api: httpx.AsyncClient, **metadata: Any) -> str:
    answer = await api.post("/v1/jobs", json={"metadata": metadata, "content": {"prompt": "a"}})
    assert answer.json()["preview"] is None
    return str(answer.json()["id"])


async def test_a_running_job_names_its_preview_which_is_served_until_its_end(
    gateways: Gateways, bench: Bench, run: Watched
) -> None:
    async with site(gateways, bench) as app, client_of(app) as api:
        job_id = await asked(api, previews=True)
        run.reach(0.2, 200)
        href = await shown(api, job_id)
        answer = await api.get(href)
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["content-security-policy"] == "sandbox"
        assert (facts_of(answer.content).width, facts_of(answer.content).height) == (64, 48)
        assert abs(shade_of(answer.content) - 200) < 5
        again = await api.get(href, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        run.end()
        done = await api.post(f"/v1/jobs/{job_id}/wait", params={"timeout": 60})
        assert (done.json()["status"], done.json()["preview"]) == ("completed", None)

        async def gone() -> bool:
            answer = await api.get(f"/v1/jobs/{job_id}/preview")
            return answer.status_code == 404 and answer.json()["type"].endswith("no-preview")

        await eventually(gone)


async def test_a_job_that_did_not_ask_has_none(
    gateways: Gateways, bench: Bench, run: Watched
) -> None:
    async with site(gateways, bench) as app, client_of(app) as api:
        job_id = await asked(api)
        run.reach(0.5, 100)
        await eventually(lambda: any(one.progress == 0.5 for one in bench.heard))
        assert (await api.get(f"/v1/jobs/{job_id}/preview")).status_code == 404
        run.end()
        await bench.answer()
    assert run.wanted == [False]


async def test_another_owner_sees_no_preview(
    gateways: Gateways, bench: Bench, run: Watched
) -> None:
    async with site(gateways, bench, keys=True) as app, client_of(app, "one") as mine:
        job_id = await asked(mine, previews=True, id="order-1")
        run.reach(0.5, 100)
        href = await shown(mine, job_id)
        async with client_of(app, "two") as theirs, client_of(app) as nobody:
            for path in (href, "/v1/jobs/order-1/preview"):
                assert (await theirs.get(path)).status_code == 404
                assert (await nobody.get(path)).status_code == 401
        run.end()
        await bench.answer()


@pytest.mark.parametrize(
    "data",
    [
        b"<script>alert(1)</script>",
        sample_png(8, 8),
        b"\xff\xd8\xff",
        b"",
        JPEG + bytes(LARGEST_PREVIEW),
    ],
)
async def test_only_small_jpegs_are_served(gateways: Gateways, data: bytes) -> None:
    app = await gateways.start()
    async with client_of(app) as api:
        answer = (await api.post("/v1/jobs", json={"content": {"prompt": "a"}})).json()
        job = gateways.cloud.topic("jobs").published[-1].body
        keys = ResultKeys.of(parse_job(job))
        await gateways.bucket.write(keys.preview, data, media_type="text/html")
        assert (await api.get(f"/v1/jobs/{answer['id']}/preview")).status_code == 404


async def test_the_web_uis_progress_shows_the_running_jobs_image(
    gateways: Gateways, bench: Bench, run: Watched
) -> None:
    async with site(gateways, bench, previews=True) as app, client_of(app) as api:
        made = asyncio.create_task(api.post("/sdapi/v1/txt2img", json={"prompt": "a"}))
        run.reach(0.5, 80)

        async def image() -> str | None:
            answer = (await api.get("/sdapi/v1/progress")).json()
            found: str | None = answer["current_image"]
            return found

        await eventually(image)
        jpeg = base64.b64decode(await image() or "")
        assert abs(shade_of(jpeg) - 80) < 5
        without = await api.get("/sdapi/v1/progress", params={"skip_current_image": "true"})
        assert without.json()["current_image"] is None
        run.end()
        assert (await made).status_code == 200
        assert (await api.get("/sdapi/v1/progress")).json()["current_image"] is None
    assert run.wanted == [True]


async def test_jobs_of_the_web_uis_routes_ask_only_where_the_operator_says_so(
    gateways: Gateways, bench: Bench, run: Watched
) -> None:
    run.end()
    async with site(gateways, bench) as app, client_of(app) as api:
        assert (await api.post("/sdapi/v1/txt2img", json={"prompt": "a"})).status_code == 200
    assert run.wanted == [False]


async def test_a_stream_has_the_previews_that_were_asked_for_and_no_more(
    gateways: Gateways, bench: Bench, run: Watched
) -> None:
    steps = {0.1: 20, 0.15: 40, 0.2: 60, 0.3: 80, 0.4: 120, 0.45: 140, 0.7: 160, 0.8: 200, 0.9: 240}
    async with site(gateways, bench) as app, client_of(app) as api:
        body = {"prompt": "a", "stream": True, "partial_images": 3}
        asking = asyncio.create_task(api.post(GENERATIONS, json=body))
        for number, (fraction, shade) in enumerate(steps.items(), 1):
            run.reach(fraction, shade)
            job_id = await only_job(api)
            await shown(api, job_id, number=number)
        run.end()
        answer = await asking
    told = events(answer)
    assert [name for name, _ in told] == [
        *["image_generation.partial_image"] * 3,
        "image_generation.completed",
    ]
    shades = []
    for number, (name, event) in enumerate(told[:3]):
        assert (event["type"], event["partial_image_index"]) == (name, number)
        assert (event["size"], event["output_format"]) == ("64x48", "jpeg")
        shades.append(shade_of(base64.b64decode(event["b64_json"])))
    first, second, third = shades
    assert abs(first - 20) < 5, "as soon as there is one"
    assert 55 < second < third, "once the job has come a quarter"
    assert third > 135, "once it has come half"
    assert "x-warnings" not in answer.headers
    assert run.wanted == [True]


async def test_a_stream_without_partial_images_asks_for_no_previews(
    gateways: Gateways, bench: Bench, run: Watched
) -> None:
    run.end()
    async with site(gateways, bench) as app, client_of(app) as api:
        await api.post(GENERATIONS, json={"prompt": "a", "stream": True})
    assert run.wanted == [False]


async def test_partial_images_of_a_runtime_that_shows_none_are_warned_of(
    gateways: Gateways, bench: Bench, run: Watched
) -> None:
    run.end()
    async with site(gateways, bench, offered=False) as app, client_of(app) as api:
        answer = await api.post(
            GENERATIONS, json={"prompt": "a", "stream": True, "partial_images": 1}
        )
    assert json.loads(answer.headers["x-warnings"])[0].startswith("partial_images:")
    assert [name for name, _ in events(answer)] == ["image_generation.completed"]


async def only_job(api: httpx.AsyncClient) -> str:
    ids: list[str] = []

    async def there() -> bool:
        ids[:] = [job["id"] for job in (await api.get("/v1/jobs")).json()["jobs"]]
        return bool(ids)

    await eventually(there)
    return ids[0]


def events(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block for block in answer.text.split("\n\n") if block.startswith("event: ")]
    told = []
    for block in blocks:
        name, data = block.split("\n")
        told.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return told
