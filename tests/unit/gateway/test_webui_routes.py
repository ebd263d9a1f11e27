"""The routes of a Web UI, held against what the real one answers."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image, ImageFile, PngImagePlugin
from pydantic import JsonValue

from gateway_bench import KEYS, Gateways, client_of
from queue_agent.runtime import (
    Assets,
    Capabilities,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
    Reference,
)
from queue_agent.testing import eventually, sample_png
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent.wire.layout import offer_key
from queue_agent.wire.offer import Offer, OfferedModel
from queue_agent.wire.output import FORMATS, FileFormat
from webui_recording import exchange, exchanges, recorded, recorded_capabilities, same_shape
from worker_bench import NAME, Behaviour, Bench, ScriptedRuntime, drawing, failing

LISTS = {**recorded("lists"), **recorded("lists_filled"), **recorded("script_info")}
TOLD = (
    "sd-models", "samplers", "schedulers", "upscalers", "realesrgan-models",
    "latent-upscale-modes", "loras", "sd-vae", "embeddings", "hypernetworks", "face-restorers",
    "prompt-styles", "scripts", "script-info",
)  # fmt: skip
CHECKPOINT = "sd_model_checkpoint"
V15 = "v1-5-tiny.safetensors [d8daf80662]"
PNG = base64.b64encode(sample_png()).decode()


async def tell(
    gateways: Gateways,
    capabilities: Capabilities,
    adapter: str = "webui",
    output_formats: tuple[FileFormat, ...] = (),
) -> None:
    offer = Offer(
        **dict(capabilities), runtime=NAME, adapter=adapter, output_formats=output_formats
    )
    bucket = gateways.cloud.bucket(f"{NAME}-results")
    await bucket.write(offer_key(NAME), offer.to_json(), media_type="application/json")


@pytest.fixture
async def bench(gateways: Gateways) -> Bench:
    """The worker's deployment, which the gateways of the test stand before."""
    made = Bench()
    gateways.cloud = made.cloud
    return made


async def started(gateways: Gateways, bench: Bench, **settings: Any) -> FastAPI:
    deployment = bench.deployment
    return await gateways.start(
        job_topic=deployment.job_topic,
        notification_topic=deployment.notification_topic,
        bucket=deployment.bucket,
        runtimes=(NAME,),
        poll=0.05,
        **settings,
    )


