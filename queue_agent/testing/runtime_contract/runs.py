"""What becomes of jobs that nothing disturbs."""

import asyncio
import contextlib

import pytest

from queue_agent.media.facts import facts_of
from queue_agent.media.previews import small_preview
from queue_agent.runtime import Asset, Prepared, Progress, Runtime
from queue_agent.testing.process import ServerProcess
from queue_agent.testing.runtime_contract.hooks import (
    RuntimeHooks,
    contents,
    ignore,
    task_of,
    with_previews,
)
from queue_agent.testing.samples import in_a_file
from queue_agent.testing.waiting import eventually
from queue_agent.wire.errors import Unavailable


class RunPromises(RuntimeHooks):
    """What becomes of jobs that nothing disturbs."""

    @pytest.mark.asyncio
    async def test_a_job_needs_the_same_models_each_time_it_is_prepared(
        self, runtime: Runtime
    ) -> None:
        await eventually(runtime.ready)
        for job in self.jobs():
            assets = self.assets_for(runtime, job)
            first, again = [await runtime.prepare(job, assets) for _ in range(2)]
            assert first.use == again.use

    @pytest.mark.asyncio
    async def test_each_declared_task_type_yields_artifacts(self, runtime: Runtime) -> None:
        jobs = self.jobs()
        assert {job.task_type for job in jobs} == set(runtime.task_types)
        for job in jobs:
            output = await self.prepare_and_run(runtime, job)
            assert output.artifacts
            for artifact in output.artifacts:
                assert artifact.data
                assert "/" in artifact.media_type
                assert artifact.media_type != "application/octet-stream"

    @pytest.mark.asyncio
    async def test_a_job_that_asks_for_previews_has_them_where_the_adapter_says_so(
        self, runtime: Runtime
    ) -> None:
        shows, shown = self.adapter.shows_previews, list[bytes]()
        job = with_previews(self.slow_job() if shows else self.jobs()[0])

        def report(progress: Progress) -> None:
            if progress.preview is not None:
                shown.append(progress.preview)

        prepared = await runtime.prepare(job, self.assets_for(runtime, job))
        async with task_of(runtime, prepared, report) as task:
            await eventually(lambda: (shows and shown) or task.done())
            if task.done():
                task.result()
        assert bool(shown) is shows
        assert all(facts_of(small_preview(preview)).width for preview in shown), "images"

    @pytest.mark.asyncio
    async def test_previews_are_of_no_other_job_and_change_no_artifact(
        self, runtime: Runtime
    ) -> None:
        job, previews = self.two_jobs()[0], list[bytes]()

        def report(progress: Progress) -> None:
            if progress.preview is not None:
                previews.append(progress.preview)

        prepared = await runtime.prepare(job, self.assets_for(runtime, job))
        plain = contents(await runtime.run(prepared, report))
        assert previews == [], "nobody asked for them"
        if self.adapter.shows_previews:
            await runtime.clean_up(job, again=False)
            watched = with_previews(job)
            prepared = await runtime.prepare(watched, self.assets_for(runtime, watched))
            assert contents(await runtime.run(prepared, report)) == plain

    @pytest.mark.asyncio
    async def test_it_cleans_up_after_jobs_that_it_has_or_has_not_seen(
        self, runtime: Runtime
    ) -> None:
        seen, unseen = self.jobs()[0], self.slow_job()
        await self.prepare_and_run(runtime, seen)
        for job in (seen, unseen, seen):
            await runtime.clean_up(job, again=True)
            await runtime.clean_up(job, again=False)
        assert (await self.prepare_and_run(runtime, seen)).artifacts

    @pytest.mark.asyncio
    async def test_references_are_found_where_media_stand_and_nowhere_else(
        self, runtime: Runtime
    ) -> None:
        job, expected = self.job_with_references()
        before = job.model_dump_json()
        assert {found.url for found in runtime.references(job)} == expected
        for found in runtime.references(job):
            assert found.path, "a reference says where it stands"
        runtime.check_places(job)  # what may name a place is a reference or a prompt
        assert job.model_dump_json() == before, "looking for references must not change the job"

    @pytest.mark.asyncio
    async def test_a_job_with_references_runs_on_their_bytes(self, runtime: Runtime) -> None:
        job, _ = self.job_with_references()
        before = job.model_dump_json()
        output = await self.prepare_and_run(runtime, job)
        assert output.artifacts
        assert job.model_dump_json() == before, "preparing must not change the job"

    @pytest.mark.asyncio
    async def test_inputs_that_lie_in_files_can_be_read_until_the_run_is_over(
        self, runtime: Runtime
    ) -> None:
        job, _ = self.job_with_references()
        with contextlib.ExitStack() as files:
            assets = {
                url: Asset(files.enter_context(in_a_file(asset.data)), asset.media_type)
                for url, asset in self.assets_for(runtime, job).items()
            }
            prepared = await runtime.prepare(job, assets)
            for _ in range(2):  # a run that fails is tried again
                assert (await runtime.run(prepared, ignore)).artifacts

    @pytest.mark.asyncio
    async def test_preparing_uses_no_gpu(self, runtime: Runtime, server: ServerProcess) -> None:
        for job in self.jobs():
            await runtime.prepare(job, self.assets_for(runtime, job))
            assert not await self.busy(server)

    @pytest.mark.asyncio
    async def test_progress_never_falls_and_ends_at_1(self, runtime: Runtime) -> None:
        for job in [*self.jobs(), self.two_jobs()[0]]:
            reports: list[Progress] = []
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            await runtime.run(prepared, reports.append)
            fractions = [report.fraction for report in reports]
            assert fractions == sorted(fractions)
            assert all(0.0 <= fraction <= 1.0 for fraction in fractions)
            assert fractions[-1:] == [1.0]

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("two_jobs_at_a_time")
    async def test_two_jobs_at_once_give_each_its_own_outputs(self, runtime: Runtime) -> None:
        first, second = self.two_jobs()
        alone = [await self.prepare_and_run(runtime, job) for job in (first, second)]
        assert contents(alone[0]) != contents(alone[1])
        together = await asyncio.gather(
            self.prepare_and_run(runtime, first), self.prepare_and_run(runtime, second)
        )
        assert [contents(output) for output in together] == [contents(output) for output in alone]


async def _is_over(runtime: Runtime, prepared: Prepared) -> bool:
    try:
        return not await runtime.still_runs(prepared)
    except Unavailable:
        return True
