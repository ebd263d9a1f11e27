"""The promises of an adapter, one test each."""

import asyncio
import contextlib
import os
import stat
from copy import copy
from dataclasses import replace
from typing import Final

import pytest

from queue_agent.media.facts import facts_of
from queue_agent.media.previews import small_preview
from queue_agent.outputs import describe
from queue_agent.runtime import (
    Asset,
    Capabilities,
    ModelUse,
    Prepared,
    Progress,
    Readiness,
    Runtime,
)
from queue_agent.testing.fault_proxy import (
    BlackHole,
    Damage,
    Fault,
    FaultProxy,
    Hold,
    LoseAnswer,
    Oversized,
    Request,
    Reset,
    Status,
    Truncate,
)
from queue_agent.testing.process import ServerProcess
from queue_agent.testing.runtime_contract.hooks import (
    RuntimeHooks,
    contents,
    ignore,
    task_of,
    with_previews,
)
from queue_agent.testing.samples import in_a_file
from queue_agent.testing.waiting import SOON, eventually
from queue_agent.wire.errors import QueueAgentError, Rejected, RunLost, RuntimeAway, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.offer import Offer
from queue_agent.wire.submission import complete

BROKEN_ANSWERS: Final[dict[str, Fault]] = {
    "a 500": Status.of_json(500, {"detail": "boom"}),
    "a 502 in HTML": Status(502, b"<html>Bad Gateway</html>", {"content-type": "text/html"}),
    "a 503": Status(503, b"", {"retry-after": "1"}),
    "no JSON": Status(200, b"\x89 not JSON", {"content-type": "application/json"}),
    "JSON of another shape": Status.of_json(200, ["surprise"]),
    "a truncated answer": Truncate(),
    "an oversized answer": Oversized(),
    "a reset connection": Reset(),
    "a connection lost before the answer": LoseAnswer(),
}