@pytest.fixture
async def api(gateways: Gateways, bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    """A client where the agents have told what the recorded Web UI has."""
    await tell(gateways, await recorded_capabilities())
    async with client_of(await started(gateways, bench)) as client:
        yield client


@pytest.mark.parametrize("name", TOLD)
async def test_what_the_agents_tell_is_listed_as_the_web_ui_lists_it(
    api: httpx.AsyncClient, name: str
) -> None:
    answer = await api.get(f"/sdapi/v1/{name}")
    assert answer.status_code == 200
    real = LISTS[name]
    assert same_shape(answer.json(), real)
    assert answer.json() or not real


@pytest.mark.parametrize("name", ["sd-models", "samplers", "schedulers", "latent-upscale-modes"])
async def test_names_are_those_of_the_runtime(api: httpx.AsyncClient, name: str) -> None:
    key = {"sd-models": "title"}.get(name, "name")
    listed = (await api.get(f"/sdapi/v1/{name}")).json()
    real: Any = LISTS[name]
    assert [entry[key] for entry in listed] == [entry[key] for entry in real]


async def test_scripts_have_their_arguments(api: httpx.AsyncClient) -> None:
    real: Any = LISTS["script-info"]
    assert (await api.get("/sdapi/v1/script-info")).json() == real
    assert (await api.get("/sdapi/v1/scripts")).json() == LISTS["scripts"]


@pytest.mark.parametrize("name", TOLD)
async def test_a_list_that_the_runtime_does_not_have_is_empty(
    gateways: Gateways, bench: Bench, name: str
) -> None:
    await tell(gateways, Capabilities(), adapter="openai")
    async with client_of(await started(gateways, bench)) as client:
        listed = (await client.get(f"/sdapi/v1/{name}")).json()
    assert not (any(listed.values()) if isinstance(listed, dict) else listed)


@pytest.mark.parametrize("name", [*TOLD, "options"])
async def test_until_an_agent_has_told_nothing_is_claimed(
    gateways: Gateways, bench: Bench, name: str
) -> None:
    async with client_of(await started(gateways, bench)) as client:
        answer = await client.get(f"/sdapi/v1/{name}")
    assert answer.status_code == 503
    assert answer.json().keys() == {"error", "detail", "body", "errors"}


async def test_lists_are_read_anew_when_they_are_to_be_refreshed(
    gateways: Gateways, api: httpx.AsyncClient
) -> None:
    assert len((await api.get("/sdapi/v1/sd-models")).json()) == 3
    await tell(gateways, Capabilities(models=(OfferedModel(name="new"),)))
    assert len((await api.get("/sdapi/v1/sd-models")).json()) == 3
    for name in ("checkpoints", "vae", "loras", "embeddings"):
        answer = await api.post(f"/sdapi/v1/refresh-{name}")
        assert answer.status_code == 200
        assert answer.json() == exchange("misc", f"refresh-{name}")["response"]["json"]
        assert "five minutes" in json.loads(answer.headers["x-warnings"])[0]
    assert [one["title"] for one in (await api.get("/sdapi/v1/sd-models")).json()] == ["new"]


# options: the caller's checkpoint


@pytest.mark.parametrize("name", ["v1-5-tiny.safetensors", "d8daf80662", "v1-5-tiny", V15])
async def test_a_checkpoint_is_set_by_any_of_its_names(api: httpx.AsyncClient, name: str) -> None:
    answer = await api.post("/sdapi/v1/options", json={CHECKPOINT: name})
    assert (answer.status_code, answer.json()) == (200, None)
    options = (await api.get("/sdapi/v1/options")).json()
    assert options[CHECKPOINT] == V15
    assert options["sd_checkpoint_hash"].startswith("d8daf806627")


async def test_until_one_is_set_the_checkpoint_is_the_one_that_is_loaded(
    gateways: Gateways, bench: Bench
) -> None:
    models = (OfferedModel(name="a"), OfferedModel(name="b", loaded=True))
    await tell(gateways, Capabilities(models=models))
    async with client_of(await started(gateways, bench)) as client:
        assert (await client.get("/sdapi/v1/options")).json()[CHECKPOINT] == "b"
        await client.post("/sdapi/v1/options", json={CHECKPOINT: "a"})
        assert (await client.get("/sdapi/v1/options")).json()[CHECKPOINT] == "a"
        await client.post("/sdapi/v1/options", json={CHECKPOINT: None})
        assert (await client.get("/sdapi/v1/options")).json()[CHECKPOINT] == "b"


@pytest.mark.parametrize("what", ["checkpoint by part of its name", "checkpoint unknown",
                                  "checkpoint empty text"])  # fmt: skip
async def test_a_checkpoint_that_is_not_there_is_refused_in_the_web_uis_words(
    api: httpx.AsyncClient, what: str
) -> None:
    real = exchange("options", what)
    answer = await api.post("/sdapi/v1/options", json=real["request"]["json"])
    assert answer.status_code == 422, "it is the caller's fault, where the Web UI says 500"
    assert answer.json()["error"] == real["response"]["json"]["error"]
    words = real["response"]["json"]["errors"]
    assert words in answer.json()["detail"]
    assert answer.json().keys() == real["response"]["json"].keys()


@pytest.mark.parametrize("body", [{"CLIP_stop_at_last_layers": 2}, {"no_such_option": 1},
                                  {CHECKPOINT: V15, "samples_format": "jpg"}])  # fmt: skip
async def test_settings_of_the_server_cannot_be_set(
    api: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    before = (await api.get("/sdapi/v1/options")).json()
    answer = await api.post("/sdapi/v1/options", json=body)
    assert answer.status_code == 403
    assert min(body.keys() - {CHECKPOINT}) in answer.json()["detail"]
    assert (await api.get("/sdapi/v1/options")).json() == before


async def test_bodies_that_are_none_are_refused_in_the_frameworks_shape(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.post("/sdapi/v1/options", json=[1])
    real = exchange("options", "body is a list")["response"]
    assert answer.status_code == real["status"]
    assert same_shape(answer.json(), real["json"])


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["nope", "interrogate", "train/embedding", "txt2img/x"])
async def test_routes_that_are_not_there_answer_as_those_of_the_web_ui(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await api.request(method, f"/sdapi/v1/{path}")
    assert answer.status_code == 404
    assert answer.json() == exchange("auth", "unknown route")["response"]["json"]
    assert (await api.get("/sdapi/v1/txt2img")).json() == {"detail": "Method Not Allowed"}


async def test_what_concerns_the_process_is_refused_or_not_known(api: httpx.AsyncClient) -> None:
    memory = (await api.get("/sdapi/v1/memory")).json()
    assert memory["cuda"] == LISTS["memory"]["cuda"]  # type: ignore[index, call-overload]
    flags: Any = LISTS["cmd-flags"]
    told = (await api.get("/sdapi/v1/cmd-flags")).json()
    assert told.keys() <= flags.keys()
    assert all(type(value) is type(flags[name]) for name, value in told.items())
    for name in ("unload-checkpoint", "reload-checkpoint"):
        answer = await api.post(f"/sdapi/v1/{name}")
        assert answer.status_code == 403
        assert answer.json().keys() == {"error", "detail", "body", "errors"}


async def test_each_caller_has_a_checkpoint_and_basic_credentials(
    gateways: Gateways, bench: Bench
) -> None:
    await tell(gateways, await recorded_capabilities())
    app = await started(gateways, bench, keys=True)
    async with client_of(app) as nobody, client_of(app, "two") as two:
        for auth in (None, ("one", "wrong"), ("one", "")):
            answer = await nobody.get("/sdapi/v1/progress", auth=auth or httpx.USE_CLIENT_DEFAULT)
            assert answer.status_code == 401
            assert answer.json().keys() == {"error", "detail", "body", "errors"}
        auth = ("whoever", KEYS["one"])
        assert (await nobody.get("/sdapi/v1/progress", auth=auth)).status_code == 200
        await nobody.post("/sdapi/v1/options", json={CHECKPOINT: "d8daf80662"}, auth=auth)
        mine = (await nobody.get("/sdapi/v1/options", auth=auth)).json()
        theirs = (await two.get("/sdapi/v1/options")).json()
    assert mine[CHECKPOINT] == V15
    assert theirs[CHECKPOINT] != V15


async def test_an_unknown_runtime_is_refused(api: httpx.AsyncClient) -> None:
    for path in ("samplers", "progress", "options"):
        answer = await api.get(f"/sdapi/v1/{path}", headers={"X-Runtime": "nope"})
        assert answer.status_code == 422
        assert "nope" in answer.json()["detail"]


# images


@asynccontextmanager
async def working(bench: Bench, behaviour: Behaviour) -> AsyncIterator[None]:
    """An agent whose runtime does this with each job."""
    bench.runtime.usually = behaviour
    async with bench.working():
        yield


def asked(bench: Bench) -> list[dict[str, Any]]:
    """The contents of the jobs that were published."""
    jobs = bench.cloud.topic(bench.deployment.job_topic).published
    return [json.loads(job.body)["content"] for job in jobs]


class Direct(ScriptedRuntime):
    """Takes images as they stand in a job, for each of the Web UI's tasks."""

    task_types = frozenset(
        {"text-to-image", "image-to-image", "extra-single-image", "extra-batch-images"}
    )

    def references(self, job: Job) -> Iterable[Reference]:
        assert job.content
        return ()

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        assert not assets
        return Prepared(job, {})


async def test_images_of_a_runtime_that_is_no_web_ui_are_answered_in_its_shape(
    api: httpx.AsyncClient, bench: Bench
) -> None:
    bench.runtime = Direct()
    async with working(bench, drawing(0)):
        made = await api.post("/sdapi/v1/txt2img", json={"prompt": "a", "steps": 2, "seed": 7})
        varied = await api.post("/sdapi/v1/img2img", json={"prompt": "a", "init_images": [PNG]})
    for answer, topic in ((made, "txt2img"), (varied, "img2img")):
        assert answer.status_code == 200, answer.text
        real = exchanges(topic)[0]["response"]["json"]
        body = answer.json()
        assert body.keys() == real.keys()
        assert body["parameters"].keys() >= real["parameters"].keys()
        assert same_shape(body["parameters"], real["parameters"])
        assert same_shape(json.loads(body["info"]), json.loads(real["info"]))
        assert json.loads(body["info"])["all_seeds"] == [7]
        assert "x-warnings" not in answer.headers
    assert varied.json()["parameters"]["init_images"] is None


async def test_fields_that_are_null_count_as_absent(api: httpx.AsyncClient, bench: Bench) -> None:
    async with working(bench, drawing(0)):
        body = {"prompt": "a", "negative_prompt": None, "steps": None, "mask": None}
        assert (await api.post("/sdapi/v1/txt2img", json=body)).status_code == 200
    assert asked(bench) == [{"prompt": "a"}]


async def test_whoever_wants_no_images_gets_none(api: httpx.AsyncClient, bench: Bench) -> None:
    async with working(bench, drawing(0)):
        body = {"prompt": "a", "send_images": False}
        answer = await api.post("/sdapi/v1/txt2img", json=body)
    assert answer.json()["images"] == []
    assert asked(bench) == [{"prompt": "a"}]
    assert len(bench.manifests()[0].images) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"model": V15}),
        ({"model": "own"}, {"model": "own"}),
        ({"override_settings": {CHECKPOINT: "own"}}, {"model": "own", "override_settings": {}}),
        (
            {"override_settings": {CHECKPOINT: "own", "sd_vae": "x"}},
            {"model": "own", "override_settings": {"sd_vae": "x"}},
        ),
        (
            {"override_settings": {CHECKPOINT: None, "sd_vae": "x"}},
            {"model": V15, "override_settings": {"sd_vae": "x"}},
        ),
        (
            {"override_settings": {"sd_vae": "x"}},
            {"model": V15, "override_settings": {"sd_vae": "x"}},
        ),
        ({"override_settings": None}, {"model": V15}),
    ],
)
async def test_jobs_that_name_no_checkpoint_have_the_callers(
    api: httpx.AsyncClient, bench: Bench, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    await api.post("/sdapi/v1/options", json={CHECKPOINT: V15})
    async with working(bench, drawing(0)):
        assert (
            await api.post("/sdapi/v1/txt2img", json={"prompt": "a", **body})
        ).status_code == 200
    assert asked(bench) == [{"prompt": "a", **expected}]


@pytest.mark.parametrize("converts", [True, False])
async def test_how_images_are_encoded_is_the_agents_where_it_converts(
    gateways: Gateways, bench: Bench, *, converts: bool
) -> None:
    formats = FORMATS if converts else ()
    await tell(gateways, await recorded_capabilities(), output_formats=formats)
    settings = {"samples_format": "jpg", "jpeg_quality": 60, "sd_vae": "x"}
    body = {"prompt": "a", "override_settings": settings}
    async with client_of(await started(gateways, bench)) as api, working(bench, drawing(0)):
        assert (await api.post("/sdapi/v1/txt2img", json=body)).status_code == 200
    (job,) = bench.cloud.topic(bench.deployment.job_topic).published
    said = json.loads(job.body)
    wanted = {"format": "jpeg", "quality": 60} if converts else None
    assert said["metadata"].get("output") == wanted
    assert said["content"]["override_settings"] == ({"sd_vae": "x"} if converts else settings)


async def test_warnings_reach_the_caller(api: httpx.AsyncClient, bench: Bench) -> None:
    async with working(bench, drawing(0)):
        body = {"prompt": "a", "odd": True}
        answer = await api.post("/sdapi/v1/txt2img", json=body)
        images = await api.post("/v1/images/generations", json={**body, "prompt": "b"})
    expected = ["prepared oddly", "came out oddly"]
    for told in (answer, images):
        assert json.loads(told.headers["x-warnings"]) == expected
        assert told.json()["warnings"] == expected
    assert json.loads(answer.json()["info"])["warnings"] == expected


async def test_warnings_in_any_script_fit_into_a_header(
    api: httpx.AsyncClient, bench: Bench
) -> None:
    odd = [f"{number} Ünïcode\r\nX-Evil: 1 " + "🗼" * 300 for number in range(30)]

    async def draw(prepared: Prepared, report: ProgressCallback) -> Output:
        output = await drawing(0)(prepared, report)
        return Output(output.artifacts, warnings=tuple(odd))

    async with working(bench, draw):
        answer = await api.post("/sdapi/v1/txt2img", json={"prompt": "a"})
    assert "x-evil" not in answer.headers
    assert len(answer.headers["x-warnings"]) < 8_000, "some clients take no more"
    assert json.loads(answer.headers["x-warnings"])[0].startswith("0 Ünïcode\r\nX-Evil")
    assert answer.json()["warnings"] == odd


async def test_refusals_have_the_web_uis_shape(api: httpx.AsyncClient, bench: Bench) -> None:
    async with working(bench, failing(Rejected("no such thing", details={"status": 404}))):
        answer = await api.post("/sdapi/v1/txt2img", json={"prompt": "a"})
    assert answer.status_code == 404
    assert answer.json().keys() == {"error", "detail", "body", "errors", "job_id"}
    assert "no such thing" in answer.json()["detail"]


@pytest.mark.parametrize("images", [{}, {"init_images": None}, {"init_images": []}])
async def test_images_from_no_image_are_refused_as_by_the_web_ui(
    api: httpx.AsyncClient, images: dict[str, Any]
) -> None:
    answer = await api.post("/sdapi/v1/img2img", json={"prompt": "a", **images})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "Init image not found"


async def test_extras_are_answered_as_the_web_ui_does(api: httpx.AsyncClient, bench: Bench) -> None:
    bench.runtime = Direct()

    async def enlarge(prepared: Prepared, report: ProgressCallback) -> Output:
        (artifact,) = (await drawing(0)(prepared, report)).artifacts
        count = len(prepared.job.content.get("imageList") or [1])  # type: ignore[arg-type]
        return Output((artifact,) * count, {"html_info": "<p>larger</p>"})

    async with working(bench, enlarge):
        one = await api.post(
            "/sdapi/v1/extra-single-image", json={"image": PNG, "upscaler_1": None}
        )
        images: JsonValue = [{"data": PNG, "name": "a"}, {"data": PNG, "name": "b"}]
        two = await api.post("/sdapi/v1/extra-batch-images", json={"imageList": images})
    assert one.json() == {"html_info": "<p>larger</p>", "image": one.json()["image"]}
    assert base64.b64decode(one.json()["image"]).startswith(b"\x89PNG")
    assert two.json().keys() == {"html_info", "images"}
    assert len(two.json()["images"]) == 2
    assert asked(bench)[0] == {"image": PNG}


async def test_an_extra_that_comes_to_nothing_is_refused(
    api: httpx.AsyncClient, bench: Bench
) -> None:
    bench.runtime = Direct()

    async def nothing(prepared: Prepared, report: ProgressCallback) -> Output:
        await drawing(0)(prepared, report)
        return Output((), {"html_info": ""})

    async with working(bench, nothing):
        answer = await api.post("/sdapi/v1/extra-single-image", json={"image": PNG})
    assert answer.status_code == 422
    assert answer.json().keys() == {"error", "detail", "body", "errors", "job_id"}


async def test_extras_of_no_image_need_no_runtime(api: httpx.AsyncClient) -> None:
    none = await api.post("/sdapi/v1/extra-batch-images", json={"imageList": []})
    assert none.json() == exchange("extras", "batch: empty list")["response"]["json"]
    for path, body in (
        ("extra-single-image", {"upscaling_resize": 2}),
        ("extra-single-image", {"image": ""}),
        ("extra-batch-images", {"upscaler_1": "Lanczos"}),
        ("extra-batch-images", {"imageList": "x"}),
    ):
        answer = await api.post(f"/sdapi/v1/{path}", json=body)
        assert answer.status_code == 422
        assert answer.json().keys() == {"error", "detail", "body", "errors"}


# progress and interruption


async def test_without_jobs_nothing_runs(api: httpx.AsyncClient) -> None:
    answer = await api.get("/sdapi/v1/progress", params={"skip_current_image": "true"})
    real = exchange("auth", "right")["response"]["json"]
    assert answer.json() == real
    assert (await api.post("/sdapi/v1/interrupt")).json() == {}
    assert (await api.post("/sdapi/v1/skip")).json() is None


class Halfway:
    """A run that tells that it is halfway, and goes no further."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def __call__(self, _: Prepared, report: ProgressCallback) -> Output:
        report(Progress(0.5))
        self.reached.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody lets it go on")


@pytest.mark.parametrize("route", ["interrupt", "skip"])
async def test_a_running_job_is_shown_and_can_be_stopped(
    api: httpx.AsyncClient, bench: Bench, route: str
) -> None:
    run = Halfway()
    bench.policy = {"progress_interval": 0.01, "cancel_poll": 0.05}
    async with working(bench, run):
        made = asyncio.create_task(api.post("/sdapi/v1/txt2img", json={"prompt": "a", "steps": 20}))
        await run.reached.wait()

        async def halfway() -> bool:
            return bool((await api.get("/sdapi/v1/progress")).json()["progress"] == 0.5)

        await eventually(halfway)
        shown = (await api.get("/sdapi/v1/progress")).json()
        assert same_shape(shown, exchange("auth", "right")["response"]["json"])
        state = shown["state"]
        assert (state["sampling_step"], state["sampling_steps"], state["job_count"]) == (10, 20, 1)
        assert (await api.post(f"/sdapi/v1/{route}")).status_code == 200
        answer = await made
        assert answer.status_code == 410
        assert answer.json().keys() >= {"error", "detail", "body", "errors"}
        shown = (await api.get("/sdapi/v1/progress")).json()
        assert (shown["progress"], shown["state"]["job_count"]) == (0.0, 0)
    assert len(bench.runtime.interrupted) == 1


async def test_jobs_of_others_are_neither_shown_nor_stopped(
    gateways: Gateways, bench: Bench
) -> None:
    app = await started(gateways, bench, keys=True)
    async with client_of(app, "one") as one, client_of(app, "two") as two:
        job = (await one.post("/v1/jobs", json={"content": {"prompt": "mine"}})).json()
        assert (await one.get("/sdapi/v1/progress")).json()["state"]["job_count"] == 1
        assert (await two.get("/sdapi/v1/progress")).json()["state"]["job_count"] == 0
        await two.post("/sdapi/v1/interrupt")
        assert (await one.get(f"/v1/jobs/{job['id']}")).json()["status"] == "queued"
        await one.post("/sdapi/v1/interrupt")
        assert (await one.get(f"/v1/jobs/{job['id']}")).json()["status"] == "cancelling"


async def test_of_waiting_jobs_the_first_is_stopped(api: httpx.AsyncClient) -> None:
    ids = []
    for number in range(3):
        body = {"metadata": {"id": f"job-{number}"}, "content": {"prompt": str(number)}}
        ids.append((await api.post("/v1/jobs", json=body)).json()["id"])
        await asyncio.sleep(0.002)  # listed by the millisecond
    shown = (await api.get("/sdapi/v1/progress")).json()
    assert (shown["progress"], shown["state"]["job_count"]) == (0.0, 3)
    assert shown["textinfo"] == "In queue: 3"
    await api.post("/sdapi/v1/interrupt")
    statuses = [(await api.get(f"/v1/jobs/{one}")).json()["status"] for one in ids]
    assert statuses == ["cancelling", "queued", "queued"]


# png-info


def png_with(infotext: str, **others: str) -> str:
    file, texts = io.BytesIO(), PngImagePlugin.PngInfo()
    for name, value in {"parameters": infotext, **others}.items():
        texts.add_text(name, value)
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=texts)
    return base64.b64encode(file.getvalue()).decode()


async def test_what_is_written_in_an_image_is_read_as_by_the_web_ui(
    api: httpx.AsyncClient,
) -> None:
    real = exchange("misc", "png-info of it")["response"]["json"]
    for image in (png_with(real["info"]), "data:image/png;base64," + png_with(real["info"])):
        assert (await api.post("/sdapi/v1/png-info", json={"image": image})).json() == real
    plain = exchange("misc", "png-info of an image without one")["response"]["json"]
    assert (await api.post("/sdapi/v1/png-info", json={"image": PNG})).json() == plain
    more = (await api.post("/sdapi/v1/png-info", json={"image": png_with("a", Title="b")})).json()
    assert more["items"] == {"Title": "b"}


async def test_no_pixel_is_decompressed_to_read_what_is_written(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = png_with("a lighthouse")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decompressed"))
    answer = await api.post("/sdapi/v1/png-info", json={"image": image})
    assert answer.json()["info"] == "a lighthouse"


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
async def test_the_text_of_other_formats_is_found_too(api: httpx.AsyncClient, form: str) -> None:
    exif = Image.Exif()
    comment = b"UNICODE\x00" + "a lighthouse 絵\nSteps: 2, Sampler: Euler, Seed: 7".encode(
        "utf-16-be"
    )
    exif.get_ifd(0x8769)[0x9286] = comment
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, form, exif=exif)
    image = base64.b64encode(file.getvalue()).decode()
    answer = (await api.post("/sdapi/v1/png-info", json={"image": image})).json()
    assert answer["parameters"]["Prompt"] == "a lighthouse 絵"
    assert answer["parameters"]["Seed"] == "7"


@pytest.mark.parametrize("image", ["zzz", "", "AAAA", PNG[: len(PNG) // 8], "ü"])
async def test_what_is_no_image_is_refused_in_the_web_uis_words(
    api: httpx.AsyncClient, image: str
) -> None:
    real = exchange("misc", "png-info of no image")["response"]["json"]
    answer = await api.post("/sdapi/v1/png-info", json={"image": image})
    assert (answer.status_code, answer.json()) == (422, real)
    missing = await api.post("/sdapi/v1/png-info", json={})
    assert missing.status_code == 422
    assert same_shape(
        missing.json(), exchange("misc", "png-info without image")["response"]["json"]
    )
