"""A real Triton: `make test-triton` runs it from an environment of its own.

The contract, the recording that the fake is held against, and jobs on their way through an agent
to the example's diffusers pipeline.
"""

import asyncio
import io
import json
import os
import secrets
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

import httpx
import pytest
from PIL import Image
from pydantic import JsonValue

from harness import PATIENCE, scene
from picture_judge import seen_in
from queue_agent.runtime import RuntimeOptions
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess
from queue_agent.wire.errors import RuntimeSick
from queue_agent_diffusers.tiny import FOLDER
from queue_agent_runtimes.triton import TritonRuntime
from triton_contract import STEP_SECONDS, TritonContract, painting
from triton_recording import RECORDING, ask, essence, requests
from triton_servers import StandIns, real_triton

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "triton"


class TestRealTriton(TritonContract):
    stand_ins: ClassVar[weakref.WeakKeyDictionary[ServerProcess, StandIns]] = (
        weakref.WeakKeyDictionary()
    )
    folder: ClassVar[Path]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def folders(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.folder = tmp_path_factory.mktemp("triton")

    @classmethod
    def new_server(cls) -> ServerProcess:
        found = StandIns(cls.folder, step_seconds=STEP_SECONDS)
        cls.stand_ins[found.server] = found
        return found.server

    async def jobs_held(self, server: ServerProcess) -> int:
        return await self.stand_ins[server].held()

    async def end_work(self, server: ServerProcess) -> None:
        self.stand_ins[server].end_work()

    @pytest.mark.asyncio
    async def test_a_cancelled_run_is_worked_on_still(
        self, runtime: TritonRuntime, server: ServerProcess
    ) -> None:
        """Triton notices nothing of a connection that closes: nobody can tell when it is free."""
        await self.cancel_a_run_that_goes_on(runtime, server)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    stand_ins = StandIns(tmp_path_factory.mktemp("triton"), step_seconds=0.02, broken=True)
    with stand_ins.server as server, httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def test_it_answers_as_it_was_recorded(client: httpx.Client) -> None:
    answers = [ask(client, asked) for asked in requests()]
    if os.environ.get("UPDATE_RECORDINGS"):
        RECORDING.parent.mkdir(exist_ok=True)
        RECORDING.write_text(json.dumps({"exchanges": answers}, indent=1) + "\n")
    recorded = json.loads(RECORDING.read_text())["exchanges"]
    for answered, one in zip(answers, recorded, strict=True):
        assert essence(answered) == essence(one), one["request"]["what"]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The example's repository, with the tiny model of the bundled runtime."""
    log = tmp_path_factory.mktemp("example") / "triton.log"
    with real_triton(EXAMPLE / "models", env={"MODEL": str(FOLDER)}, log=log) as server:
        yield server


def agents(server: ServerProcess) -> dict[str, str]:
    return {
        "QUEUE_AGENT_RUNTIME": "triton",
        "QUEUE_AGENT_RUNTIME_URL": server.url,
        "QUEUE_AGENT_RUNTIME_OPTIONS": '{"model": "stable_diffusion"}',
    }


async def test_jobs_come_back_as_pictures_of_what_they_asked_for(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, example: ServerProcess
) -> None:
    name = f"triton-{secrets.token_hex(4)}"
    prompts = {
        "red circle": ("red", "white"),
        "blue square on yellow": ("blue", "yellow"),
        "green heart on black": ("green", "black"),
    }
    async with scene(embedded_cloud, name, tmp_path, agents(example)) as stage:
        stage.start_agent()
        for number, prompt in enumerate(prompts):
            content = {"prompt": prompt, "steps": 16, "seed": 1, "width": 256, "height": 256}
            await stage.publish(stage.job(f"job-{number}", content))
        for number, colours in enumerate(prompts.values()):
            answer = await stage.answer(f"job-{number}", timeout=300)
            assert answer["status"] == "completed", answer
            assert answer["images"][0]["seed"] == 1
            with Image.open(io.BytesIO(await stage.read(answer["image_url"][0]))) as picture:
                assert picture.size == (256, 256)
                seen = seen_in(picture)
            assert (seen.colour, seen.background) == colours
        await stage.publish(stage.job("wrong", {"prompt": "a cat", "steps": 151}))
        error = (await stage.answer("wrong"))["error"]
        assert error["message"].endswith("steps: must be from 1 to 150")
        await stage.emptied()


async def test_jobs_go_through_the_pipeline_together(example: ServerProcess) -> None:
    """Dynamic batching: fewer executions than jobs, and each has its own picture all the same."""
    runtime = TritonRuntime(RuntimeOptions(base_url=example.url))
    try:
        assert await runtime.ready()
        assert runtime.concurrency == 4
        asked: dict[str, JsonValue] = {"steps": 8, "width": 64, "height": 64}
        jobs = [
            painting("text-to-image", prompt="red star", seed=seed, **asked) for seed in range(4)
        ]
        prepared = [await runtime.prepare(one, {}) for one in jobs]
        before = await executions(example)
        outputs = await asyncio.gather(*(runtime.run(one, lambda _: None) for one in prepared))
        assert await executions(example) - before < 4
        assert len({output.artifacts[0].data for output in outputs}) == 4
    finally:
        await runtime.aclose()


async def executions(server: ServerProcess) -> int:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        stats = (await client.get("/v2/models/stable_diffusion/stats")).json()
    return int(stats["model_stats"][0]["execution_count"])


async def test_a_model_whose_process_died_is_sick(tmp_path: Path) -> None:
    stand_ins = StandIns(tmp_path, step_seconds=0.02)
    with stand_ins.server as server:
        runtime = TritonRuntime(RuntimeOptions(base_url=server.url, own={"model": "painter"}))
        try:
            for prompt in ("exit", "a cat"):
                with pytest.raises(RuntimeSick):
                    await runtime.run(
                        await runtime.prepare(painting(prompt=prompt), {}), lambda _: None
                    )
            assert await runtime.ready(), "Triton calls it ready, so that the agent must remember"
        finally:
            await runtime.aclose()
