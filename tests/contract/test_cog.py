"""The adapter of cog servers keeps the contract, at the real server and at the fake."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import zip_longest

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import JsonValue

from cog_servers import fake_cog, predictions_held, real_cog, set_up
from harness import PATIENCE
from queue_agent.runtime import Output, Progress, Readiness, Runtime, RuntimeOptions
from queue_agent.testing import RuntimeContract, ServerProcess, eventually, sample_png
from queue_agent.testing.runtime_contract.hooks import contents, ignore
from queue_agent.wire.errors import Rejected, RunLost, RuntimeAway, RuntimeSick, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.cog import CogRuntime, predictions

PNG = base64.b64encode(sample_png()).decode()
DATA_URL = f"data:image/png;base64,{PNG}"


def job(task_type: str = "pipeline", *, name: str = "job-1", **content: JsonValue) -> Job:
    asked: dict[str, JsonValue] = {"prompt": "a cat", "seed": 1, **content}
    return Job.model_validate({"metadata": {"id": name, "tasktype": task_type}, "content": asked})


class CogContract(RuntimeContract):
    __test__ = False
    adapter = CogRuntime
    takes_two_jobs = False

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[ServerProcess]:
        with set_up(cls.new_server()) as server:
            yield server

    def jobs(self) -> Sequence[Job]:
        return [
            job("text-to-image", width=64, height=64, steps=2),
            job("image-to-image", init_images=[PNG], mask=PNG, denoising_strength=0.5, steps=2),
            job("text-to-video", frames=3, fps=8, steps=2),
            job("image-to-video", frames=3, fps=8, first_frame=PNG, steps=2),
            job("image-to-3d", image=PNG, output="mesh", steps=2),
            job(num_inference_steps=2),
        ]

    def slow_job(self) -> Job:
        return job(num_inference_steps=100_000)

    def two_jobs(self, seconds: float = 1.0) -> tuple[Job, Job]:
        steps = int(50 * seconds)
        return job(num_inference_steps=steps), job(num_inference_steps=steps, seed=2)

    def bad_job(self) -> tuple[Job, str]:
        return job(width=4096), "4096 is greater than the maximum of 1024"

    def job_with_references(self) -> tuple[Job, set[str]]:
        image, mask = "https://example.com/start.png", "s3://bucket/mask.png"
        return job(prompt="http://example.com/ is a prompt", image=image, mask=mask), {image, mask}

    async def jobs_held(self, server: ServerProcess) -> int:
        return await predictions_held(server)


class TestRealCog(CogContract):
    __test__ = True

    @classmethod
    def new_server(cls) -> ServerProcess:
        return real_cog()


class TestFakeCog(CogContract):
    __test__ = True

    @classmethod
    def new_server(cls) -> ServerProcess:
        return fake_cog()


@pytest.fixture(scope="module", params=[real_cog, fake_cog], ids=["real", "fake"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with set_up(request.param()) as server:
        yield server


@pytest.fixture
async def runtime(server: ServerProcess) -> AsyncIterator[Runtime]:
    async with opened(server) as runtime:
        yield runtime


@asynccontextmanager
async def opened(server: ServerProcess) -> AsyncIterator[Runtime]:
    options = RuntimeOptions(base_url=server.url, output_hosts=("127.0.0.1/32",))
    runtime = CogRuntime(options)
    try:
        await runtime.ready()
        yield runtime
    finally:
        await runtime.aclose()


async def made(runtime: Runtime, job: Job) -> Output:
    return await runtime.run(await runtime.prepare(job, {}), ignore)


ALIKE: list[tuple[str, str, JsonValue]] = [
    ("PUT", "/predictions/a", {"input": {"prompt": "a cat", "seed": 1, "num_outputs": 2}}),
    ("PUT", "/predictions/a", {"input": {"prompt": "a cat", "seed": 1.0, "nonsense": 1}}),
    ("PUT", "/predictions/a", {"input": {"prompt": "a cat", "seed": 1, "image": DATA_URL}}),
    ("PUT", "/predictions/a", {"input": {"prompt": "a cat", "seed": 1, "output": "nested"}}),
    ("PUT", "/predictions/a", {"input": {"prompt": "a cat", "seed": 1, "output": "mesh"}}),
    ("PUT", "/predictions/a", {"input": {"prompt": "a cat", "seed": 1, "num_frames": 2}}),
    ("PUT", "/predictions/a", {"input": {"prompt": "a cat", "output": "text"}}),
    ("PUT", "/predictions/a", {"input": {"prompt": "CUDA out of memory", "output": "error"}}),
    ("PUT", "/predictions/a", {"input": {}}),
    ("PUT", "/predictions/a", {"input": []}),
    ("PUT", "/predictions/a", {"input": {"prompt": "a", "width": 9999, "scheduler": "z"}}),
    ("PUT", "/predictions/a", {"input": {"prompt": "a", "guidance_scale": 0, "seed": "k"}}),
    ("PUT", "/predictions/a", {"id": "b", "input": {}}),
    ("GET", "/predictions/a", None),
    ("POST", "/predictions/a/cancel", None),
    ("GET", "/openapi.json", None),
]
"""What both servers are asked."""


def comparable(answer: httpx.Response) -> tuple[int, JsonValue]:
    """An answer without what no two have in common."""
    if answer.headers.get("content-type") != "application/json":
        return answer.status_code, None
    value = answer.json()
    if isinstance(value, dict) and isinstance(value.get("metrics"), dict):
        value["metrics"].pop("predict_time", None)
    return answer.status_code, value


async def test_the_fake_answers_as_the_real_server_does() -> None:
    async def answers(server: ServerProcess) -> list[tuple[int, JsonValue]]:
        found = []
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            for method, path, asked in ALIKE:
                found.append(comparable(await client.request(method, path, json=asked)))
                await eventually(lambda: idle(server))  # a moment later than the answer
        return found

    with set_up(real_cog()) as real, set_up(fake_cog()) as fake:
        expected, found = await answers(real), await answers(fake)
    for asked, one, other in zip_longest(ALIKE, expected, found):
        if asked[0] == "GET" and asked[1].startswith("/predictions"):
            assert one[0] == other[0] == 405
        else:
            assert one == other, asked


async def test_who_joins_a_prediction_sees_how_far_it_is(server: ServerProcess) -> None:
    slow: JsonValue = {"input": {"prompt": "a", "num_inference_steps": 500}}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        begun = await client.put("/predictions/j", json=slow, headers={"prefer": "respond-async"})
        assert comparable(begun) == (202, {"id": "j", "status": "starting"})

        async def printed() -> str:
            status, value = comparable(await client.put("/predictions/j", json={"input": []}))
            assert status == 202
            assert isinstance(value, dict)
            left_out = dict.fromkeys(("image", "mask", "num_frames", "seed"))
            assert value.pop("input") == {"prompt": "a", "num_inference_steps": 500, **left_out}
            logs = str(value.pop("logs"))
            assert value == {"id": "j", "metrics": {}, "status": "processing"}
            return logs

        await eventually(printed)
        assert "/500 [" in await printed()
        busy = await client.put("/predictions/k", json={"input": {"prompt": "b"}})
        told = {"error": "At capacity - all prediction slots busy", "status": "failed"}
        assert comparable(busy) == (409, told)
        assert comparable(await client.post("/predictions/j/cancel")) == (200, {})
        await eventually(lambda: idle(server))


async def idle(server: ServerProcess) -> bool:
    return not await predictions_held(server)


async def test_progress_is_that_of_the_bar_in_the_logs(runtime: Runtime) -> None:
    reports: list[Progress] = []
    prepared = await runtime.prepare(job(num_inference_steps=100, step_seconds=0.01), {})
    await runtime.run(prepared, reports.append)
    stepped = [report for report in reports if report.step]
    assert stepped
    for report in stepped:
        assert report.steps == 100
        assert report.fraction == min((report.step or 0) / 100, 0.99)


async def test_files_are_found_wherever_they_stand_and_the_rest_is_data(runtime: Runtime) -> None:
    output = await made(runtime, job(output="nested"))
    assert [artifact.media_type for artifact in output.artifacts] == ["image/png"] * 3
    told = {"more": {"first": {"artifact": 1}}, "count": 2}
    found = output.response["output"]
    assert isinstance(found, dict)
    pictures = found.pop("pictures")
    marks = [*pictures, found["more"]["first"]]  # type: ignore[misc, call-overload, index]
    assert sorted(mark["artifact"] for mark in marks) == [1, 2, 3]
    assert found["count"] == told["count"]
    metrics = output.response["metrics"]
    assert isinstance(metrics, dict)
    assert metrics["steps"] == 4
    assert "predict_time" in metrics
    assert "4/4 [" in str(output.response["logs"])


async def test_a_model_may_give_words_only(runtime: Runtime) -> None:
    output = await made(runtime, job(output="text", prompt="http://example.com/ is a text"))
    assert output.artifacts == ()
    assert output.response["output"] == "http://example.com/ is a text"


async def test_a_portable_job_for_an_image_is_not_content_with_words(runtime: Runtime) -> None:
    with pytest.raises(Unavailable, match="no image") as caught:
        await made(runtime, job("text-to-image", output="text"))
    assert caught.value.type == "invalid_answer"


async def test_a_portable_job_is_said_in_the_models_words(runtime: Runtime) -> None:
    asked = job(
        "text-to-image",
        steps=3,
        cfg_scale=5,
        n_iter=2,
        sampler_name="Euler",
        width=128,
        height=64,
        loras=[{"name": "ink"}],
        clip_skip=2,
        step_seconds=0.001,
    )
    output = await made(runtime, asked)
    assert len(output.artifacts) == 2
    assert [artifact.seed for artifact in output.artifacts] == [1, None]
    assert "3/3 [" in str(output.response["logs"])
    assert output.warnings == (
        "loras: the model takes none by name; ignored.",
        "clip_skip: the model has no such input; ignored.",
    )


async def test_a_job_waits_for_its_turn_while_others_have_the_server(
    runtime: Runtime, server: ServerProcess
) -> None:
    reports: list[Progress] = []
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        slow = {"input": {"prompt": "a", "num_inference_steps": 100_000}}
        await client.put("/predictions/theirs", json=slow, headers={"prefer": "respond-async"})
        prepared = await runtime.prepare(job(), {})
        task = asyncio.create_task(runtime.run(prepared, reports.append))
        _, waiting = await asyncio.wait({task}, timeout=1.5)
        assert waiting, "it neither fails nor runs"
        assert not reports, "its time has not begun"
        assert await runtime.ready(), "a server that is busy is ready"
        assert await predictions_held(server), "whose work it is lives on"
        await client.post("/predictions/theirs/cancel")
        assert (await task).artifacts
    assert reports[-1].fraction == 1.0


async def test_a_second_attempt_does_not_disturb_the_first_that_still_runs(
    runtime: Runtime, server: ServerProcess
) -> None:
    async with opened(server) as other:
        asked = job(num_inference_steps=40)
        first, second = [
            asyncio.create_task(one.run(await one.prepare(asked, {}), ignore))
            for one in (runtime, other)
        ]
        both = [contents(output) for output in await asyncio.gather(first, second)]
    assert both[0] == both[1]


async def test_what_the_model_raises_is_told_in_its_words(runtime: Runtime) -> None:
    with pytest.raises(Rejected, match="The model failed: RuntimeError: no such style") as refused:
        await made(runtime, job(prompt="no such style", output="error"))
    assert refused.value.type == "prediction_failed"
    with pytest.raises(Unavailable, match="out of memory") as caught:
        await made(runtime, job(prompt="CUDA out of memory. Tried 2 GiB", output="error"))
    assert caught.value.type == "out_of_memory"
    with pytest.raises(RuntimeSick):
        await made(runtime, job(prompt="CUDA error: device-side assert triggered", output="error"))


@pytest.mark.parametrize("new", [real_cog, fake_cog], ids=["real", "fake"])
async def test_a_model_whose_process_ends_has_lost_the_run_and_is_sick(
    new: Callable[[], ServerProcess],
) -> None:
    with set_up(new()) as server:
        async with opened(server) as runtime:
            with pytest.raises(RunLost):
                await made(runtime, job(output="crash"))
            readiness = Readiness.of(await runtime.ready())
            assert readiness.state == "sick"
            assert "healthcheck channel closed" in readiness.reason
            with pytest.raises(RuntimeSick):
                await made(runtime, job())


async def test_a_model_that_cannot_be_set_up_is_sick_with_its_own_words() -> None:
    with real_cog(FAKE_COG_SETUP="the weights are missing") as server:
        runtime = CogRuntime(RuntimeOptions(base_url=server.url))
        states: list[Readiness] = []

        async def told() -> bool:
            states.append(await runtime.ready())
            return states[-1].state == "sick"

        await eventually(told)
        await runtime.aclose()
    assert {state.state for state in states[:-1]} <= {"starting"}
    assert "RuntimeError: the weights are missing" in states[-1].reason


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("STARTING", "starting"),
        ("READY", "ready"),
        ("BUSY", "ready"),
        ("SETUP_FAILED", "sick"),
        ("DEFUNCT", "sick"),
        ("UNHEALTHY", "away"),
        ("WHATEVER", "misconfigured"),
    ],
)
async def test_readiness_is_what_the_health_check_says(status: str, state: str) -> None:
    setup = {"started_at": "now", "logs": "loading\nthe last words\n"}

    async def health(request: web.Request) -> web.Response:
        return web.json_response({"status": status, "setup": setup})

    application = web.Application()
    application.add_routes([web.get("/{path:.*}", health)])
    async with TestServer(application) as server:
        runtime = CogRuntime(RuntimeOptions(base_url=f"{server.make_url('/')}"))
        readiness = Readiness.of(await runtime.ready())
        await runtime.aclose()
    assert readiness.state == state
    assert bool(readiness.reason) is (state != "ready")
    assert ("the last words" in readiness.reason) is (state == "sick")


async def test_a_server_that_is_being_set_up_never_had_the_job() -> None:
    with fake_cog("--status", "STARTING") as server:
        async with opened(server) as runtime:
            with pytest.raises(RuntimeAway, match="Setup has not finished"):
                await made(runtime, job())


async def test_a_model_that_describes_nothing_is_sent_the_usual_names() -> None:
    image = "https://example.com/a.png"
    with fake_cog("--no-schema") as server:
        async with opened(server) as runtime:
            asked = job("text-to-image", steps=3, width=128, height=64, guidance_scale=3)
            prepared = await runtime.prepare(asked, {})
            assert prepared.request["input"] == {
                "prompt": "a cat",
                "width": 128,
                "height": 64,
                "num_inference_steps": 3,
                "seed": 1,
                "guidance_scale": 3,
            }
            assert (await runtime.run(prepared, ignore)).artifacts
            named = job(prompt="https://example.com/ is a prompt", photo={"of": [image]})
            (found,) = runtime.references(named)
            assert (found.url, found.path) == (image, ("photo", "of", 0))


async def test_outputs_that_the_server_has_uploaded_are_fetched() -> None:
    async def picture(_: web.Request) -> web.Response:
        return web.Response(body=sample_png())

    store = web.Application()
    store.add_routes([web.get("/{path:.*}", picture)])
    async with TestServer(store, host="127.0.0.1") as place:
        with fake_cog("--upload-url", f"{place.make_url('/files')}") as server:
            async with opened(server) as runtime:
                output = await made(runtime, job("text-to-image", n_iter=2))
            closed = CogRuntime(RuntimeOptions(base_url=server.url))
            with pytest.raises(Unavailable) as caught:
                await made(closed, job("text-to-image"))
            await closed.aclose()
    assert contents(output) == [sample_png()] * 2
    assert caught.value.type == "output_forbidden"


async def test_looking_at_a_prediction_never_makes_another() -> None:
    with fake_cog("--no-schema") as server:
        async with (
            opened(server) as runtime,
            httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client,
        ):
            prepared = await runtime.prepare(job(num_inference_steps=60), {})
            await runtime.run(prepared, ignore)
            assert await runtime.still_runs(prepared) is False
            assert (await client.get("/fake/made")).json() == 1


async def test_a_server_that_does_not_notice_who_left_is_told_to_stop() -> None:
    with fake_cog("--deaf") as server:
        async with opened(server) as runtime:
            prepared = await runtime.prepare(job(num_inference_steps=100_000), {})
            task = asyncio.create_task(runtime.run(prepared, ignore))
            await eventually(lambda: predictions_held(server))
            task.cancel()
            await asyncio.wait({task})
            await eventually(lambda: idle(server))
            assert await runtime.still_runs(prepared) is False


async def test_a_run_is_told_to_stop_until_the_server_has_heard_it() -> None:
    with fake_cog("--deaf", "--begins-after", "0.5") as server:
        async with opened(server) as runtime:
            prepared = await runtime.prepare(job(num_inference_steps=100_000), {})
            task = asyncio.create_task(runtime.run(prepared, ignore))
            await eventually(lambda: predictions_held(server))
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            assert not await predictions_held(server)


async def test_a_server_that_hears_it_late_is_told_again_after_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predictions, "STOP_SECONDS", 0.1)
    with fake_cog("--begins-after", "2") as server:
        async with opened(server) as runtime:
            prepared = await runtime.prepare(job(num_inference_steps=100_000), {})
            task = asyncio.create_task(runtime.run(prepared, ignore))
            await eventually(lambda: predictions_held(server))
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()

            async def over() -> bool:
                return not await runtime.still_runs(prepared)

            await eventually(over)
            assert not await predictions_held(server)