class RuntimeContract(RuntimeHooks):
    """Tests that any adapter must pass; subclass it and override the hooks."""

    @pytest.mark.asyncio
    async def test_it_can_be_made_without_a_loop_and_without_its_server(self) -> None:
        options = self.options(ServerProcess([]).url)
        runtime = await asyncio.to_thread(self.adapter, options)
        await runtime.aclose()

    @pytest.mark.asyncio
    async def test_it_is_ready_only_while_its_server_is_up(self) -> None:
        server = self.new_server()
        async with self.opened(server.url) as runtime:
            assert not await runtime.ready()
            try:
                await asyncio.to_thread(server.start)
                await eventually(runtime.ready)
            finally:
                await asyncio.to_thread(server.stop)
            assert not await runtime.ready()

    @pytest.mark.asyncio
    @pytest.mark.parametrize("fault", [BlackHole(), Reset(), Status(500), Status(502, b"<html>")])
    async def test_it_is_not_ready_while_its_server_answers_nonsense(
        self, server: ServerProcess, fault: Fault
    ) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            with proxy.fault(fault):
                async with asyncio.timeout(SOON):
                    assert not await runtime.ready()

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BROKEN_ANSWERS)
    async def test_asking_whether_it_is_ready_never_raises(
        self, server: ServerProcess, name: str
    ) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            with proxy.fault(copy(BROKEN_ANSWERS[name])):
                async with asyncio.timeout(SOON):
                    assert isinstance(await runtime.ready(), bool | Readiness)

    @pytest.mark.asyncio
    async def test_its_own_warm_up_is_a_job_that_its_server_does(self, runtime: Runtime) -> None:
        if (body := runtime.warm_up()) is None:
            pytest.skip("it has none")
        job = complete(dict(body), job_id="warm-up")
        assert job.task_type in runtime.task_types
        await eventually(runtime.ready)
        runtime.check_places(job)
        prepared = await runtime.prepare(job, {})
        async with asyncio.timeout(SOON):
            output = await runtime.run(prepared, ignore)
        assert contents(output)

    @pytest.mark.asyncio
    async def test_it_is_handed_no_more_jobs_than_its_server_takes(self, runtime: Runtime) -> None:
        await eventually(runtime.ready)
        assert runtime.concurrency >= 1
        assert runtime.backlog >= 0
        assert self.takes_two_jobs or runtime.concurrency + runtime.backlog == 1

    @pytest.mark.asyncio
    async def test_it_says_what_its_server_has_where_it_can_tell(self, runtime: Runtime) -> None:
        await eventually(runtime.ready)
        known = await runtime.capabilities()
        assert isinstance(known, Capabilities)
        assert known == await runtime.capabilities(), "what has not changed is said as before"
        said = Offer(**dict(known), runtime="here").to_json()
        assert Capabilities.model_validate_json(said) == known

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BROKEN_ANSWERS)
    async def test_asking_what_its_server_has_raises_nothing_but_errors_of_the_tree(
        self, server: ServerProcess, name: str
    ) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            with proxy.fault(copy(BROKEN_ANSWERS[name])), contextlib.suppress(QueueAgentError):
                async with asyncio.timeout(SOON):
                    assert isinstance(await runtime.capabilities(), Capabilities)

    @pytest.mark.asyncio
    async def test_it_says_what_is_loaded_where_it_can_tell(self, runtime: Runtime) -> None:
        await eventually(runtime.ready)
        loaded = await runtime.loaded()
        assert loaded is None or loaded.most >= 1
        assert loaded == await runtime.loaded(), "what has not changed is said as before"

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BROKEN_ANSWERS)
    async def test_asking_what_is_loaded_raises_nothing_but_errors_of_the_tree(
        self, server: ServerProcess, name: str
    ) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            with proxy.fault(copy(BROKEN_ANSWERS[name])), contextlib.suppress(QueueAgentError):
                async with asyncio.timeout(SOON):
                    await runtime.loaded()
                    await runtime.preload(ModelUse.named(["a model"]))

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
    async def test_a_run_that_hands_out_what_it_has_done_is_taken_up_by_another(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        await eventually(runtime.ready)
        job, _ = self.two_jobs()
        prepared = await runtime.prepare(job, self.assets_for(runtime, job))
        assert await runtime.checkpoint(prepared, stop=False) is None, "it does not run"
        if not runtime.checkpoints:
            return
        whole = contents(await runtime.run(prepared, ignore))
        async with task_of(runtime, prepared) as task:
            await eventually(lambda: self.busy(server))
            checkpoint = await runtime.checkpoint(prepared, stop=True)
            task.cancel()
            await asyncio.wait({task})
        kept = checkpoint.data if checkpoint else None
        for given in (kept, b"what no server has handed out"):
            again = replace(prepared, checkpoint=given)
            assert contents(await runtime.run(again, ignore)) == whole

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BROKEN_ANSWERS)
    async def test_asking_what_a_run_has_done_raises_nothing_but_errors_of_the_tree(
        self, server: ServerProcess, name: str
    ) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            if not runtime.checkpoints:
                return
            prepared = await runtime.prepare(job := self.slow_job(), self.assets_for(runtime, job))
            async with task_of(runtime, prepared):
                await eventually(lambda: self.busy(server))
                with proxy.fault(copy(BROKEN_ANSWERS[name])), contextlib.suppress(QueueAgentError):
                    async with asyncio.timeout(SOON):
                        await runtime.checkpoint(prepared, stop=False)
        await eventually(lambda: self.idle(server))

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
    @pytest.mark.usefixtures("cancelling_stops_the_server")
    async def test_cancelling_stops_the_work_on_the_server(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        async with self.running(runtime, self.slow_job()) as task:
            await eventually(lambda: self.busy(server))
            task.cancel()
            await asyncio.wait({task}, timeout=SOON)
            assert task.cancelled()
            await eventually(lambda: self.idle(server))
        output = await self.prepare_and_run(runtime, self.jobs()[0])
        assert output.artifacts, "the runtime works on after a cancelled job"

    @pytest.mark.asyncio
    async def test_after_a_cancelled_run_it_says_when_the_server_is_free(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        job = self.slow_job()
        prepared = await runtime.prepare(job, self.assets_for(runtime, job))
        async with task_of(runtime, prepared) as task:
            await eventually(lambda: self.busy(server))
            task.cancel()
            await asyncio.wait({task}, timeout=SOON)
        answers: set[bool | None] = set()

        async def over() -> bool:
            answers.add(await runtime.still_runs(prepared))
            if not self.stops_cancelled and answers == {True}:
                await self.end_work(server)
            return not answers.isdisjoint({False, None})

        await eventually(over)
        assert answers <= {True, False} or answers == {None}, "either it can tell, or it cannot"
        if False in answers:
            assert not await self.busy(server)
        assert await runtime.ready()

    @pytest.mark.asyncio
    async def test_a_cancelled_run_is_over_when_the_server_is_gone(self) -> None:
        server = self.new_server()
        try:
            await asyncio.to_thread(server.start)
            async with self.opened(server.url) as runtime:
                await eventually(runtime.ready)
                job = self.slow_job()
                prepared = await runtime.prepare(job, self.assets_for(runtime, job))
                async with task_of(runtime, prepared) as task:
                    await eventually(lambda: self.busy(server))
                    await asyncio.to_thread(server.kill)
                    task.cancel()
                    await asyncio.wait({task}, timeout=SOON)
                await eventually(lambda: _is_over(runtime, prepared))
        finally:
            await asyncio.to_thread(server.stop)

    @pytest.mark.asyncio
    async def test_cancelling_a_job_before_the_server_has_it_leaves_nothing_behind(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        async with self.running(runtime, self.slow_job()) as task:
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task}, timeout=SOON)
            assert task.cancelled()
        await eventually(lambda: self.idle(server))

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

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("two_jobs_at_a_time")
    async def test_cancelling_a_waiting_job_does_not_disturb_the_running_one(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        async with self.both_held(runtime, server, self.two_jobs) as (running, waiting, job, _):
            waiting.cancel()
            await asyncio.wait({waiting}, timeout=SOON)
            undisturbed = contents(await running)
        assert undisturbed == contents(await self.prepare_and_run(runtime, job))

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("two_jobs_at_a_time", "cancelling_stops_the_server")
    async def test_cancelling_the_running_job_does_not_disturb_the_waiting_one(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        def jobs(seconds: float) -> tuple[Job, Job]:
            return self.slow_job(), self.two_jobs(seconds)[0]

        async with self.both_held(runtime, server, jobs) as (running, waiting, _, job):
            running.cancel()
            async with asyncio.timeout(SOON):
                undisturbed = contents(await waiting)
        assert undisturbed == contents(await self.prepare_and_run(runtime, job))

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("two_jobs_at_a_time", "cancelling_stops_the_server")
    async def test_a_cancelled_waiting_job_is_not_worked_on_later(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        def jobs(seconds: float) -> tuple[Job, Job]:
            return self.two_jobs(seconds)[0], self.slow_job()

        async with self.both_held(runtime, server, jobs) as (running, waiting, _, _):
            waiting.cancel()
            await asyncio.wait({waiting}, timeout=SOON)
            await running
        await eventually(lambda: self.idle(server))

    @pytest.mark.asyncio
    async def test_a_run_on_a_server_that_is_killed_is_lost(self) -> None:
        server = self.new_server()
        try:
            await asyncio.to_thread(server.start)
            async with self.opened(server.url) as runtime:
                await eventually(runtime.ready)
                async with self.running(runtime, self.slow_job()) as task:
                    await eventually(lambda: self.busy(server))
                    await asyncio.to_thread(server.kill)
                    with pytest.raises(RunLost):
                        async with asyncio.timeout(SOON):
                            await task
        finally:
            await asyncio.to_thread(server.stop)

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("two_jobs_at_a_time")
    async def test_a_job_that_waits_on_a_server_that_is_killed_is_lost_too(self) -> None:
        server = self.new_server()
        try:
            await asyncio.to_thread(server.start)
            async with self.opened(server.url) as runtime:
                await eventually(runtime.ready)
                async with self.both_held(
                    runtime, server, lambda _: (self.slow_job(), self.two_jobs()[0])
                ) as (running, waiting, _, _):
                    await asyncio.to_thread(server.kill)
                    for task in (running, waiting):
                        with pytest.raises(RunLost):
                            async with asyncio.timeout(SOON):
                                await task
        finally:
            await asyncio.to_thread(server.stop)

    @pytest.mark.asyncio
    async def test_a_server_that_is_not_there_never_had_the_job(self) -> None:
        server, job = self.new_server(), self.jobs()[0]
        try:
            await asyncio.to_thread(server.start)
            async with self.opened(server.url) as runtime:
                await eventually(runtime.ready)
                prepared = await runtime.prepare(job, self.assets_for(runtime, job))
                await asyncio.to_thread(server.kill)
                with pytest.raises(RuntimeAway):
                    async with asyncio.timeout(SOON):
                        await runtime.run(prepared, ignore)
        finally:
            await asyncio.to_thread(server.stop)

    @pytest.mark.asyncio
    async def test_preparing_without_the_server_needs_none_or_says_that_it_is_away(self) -> None:
        nowhere = ServerProcess([]).url
        async with self.opened(nowhere) as runtime:
            for job in [*self.jobs(), self.job_with_references()[0]]:
                with contextlib.suppress(RuntimeAway):
                    async with asyncio.timeout(SOON):
                        await runtime.prepare(job, self.assets_for(runtime, job))

    @pytest.mark.asyncio
    async def test_a_refused_job_is_rejected_with_the_servers_words(self, runtime: Runtime) -> None:
        job, words = self.bad_job()
        with pytest.raises(Rejected) as caught:
            await self.prepare_and_run(runtime, job)
        assert words in caught.value.message

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BROKEN_ANSWERS)
    async def test_a_broken_answer_is_unavailable(self, server: ServerProcess, name: str) -> None:
        fault = copy(BROKEN_ANSWERS[name])
        job = self.jobs()[0]
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            with proxy.fault(fault, _is_plain_http), pytest.raises(Unavailable):
                async with asyncio.timeout(SOON):
                    await runtime.run(prepared, ignore)
        await eventually(lambda: self.idle(server))  # of jobs of which only the answer was lost
        if isinstance(fault, Oversized):
            assert not fault.swallowed, "the answer was read without a limit"

    @pytest.mark.asyncio
    async def test_a_damaged_picture_is_never_handed_over_as_a_whole_one(
        self, server: ServerProcess
    ) -> None:
        """What the adapter does not notice the agent does, unless something mended it."""
        damage, job = Damage(), self.jobs()[0]
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            with proxy.fault(damage, _is_plain_http):
                try:
                    output = await runtime.run(prepared, ignore)
                    for number, artifact in enumerate(output.artifacts, 1):
                        await describe(artifact, f"Artifact {number}")
                except Unavailable:
                    return
        if not damage.done:
            pytest.skip("its answer has no PNG")
        pytest.fail("a damaged picture went through")

    @pytest.mark.asyncio
    async def test_a_slow_answer_is_waited_for(self, server: ServerProcess) -> None:
        job = self.jobs()[0]
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            held = Hold()
            with proxy.fault(held):
                asked = proxy.count()
                async with task_of(runtime, prepared) as task:
                    await eventually(lambda: proxy.count() > asked)
                    assert not task.done()
                    held.release()
                    async with asyncio.timeout(SOON):
                        assert (await task).artifacts

    @pytest.mark.asyncio
    async def test_a_run_that_gets_no_answer_can_be_cancelled(self, server: ServerProcess) -> None:
        job = self.jobs()[0]
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            with proxy.fault(BlackHole()):
                asked = proxy.count()
                task = asyncio.create_task(runtime.run(prepared, ignore))
                await eventually(lambda: proxy.count() > asked)
                task.cancel()
                done, _ = await asyncio.wait({task}, timeout=SOON)
                assert done, "the adapter must not wait for ever to stop a silent server"

    @pytest.mark.asyncio
    async def test_nothing_is_left_open_after_closing(self, server: ServerProcess) -> None:
        tasks, sockets = asyncio.all_tasks(), open_sockets()
        async with self.opened(server.url) as runtime:
            await runtime.ready()
            for job in self.jobs():
                await self.prepare_and_run(runtime, job)
            with pytest.raises(Rejected):
                await self.prepare_and_run(runtime, self.bad_job()[0])
            async with self.running(runtime, self.slow_job()):
                await eventually(lambda: self.busy(server))
        await eventually(lambda: asyncio.all_tasks() <= tasks)
        await eventually(lambda: open_sockets() <= sockets)
        await eventually(lambda: self.idle(server))


async def _is_over(runtime: Runtime, prepared: Prepared) -> bool:
    try:
        return not await runtime.still_runs(prepared)
    except Unavailable:
        return True


def open_sockets() -> int:
    """How many sockets this process has open."""
    return sum(map(_is_socket, os.listdir("/dev/fd")))  # noqa: PTH208  numbers, not paths


def _is_socket(descriptor: str) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(int(descriptor)).st_mode)
    except OSError:
        return False


def _is_plain_http(request: Request) -> bool:
    """Not the beginning of a WebSocket, whose library reads the answer by its own rules."""
    return "upgrade" not in request.headers
