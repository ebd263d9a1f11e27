"""The Web UI's adapter, against the fake Web UI in a process of its own."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import replace

import httpx
import pytest
from PIL import Image
from pydantic import JsonValue

from fakes import fake_runtime
from harness import PATIENCE
from queue_agent.runtime import (
    OWN,
    Asset,
    Loaded,
    ModelUse,
    Output,
    Progress,
    Runtime,
    RuntimeOptions,
)
from queue_agent.testing import FaultProxy, RuntimeContract, ServerProcess, eventually, sample_png
from queue_agent.testing.fault_proxy import Status, on_path
from queue_agent.testing.runtime_contract.hooks import contents, ignore
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.webui import WebUIRuntime

PNG = base64.b64encode(sample_png()).decode()
URL = "https://images.example.com/cat.png"
LONG = 60_000
"""Steps that would take ten minutes."""


def webui_server(*flags: str) -> ServerProcess:
    return fake_runtime("webui", *flags)


def job(task_type: str, **content: JsonValue) -> Job:
    return Job.model_validate(
        {"metadata": {"id": "job-1", "tasktype": task_type}, "content": content}
    )


def text_to_image(**content: JsonValue) -> Job:
    asked: dict[str, JsonValue] = {"prompt": "a lighthouse", "steps": 3, "seed": 7}
    asked |= {"width": 64, "height": 64}
    return job("text-to-image", **(asked | content))


def image_to_image(**content: JsonValue) -> Job:
    init_images: JsonValue = [PNG]
    return job("image-to-image", **(text_to_image(init_images=init_images).content | content))


class TestWebUIContract(RuntimeContract):
    adapter = WebUIRuntime

    @classmethod
    def new_server(cls) -> ServerProcess:
        return webui_server()

    def jobs(self) -> list[Job]:
        return [
            text_to_image(),
            image_to_image(),
            job("extra-single-image", image=PNG, upscaler_1="R-ESRGAN 4x+"),
            job("extra-batch-images", imageList=[{"data": PNG, "name": "a.png"}]),
        ]

    def slow_job(self) -> Job:
        return text_to_image(steps=LONG)

    def two_jobs(self, seconds: float = 1.0) -> tuple[Job, Job]:
        steps = int(50 * seconds)
        return text_to_image(steps=2 * steps), text_to_image(steps=steps, seed=8, n_iter=2)

    def bad_job(self) -> tuple[Job, str]:
        return text_to_image(sampler_name="Nonsense"), "no sampler 'Nonsense'"

    def job_with_references(self) -> tuple[Job, set[str]]:
        names = ("init", "mask", "control", "input", "nested", "nested-mask")
        init, mask, control, given, nested, nested_mask = (
            f"https://images.example.com/{name}.png" for name in names
        )
        units: list[JsonValue] = [
            {"image": control, "module": "canny", "model": "none"},
            {"input_image": given},
            {"image": {"image": nested, "mask": nested_mask}},
        ]
        content: dict[str, JsonValue] = {
            "prompt": "http://example.com/ is a prompt",
            "negative_prompt": "https://example.com/no.png",
            "init_images": [init, PNG, f"data:image/png;base64,{PNG}"],
            "batch_size": 3,
            "mask": mask,
            "alwayson_scripts": {
                "ControlNet": {"args": units},
                "Seed": {"args": ["argument"]},
            },
        }
        return image_to_image(**content), {init, mask, control, given, nested, nested_mask}

    async def jobs_held(self, server: ServerProcess) -> int:
        return await jobs_held(server)


async def ask(server: ServerProcess, what: str) -> dict[str, JsonValue]:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        answer: dict[str, JsonValue] = (await client.get(f"/fake/{what}")).json()
    return answer


async def ask_list(server: ServerProcess, what: str) -> list[dict[str, JsonValue]]:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        answer: list[dict[str, JsonValue]] = (await client.get(f"/fake/{what}")).json()
    return answer


async def tell(server: ServerProcess, what: str, value: JsonValue) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        (await client.post(what, json=value)).raise_for_status()


@asynccontextmanager
async def opened(
    server: ServerProcess, options: RuntimeOptions | None = None
) -> AsyncIterator[Runtime]:
    runtime = WebUIRuntime(replace(options or RuntimeOptions(), base_url=server.url))
    try:
        yield runtime
    finally:
        await runtime.aclose()


async def run(runtime: Runtime, asked: Job, progress: list[Progress] | None = None) -> Output:
    assets = {found.url: Asset(sample_png(), "image/png") for found in runtime.references(asked)}
    prepared = await runtime.prepare(asked, assets)
    return await runtime.run(prepared, ignore if progress is None else progress.append)


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerProcess]:
    """A server that no test changes for good."""
    with webui_server() as server:
        yield server


@pytest.fixture
def fresh() -> Callable[..., AbstractContextManager[ServerProcess]]:
    """A server of one's own, with flags."""

    @contextmanager
    def start(*flags: str) -> Iterator[ServerProcess]:
        with webui_server(*flags) as server:
            yield server

    return start


