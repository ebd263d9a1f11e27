"""Jobs whose models are missing: they wait for them aside, and hold up nobody."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import ClassVar

import pytest

from queue_agent.inputs.models.fetcher import Fetched, Fetching
from queue_agent.runtime import Assets, ModelFile, Output, Prepared, ProgressCallback
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.notification import Notification
from worker_bench import Bench, ScriptedRuntime, drawing, failing

pytestmark = pytest.mark.looptime

LONG = 1200.0
"""Seconds that a download takes unless a test says otherwise."""


class Folder:
    """A folder of models into which each is fetched after so many seconds."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.seconds = LONG
        self.errors: list[Exception] = []
        """Raised by the next downloads."""
        self.begun: list[str] = []
        self.ended: list[str] = []
        """Those whose download was cancelled."""
        self.held: set[str] = set()
        self.replaced: tuple[ModelFile, ...] = ()
        """Told to the next job."""

    async def wanted(self, models: Iterable[ModelFile]) -> list[ModelFile]:
        return list(models)

    async def absent(self, models: Iterable[ModelFile]) -> list[ModelFile]:
        return [model for model in models if model.key not in self.there]

    async def hold(
        self, models: Sequence[ModelFile], keep: ExitStack, fetching: Fetching
    ) -> Fetched:
        missing = await self.absent(models)
        for model in missing:
            self.begun.append(model.key)
            try:
                for tenth in range(10):
                    fetching(model, tenth / 10)
                    await asyncio.sleep(self.seconds / 10)
            except asyncio.CancelledError:
                self.ended.append(model.key)
                raise
            if self.errors:
                raise self.errors.pop(0)
            self.there.add(model.key)
        for model in models:
            self.held.add(model.key)
            keep.callback(self.held.discard, model.key)
        replaced, self.replaced = self.replaced, ()
        warnings = ("one is from elsewhere",) if missing else ()
        return Fetched(tuple(missing), replaced, warnings)


class RuntimeWithModels(ScriptedRuntime):
    """Notes what it is told of models, and what is held when it works."""

    model_folders: ClassVar[frozenset[str]] = frozenset({"loras"})

    def __init__(self, folder: Folder) -> None:
        super().__init__()
        self.folder = folder
        self.own: set[str] = set()
        self.told: list[str] = []
        self.held_in_runs: list[set[str]] = []

    async def has_model(self, model: ModelFile) -> bool:
        return model.key in self.own

    async def models_came(self, models: Sequence[ModelFile]) -> None:
        self.told += ["came", *(model.key for model in models)]

    async def models_replaced(self, models: Sequence[ModelFile]) -> None:
        self.told += ["replaced", *(model.key for model in models)]

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        self.told.append(f"prepare {job.id}")
        return await super().prepare(job, assets)

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        self.held_in_runs.append(set(self.folder.held))
        output = await super().run(prepared, progress)
        self.held_in_runs.append(set(self.folder.held))
        return output


@pytest.fixture
async def folder() -> Folder:
    return Folder()


@pytest.fixture
async def runtime(folder: Folder) -> RuntimeWithModels:
    return RuntimeWithModels(folder)


@pytest.fixture
async def bench(folder: Folder, runtime: RuntimeWithModels) -> Bench:
    return Bench(runtime=runtime, models=folder)


def needing(*names: str) -> list[dict[str, str]]:
    """Of a job's metadata."""
    return [
        {"name": name, "url": f"https://models.example.org/{name}", "directory": "loras"}
        for name in names
    ]


def running(bench: Bench, job_id: str) -> list[Notification]:
    published = (Notification.read(one.body) for one in bench.topic.published)
    return [one for one in published if one.id == job_id and one.status == "running"]


async def test_others_overtake_a_job_whose_model_is_fetched(bench: Bench) -> None:
    async with bench.working():
        await bench.publish("slow", models=needing("a"))
        for number in range(5):
            await bench.publish(f"quick-{number}")
        for number in range(5):
            await bench.answer(f"quick-{number}")
        assert bench.told("slow") == []
        assert asyncio.get_running_loop().time() < LONG / 10
        assert (await bench.answer("slow")).status == "completed"
    assert bench.runtime.runs[-1] == "slow"


async def test_a_long_download_spends_no_delivery_and_is_no_part_of_the_runs_time(
    bench: Bench, folder: Folder
) -> None:
    bench.policy = {"hold_limit": 60.0, "run_timeout": 30.0}
    async with bench.working():
        await bench.publish("a", models=needing("a"))
        answer = await bench.settled("a")
    assert (answer.status, answer.attempt) == ("completed", 1)
    assert answer.timings.prepare == pytest.approx(LONG, abs=1)
    assert answer.timings.run < 30
    assert answer.warnings[0] == "one is from elsewhere"


async def test_the_share_of_a_download_is_told_with_what_is_fetched(bench: Bench) -> None:
    bench.policy = {"progress_interval": 1.0}
    async with bench.working():
        await bench.publish("a", models=needing("a"))
        await bench.settled("a")
    told = running(bench, "a")
    stages = [one for one in told if one.stage is not None]
    assert {one.stage for one in stages} <= {"fetching models", "fetching model loras/a"}
    shares = [one.progress for one in stages]
    assert shares[0] == 0.0
    assert 0.9 in shares
    assert shares == sorted(shares, key=lambda share: share or 0.0)
    assert told[-1].stage is None
    bodies = [json.loads(one.body) for one in bench.topic.published]
    assert all(("stage" in body) == (body.get("stage") is not None) for body in bodies)