Fresh = Callable[..., AbstractContextManager[ServerProcess]]


class TestOutputs:
    async def test_seeds_and_infotexts_belong_to_their_images(self, shared: ServerProcess) -> None:
        async with opened(shared) as runtime:
            output = await run(runtime, text_to_image(batch_size=2, n_iter=2))
        assert [artifact.seed for artifact in output.artifacts] == [7, 8, 9, 10]
        for artifact in output.artifacts:
            assert f"Seed: {artifact.seed}," in (artifact.info or "")
            embedded = Image.open(io.BytesIO(artifact.data)).info["parameters"]
            assert embedded == artifact.info

    async def test_a_grid_is_told_apart_from_the_images(self, shared: ServerProcess) -> None:
        async with opened(shared) as runtime:
            output = await run(runtime, text_to_image(batch_size=2, save_images=True))
        assert [(one.role, one.seed) for one in output.artifacts] == [
            ("grid", None),
            ("output", 7),
            ("output", 8),
        ]

    async def test_detected_maps_of_controlnet_are_extras(self, shared: ServerProcess) -> None:
        units: list[JsonValue] = [{"image": PNG, "module": "canny"}]
        asked = text_to_image(alwayson_scripts={"controlnet": {"args": units}})
        async with opened(shared) as runtime:
            output = await run(runtime, asked)
        assert [(one.role, one.seed) for one in output.artifacts] == [
            ("output", 7),
            ("extra", None),
        ]

    async def test_the_response_holds_no_images(self, shared: ServerProcess) -> None:
        units: list[JsonValue] = [{"image": PNG}]
        asked = image_to_image(
            mask=PNG, include_init_images=True, alwayson_scripts={"controlnet": {"args": units}}
        )
        async with opened(shared) as runtime:
            output = await run(runtime, asked)
        assert output.response["info"]
        assert output.response["parameters"]
        assert PNG not in str(output.response)

    @pytest.mark.parametrize(
        ("samples_format", "media_type"), [("jpg", "image/jpeg"), ("webp", "image/webp")]
    )
    async def test_the_media_type_is_that_of_the_bytes(
        self, fresh: Fresh, samples_format: str, media_type: str
    ) -> None:
        with fresh() as server:
            await tell(server, "/sdapi/v1/options", {"samples_format": samples_format})
            async with opened(server) as runtime:
                output = await run(runtime, text_to_image())
        assert [artifact.media_type for artifact in output.artifacts] == [media_type]

    async def test_images_are_always_asked_for(self, shared: ServerProcess) -> None:
        async with opened(shared) as runtime:
            output = await run(runtime, text_to_image(send_images=False))
        assert len(output.artifacts) == 1
        assert output.warnings == ()


class TestRequests:
    async def test_unknown_fields_reach_the_server_untouched(self, shared: ServerProcess) -> None:
        async with opened(shared) as runtime:
            await run(runtime, text_to_image(prompt="http://kept", from_the_future={"a": [1]}))
        sent = (await ask_list(shared, "requests"))[-1]
        assert sent["prompt"] == "http://kept"
        assert sent["from_the_future"] == {"a": [1]}

    async def test_a_reference_that_was_not_fetched_is_never_sent(
        self, shared: ServerProcess
    ) -> None:
        async with opened(shared) as runtime:
            with pytest.raises(Rejected) as caught:
                await runtime.prepare(image_to_image(init_images=[URL]), {})
        assert "init_images.0" in caught.value.message

    async def test_the_routing_fields_of_v1alpha1_are_honoured(self, fresh: Fresh) -> None:
        scripts: dict[str, JsonValue] = {
            "task": "image-to-image",
            "id_task": "1",
            "uid": "2",
            "save_dir": "out",
            "sd_model_checkpoint": "dreamy.safetensors",
            "sd_vae": "None",
            "image_link": URL,
            "override_settings": {"CLIP_stop_at_last_layers": 2},
        }
        with fresh() as server:
            async with opened(server) as runtime:
                asked = job("image-to-image", prompt="a cat", steps=2, alwayson_scripts=scripts)
                assert [found.url for found in runtime.references(asked)] == [URL]
                await run(runtime, asked)
            sent = (await ask_list(server, "requests"))[-1]
            assert (await ask(server, "state"))["checkpoint"] == "dreamy.safetensors"
        assert sent["alwayson_scripts"] == {}
        assert sent["init_images"] == [PNG]
        assert sent["override_settings_restore_afterwards"] is True
        assert sent["override_settings"] == {
            "CLIP_stop_at_last_layers": 2,
            "sd_vae": "None",
            "sd_model_checkpoint": "dreamy.safetensors",
        }


class TestCheckpoints:
    @pytest.mark.parametrize(
        "name", ["dreamy", "dreamy.safetensors", "dreamy.safetensors [0000000000]", "dream"]
    )
    async def test_a_job_chooses_its_checkpoint_and_the_next_has_the_servers_own(
        self, fresh: Fresh, name: str
    ) -> None:
        with fresh() as server:
            async with opened(server) as runtime:
                await run(runtime, text_to_image(override_settings={"sd_model_checkpoint": name}))
                assert (await ask(server, "state"))["checkpoint"] == "dreamy.safetensors"
                await run(runtime, text_to_image())
                assert (await ask(server, "state"))["checkpoint"] == "v1-5.safetensors"

    async def test_the_portable_model_is_a_checkpoint(self, fresh: Fresh) -> None:
        with fresh() as server:
            async with opened(server) as runtime:
                await run(runtime, text_to_image(model="dreamy"))
            assert (await ask(server, "state"))["checkpoint"] == "dreamy.safetensors"

    @pytest.mark.parametrize("name", ["dreamy", "dreamy.safetensors [0000000000]", "dream"])
    async def test_a_job_needs_its_checkpoint_whatever_it_calls_it(
        self, shared: ServerProcess, name: str
    ) -> None:
        async with opened(shared) as runtime:
            prepared = await runtime.prepare(text_to_image(prompt="a <lora:ink:1>", model=name), {})
            assert prepared.use == ModelUse.named(["dreamy"], ["ink"])
            assert (await runtime.prepare(text_to_image(), {})).use == ModelUse.named([OWN])
            upscaling = await runtime.prepare(job("extra-single-image", image=PNG), {})
            assert not upscaling.use.is_known
            assert await runtime.loaded() == Loaded(most=1)

    async def test_a_checkpoint_put_on_the_disk_later_is_found(self, fresh: Fresh) -> None:
        with fresh() as server:
            await tell(server, "/fake/models", {"name": "late.safetensors"})
            async with opened(server) as runtime:
                await run(runtime, text_to_image(model="late"))
            assert (await ask(server, "state"))["checkpoint"] == "late.safetensors"

    async def test_an_unknown_checkpoint_is_rejected_by_name(self, shared: ServerProcess) -> None:
        async with opened(shared) as runtime:
            with pytest.raises(Rejected) as caught:
                await runtime.prepare(text_to_image(model="nowhere"), {})
        assert caught.value.type == "unknown_model"
        assert "nowhere" in caught.value.message

    @pytest.mark.parametrize(
        "content", [{"model": "dreamy"}, {"override_settings": {"sd_model_checkpoint": "dreamy"}}]
    )
    async def test_an_operator_may_forbid_switching(
        self, shared: ServerProcess, content: dict[str, JsonValue]
    ) -> None:
        async with opened(shared, RuntimeOptions(switch_models=False)) as runtime:
            output = await run(runtime, text_to_image(**content))
        assert (await ask(shared, "state"))["checkpoint"] == "v1-5.safetensors"
        assert "dreamy" in output.warnings[0]