async def test_a_job_is_prepared_once_the_runtime_sees_its_models(
    bench: Bench, runtime: RuntimeWithModels
) -> None:
    async with bench.working():
        await bench.publish("a", models=needing("a", "b"))
        await bench.settled("a")
    assert runtime.told == ["came", "loras/a", "loras/b", "prepare a"]


async def test_a_runtime_is_told_of_files_that_others_replaced_before_it_prepares_a_job(
    bench: Bench, runtime: RuntimeWithModels, folder: Folder
) -> None:
    folder.there.add("loras/a")
    folder.replaced = (ModelFile("a", "loras"),)
    async with bench.working():
        await bench.publish("a", models=needing("a"))
        await bench.settled("a")
    assert runtime.told == ["replaced", "loras/a", "prepare a"]


async def test_what_the_runtime_has_from_elsewhere_is_not_fetched(
    bench: Bench, runtime: RuntimeWithModels, folder: Folder
) -> None:
    runtime.own.add("loras/a")
    folder.there.add("loras/b")
    async with bench.working():
        await bench.publish("a", models=needing("a", "b"))
        await bench.settled("a")
    assert folder.begun == []
    assert runtime.told == ["prepare a"]
    assert runtime.held_in_runs == [{"loras/b"}, {"loras/b"}]


async def test_models_are_held_until_the_run_is_over(
    bench: Bench, runtime: RuntimeWithModels, folder: Folder
) -> None:
    async with bench.working():
        await bench.publish("a", models=needing("a"))
        await bench.settled("a")
    assert runtime.held_in_runs == [{"loras/a"}, {"loras/a"}]
    assert folder.held == set()


async def test_models_are_given_up_when_the_run_fails(bench: Bench, folder: Folder) -> None:
    bench.runtime.script("a", failing(Rejected("no")))
    async with bench.working():
        await bench.publish("a", models=needing("a"))
        assert (await bench.settled("a")).status == "failed"
    assert folder.held == set()


async def test_a_cancelled_job_waits_for_no_model_any_more(bench: Bench, folder: Folder) -> None:
    async with bench.working():
        await bench.publish("a", models=needing("a"))
        while not folder.begun:  # noqa: ASYNC110  a fake tells nobody
            await asyncio.sleep(0.1)
        await bench.results.write("cancelled/a", b"", media_type="text/plain")
        assert (await bench.settled("a")).status == "cancelled"
    assert folder.ended == ["loras/a"]
    assert asyncio.get_running_loop().time() < LONG / 10


async def test_a_model_that_may_not_be_fetched_fails_its_job_at_once(
    bench: Bench, runtime: RuntimeWithModels, folder: Folder
) -> None:
    folder.errors.append(Rejected("The host is not allowed.", type="model_forbidden"))
    async with bench.working():
        await bench.publish("a", models=needing("a"))
        answer = await bench.settled("a")
    assert answer.error is not None
    assert (answer.error.type, answer.attempt) == ("model_forbidden", 1)
    assert runtime.told == []


async def test_a_list_of_models_that_cannot_be_understood_fails_its_job_at_once(
    bench: Bench,
) -> None:
    async with bench.working():
        await bench.publish("a", models=[{"url": "https://models.example.org/a"}])
        answer = await bench.settled("a")
    assert answer.error is not None
    assert answer.error.type == "invalid_content"
    assert "metadata.models[0]" in answer.error.message


async def test_a_server_of_models_that_fails_is_left_to_another_attempt(
    bench: Bench, folder: Folder
) -> None:
    folder.errors.append(Unavailable("It breaks off.", type="model_unavailable"))
    async with bench.working():
        await bench.publish("a", models=needing("a"))
        answer = await bench.settled("a")
    assert (answer.status, answer.attempt) == ("completed", 2)


async def test_an_agent_that_is_told_to_stop_gives_back_who_waits_for_models(
    bench: Bench, folder: Folder
) -> None:
    async with bench.working():
        await bench.publish("a", models=needing("a"))
        while not folder.begun:  # noqa: ASYNC110  a fake tells nobody
            await asyncio.sleep(0.1)
    assert folder.ended == ["loras/a"]
    assert asyncio.get_running_loop().time() < 30, "of the grace"
    folder.seconds = 1.0
    async with bench.working():
        assert (await bench.settled("a")).status == "completed"


async def test_only_so_many_jobs_wait_for_models_in_one_agent(bench: Bench, folder: Folder) -> None:
    async with bench.working():
        for number in range(30):
            await bench.publish(f"job-{number}", models=needing(str(number)))
        await bench.pass_time(LONG / 4)
        assert len(folder.begun) == 16


async def test_the_runtime_being_away_while_it_is_asked_for_models_spends_nothing(
    bench: Bench, runtime: RuntimeWithModels
) -> None:
    bench.runtime.script("first", drawing(5.0))
    async with bench.working():
        await bench.publish("first")
        await bench.answer("first")
        runtime.die(back_after=20.0)
        await bench.publish("a", models=needing("a"))
        answer = await bench.settled("a")
    assert (answer.status, answer.attempt) == ("completed", 1)


async def test_the_warm_up_has_its_models_fetched_before_its_time_runs(
    bench: Bench, folder: Folder, runtime: RuntimeWithModels
) -> None:
    warm_up = Job.model_validate(
        {
            "metadata": {"id": "warm", "tasktype": "text-to-image", "models": needing("w")},
            "content": {"prompt": "warm"},
        }
    )
    bench.policy = {"warm_up": warm_up, "run_timeout": 30.0}
    async with bench.working():
        await bench.publish("a")
        assert (await bench.settled("a")).status == "completed"
    assert runtime.told == ["came", "loras/w", "prepare warm", "prepare a"]
    assert runtime.runs == ["warm", "a"]