class TestErrors:
    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            (text_to_image(steps="many"), "steps"),
            (text_to_image(script_name="x"), "no script 'x'"),
            (text_to_image(alwayson_scripts={"x": {"args": []}}), "Script 'x' not found"),
            (image_to_image(init_images=[]), "init_images"),
            (image_to_image(init_images=["bm90IGFuIGltYWdl"]), "Invalid encoded image"),
            (job("extra-single-image", image=PNG, upscaler_1="x"), "no upscaler 'x'"),
            (job("extra-batch-images"), "imageList"),
        ],
    )
    async def test_a_fault_of_the_job_is_rejected_in_the_servers_words(
        self, shared: ServerProcess, asked: Job, words: str
    ) -> None:
        async with opened(shared) as runtime:
            with pytest.raises(Rejected) as caught:
                await run(runtime, asked)
        assert words in caught.value.message

    async def test_out_of_memory_has_a_type_of_its_own(self, shared: ServerProcess) -> None:
        async with opened(shared) as runtime:
            with pytest.raises(Unavailable) as caught:
                await run(runtime, text_to_image(width=8192, height=8192))
        assert caught.value.type == "out_of_memory"
        assert "CUDA out of memory" in caught.value.message

    async def test_another_500_is_unavailable_in_the_servers_words(
        self, shared: ServerProcess
    ) -> None:
        fault: JsonValue = {"kind": "status", "status": 500, "body": "the card fell off the bus"}
        async with opened(shared) as runtime:
            await tell(shared, "/fake/faults", fault)
            with pytest.raises(Unavailable, match="the card fell off the bus"):
                await run(runtime, text_to_image())
            assert (await run(runtime, text_to_image())).artifacts

    async def test_a_server_without_its_api_says_how_to_start_it(self, fresh: Fresh) -> None:
        with fresh("--no-api") as server:
            async with opened(server) as runtime:
                assert not await runtime.ready()
                with pytest.raises(Unavailable, match="--api") as caught:
                    await run(runtime, text_to_image())
        assert caught.value.type == "runtime_api_missing"

    async def test_credentials_open_the_api(self, fresh: Fresh) -> None:
        with fresh("--api-auth", "agent:secret") as server:
            async with opened(
                server, RuntimeOptions(username="agent", password="secret")
            ) as runtime:
                assert await runtime.ready()
                assert (await run(runtime, text_to_image(model="dreamy"))).artifacts
            for wrong in (RuntimeOptions(), RuntimeOptions(username="agent", password="guess")):
                async with opened(server, wrong) as runtime:
                    assert not await runtime.ready()
                    with pytest.raises(Unavailable) as caught:
                        await run(runtime, text_to_image())
                    assert caught.value.type == "runtime_unauthorized"

    @pytest.mark.parametrize(
        ("status", "body", "kind"),
        [
            (400, {"detail": "Sampler not found"}, Rejected),
            (413, None, Rejected),
            (429, {"detail": "slow down"}, Unavailable),
            (500, {"error": "RuntimeError", "errors": "model 'x' not found"}, Rejected),
            (500, {"error": "ValueError", "errors": "boom"}, Unavailable),
            (200, {"images": ["?"]}, Unavailable),
            (200, {"images": [5]}, Unavailable),
            (200, {"images": ["bm90IGFuIGltYWdl"]}, Unavailable),
            (200, {}, Unavailable),
        ],
    )
    async def test_answers_of_other_versions_are_sorted_too(
        self, shared: ServerProcess, status: int, body: JsonValue, kind: type[QueueAgentError]
    ) -> None:
        async with FaultProxy(shared.url) as proxy:
            runtime = WebUIRuntime(RuntimeOptions(base_url=proxy.url))
            fault = Status.of_json(status, body)
            with proxy.fault(fault, on_path("/sdapi/*")), pytest.raises(kind):
                await run(runtime, text_to_image())
            await runtime.aclose()


class TestProgressAndInterruption:
    @pytest.mark.parametrize("flags", [[], ["--nowebui"], ["--without-tasks"]])
    async def test_progress_is_followed_on_every_version(
        self, fresh: Fresh, flags: list[str]
    ) -> None:
        reports: list[Progress] = []
        with fresh(*flags) as server:
            async with opened(server) as runtime:
                prepared = await runtime.prepare(text_to_image(steps=150), {})
                await runtime.run(prepared, reports.append)
        assert len(reports) >= 2
        assert 0 < reports[0].fraction < 1
        assert reports[-1].fraction == 1

    async def test_only_the_cancelled_run_is_interrupted(self, fresh: Fresh) -> None:
        with fresh() as server:
            async with opened(server) as runtime:
                alone = await run(runtime, text_to_image(steps=50))
                async with paused(server):
                    first = asyncio.create_task(run(runtime, text_to_image(steps=50)))
                    await eventually(lambda: is_busy(server))
                    second = asyncio.create_task(
                        run(runtime, text_to_image(prompt="b", steps=LONG))
                    )
                    await eventually(lambda: holds(server, 2))
                    third = asyncio.create_task(run(runtime, text_to_image(steps=50)))
                    await eventually(lambda: holds(server, 3))
                    second.cancel()
                    await asyncio.wait({second})
                assert contents(await first) == contents(alone)
                assert contents(await third) == contents(alone)
                assert second.cancelled()
            runs = await ask_list(server, "runs")
        assert [one["prompt"] for one in runs if one["interrupted"]] == ["b"]

    @pytest.mark.parametrize("flags", [["--nowebui"], ["--without-tasks"]])
    async def test_where_tasks_are_not_known_each_job_has_the_server_for_itself(
        self, fresh: Fresh, flags: list[str]
    ) -> None:
        """So that whatever runs there is the cancelled one."""
        with fresh(*flags) as server:
            async with opened(server) as runtime:
                first = asyncio.create_task(run(runtime, text_to_image(prompt="a", steps=LONG)))
                await eventually(lambda: is_busy(server))
                second = asyncio.create_task(run(runtime, text_to_image(prompt="b", steps=20)))
                first.cancel()
                assert len((await second).artifacts) == 1
                assert first.cancelled()
            runs = await ask_list(server, "runs")
        assert [one["prompt"] for one in runs] == ["a", "b"]
        assert [one["interrupted"] for one in runs] == [True, False]

    @pytest.mark.parametrize("follower", ["text-to-image", "extra-single-image"])
    async def test_cancelling_extras_never_hits_the_next_job(
        self, fresh: Fresh, follower: str
    ) -> None:
        """The server's lock is free, and the next may run, while their answer is encoded."""
        with fresh("--encode-seconds", "1") as server:
            async with opened(server) as runtime:
                extras = asyncio.create_task(run(runtime, job("extra-single-image", image=PNG)))
                await eventually(lambda: has_run(server, 1))
                jobs = {
                    "text-to-image": text_to_image(steps=100),
                    "extra-single-image": job("extra-single-image", image=PNG),
                }
                next_one = asyncio.create_task(run(runtime, jobs[follower]))
                extras.cancel()
                assert len((await next_one).artifacts) == 1
            runs = await ask_list(server, "runs")
        assert [one["interrupted"] for one in runs] == [False, False]

    @pytest.mark.parametrize("order", ["interrupt", "skip"])
    @pytest.mark.parametrize("followed", [False, True])
    async def test_a_run_that_somebody_else_stops_is_not_passed_off_as_whole(
        self, fresh: Fresh, order: str, followed: bool
    ) -> None:
        """Of one that another waits behind this is told by its pace, once that is known."""
        with fresh("--step-seconds", "0.1") as server:
            async with (
                opened(server) as runtime,
                httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as page,
            ):
                seen: list[Progress] = []
                asked = asyncio.create_task(run(runtime, text_to_image(steps=LONG), seen))
                await eventually(lambda: has_come(server, 4))
                follower = asyncio.create_task(run(runtime, text_to_image())) if followed else None
                if followed:
                    await eventually(lambda: holds(server, 2))
                    await eventually(lambda: len([one for one in seen if one.fraction > 0]) > 3)
                await page.post(f"/sdapi/v1/{order}")
                with pytest.raises(Unavailable) as caught:
                    await asked
                assert caught.value.type == "interrupted"
                if follower is not None:
                    assert len((await follower).artifacts) == 1

    async def test_an_interrupt_of_an_idle_server_spoils_nothing(self, fresh: Fresh) -> None:
        with fresh() as server:
            async with (
                opened(server) as runtime,
                httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as page,
            ):
                await run(runtime, text_to_image())
                await page.post("/sdapi/v1/interrupt")
                assert (await run(runtime, text_to_image())).warnings == ()

    async def test_extras_are_interrupted_as_well(self, fresh: Fresh) -> None:
        files: list[JsonValue] = [{"data": PNG, "name": "a.png"}] * 100
        with fresh("--step-seconds", "0.2") as server:
            async with opened(server) as runtime:
                extras = asyncio.create_task(
                    run(runtime, job("extra-batch-images", imageList=files))
                )
                await eventually(lambda: is_busy(server))
                extras.cancel()
                await eventually(lambda: is_idle(server))

    async def test_a_run_hit_by_an_interrupt_meant_for_another_is_not_passed_off_as_whole(
        self, fresh: Fresh
    ) -> None:
        with fresh() as server:
            await tell(server, "/fake/faults", {"kind": "late_interrupt"})
            async with opened(server) as runtime:
                first = asyncio.create_task(run(runtime, text_to_image(steps=LONG)))
                await eventually(lambda: is_busy(server))
                second = asyncio.create_task(run(runtime, text_to_image(steps=50)))
                await eventually(lambda: holds(server, 2))
                first.cancel()
                with pytest.raises(Unavailable) as caught:
                    await second
        assert caught.value.type == "interrupted"

    async def test_another_clients_generation_is_not_interrupted_by_our_waiting_run(
        self, fresh: Fresh
    ) -> None:
        """Somebody at the Web UI's own page generates: our cancelled run must not stop that."""
        with fresh() as server:
            async with (
                opened(server) as runtime,
                httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as page,
            ):
                async with paused(server):
                    human = asyncio.create_task(
                        page.post("/sdapi/v1/txt2img", json={"steps": 100}, timeout=None)
                    )
                    await eventually(lambda: is_busy(server))
                    asked = text_to_image(prompt="ours", steps=LONG)
                    ours = asyncio.create_task(run(runtime, asked))
                    await eventually(lambda: holds(server, 2))
                    ours.cancel()
                    await asyncio.wait({ours})
                assert (await human).status_code == 200
                await eventually(lambda: is_idle(server))
            runs = await ask_list(server, "runs")
        assert [one["prompt"] for one in runs if one["interrupted"]] == ["ours"]


async def jobs_held(server: ServerProcess) -> int:
    state = await ask(server, "state")
    assert isinstance(state["waiting"], list)
    return int(state["working"] is True) + len(state["waiting"])


async def has_run(server: ServerProcess, count: int) -> bool:
    """Whether so many jobs have left the GPU."""
    runs = await ask_list(server, "runs")
    return len([one for one in runs if one["end"] is not None]) == count


async def has_come(server: ServerProcess, steps: int) -> bool:
    """Whether the job under way has taken so many steps."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        state = (await client.get("/sdapi/v1/progress")).json()["state"]
    return bool(state["job_count"] > 0 and state["sampling_step"] >= steps)


async def is_busy(server: ServerProcess) -> bool:
    return await jobs_held(server) > 0


async def is_idle(server: ServerProcess) -> bool:
    return await jobs_held(server) == 0


async def holds(server: ServerProcess, count: int) -> bool:
    return await jobs_held(server) == count


@asynccontextmanager
async def paused(server: ServerProcess) -> AsyncIterator[None]:
    """While the server's GPU stands still, whatever it is given."""
    await tell(server, "/fake/paused", True)
    yield
    await tell(server, "/fake/paused", False)
