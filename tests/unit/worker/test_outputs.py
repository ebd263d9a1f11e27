"""What a run produced: only what is whole is stored, and files live no longer than their job."""

import asyncio
import math
import tempfile
from typing import BinaryIO

import pytest

from broken_outputs import BROKEN_OUTPUTS, WHOLE
from queue_agent.media.asset import IN_MEMORY
from queue_agent.runtime import Artifact, Output, Prepared, ProgressCallback
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Unavailable
from worker_bench import RUN, Behaviour, Bench, drawing

pytestmark = pytest.mark.looptime

PNG = sample_png(8, 8)


def giving(*artifacts: Artifact, missing: tuple[str, ...] = ()) -> Behaviour:
    """A runtime that hands over just these."""

    async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
        await asyncio.sleep(RUN)
        return Output(artifacts, missing=missing)

    return behave


@pytest.mark.parametrize("name", BROKEN_OUTPUTS)
async def test_a_broken_output_is_a_failed_attempt(bench: Bench, name: str) -> None:
    bench.runtime.script("order-1", giving(Artifact(*BROKEN_OUTPUTS[name])), drawing())
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt, len(bench.runtime.runs)) == ("completed", 2, 2)


@pytest.mark.parametrize("place", [0, 1, 3])
async def test_a_broken_output_among_good_ones_is_never_completed(bench: Bench, place: int) -> None:
    artifacts = [Artifact(PNG, "image/png") for _ in range(4)]
    artifacts[place] = Artifact(PNG[:-20], "image/png")
    bench.runtime.script("order-1", giving(*artifacts))
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt) == ("failed", 3)
    assert told.error is not None
    assert told.error.type == "invalid_answer"
    assert told.error.message.startswith(f"Artifact {place + 1} ")
    assert told.images == []
    assert not [key for key in bench.results.objects if key.endswith(".png")]


@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_output_of_any_kind_is_stored(bench: Bench, name: str) -> None:
    data, media_type = WHOLE[name]
    bench.runtime.script("order-1", giving(Artifact(data, media_type)))
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    (stored,) = told.images
    assert (told.attempt, stored.media_type, stored.bytes) == (1, media_type, len(data))
    assert bench.results.objects[stored.url.removeprefix(bench.results.url(""))][0] == data


async def test_what_is_missing_is_waited_for_until_the_last_delivery(bench: Bench) -> None:
    bench.runtime.script(
        "order-1", giving(Artifact(PNG, "image/png"), missing=("cat.png is gone.",))
    )
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt, len(told.images)) == ("completed", 3, 1)
    (manifest,) = bench.manifests()
    assert manifest.warnings == ["cat.png is gone."]
    assert not bench.dead_letters


async def test_an_attempt_that_brings_all_is_delivered_without_a_warning(bench: Bench) -> None:
    lacking = giving(Artifact(PNG, "image/png"), missing=("cat.png is gone.",))
    bench.runtime.script("order-1", lacking, drawing())
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt, bench.manifests()[0].warnings) == ("completed", 2, [])


async def test_a_job_of_which_all_is_missing_fails(bench: Bench) -> None:
    bench.runtime.script("order-1", giving(missing=("cat.png is gone.",)))
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert told.error is not None
    assert (told.status, told.error.type, told.attempt) == ("failed", "output_missing", 3)


async def test_nothing_more_is_made_while_too_much_waits_to_be_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queue_agent.worker.slots.OUTPUTS_LIMIT", 2 * len(PNG))
    writing = [bench.cloud.faults.hold("bucket.write", matching=".png") for _ in range(2)]
    for number in range(1, 6):
        await bench.publish(f"order-{number}")
    async with bench.working():
        for call in writing:
            await call.reached.wait()
        await bench.pass_time(5 * RUN)
        assert bench.runtime.runs == ["order-1", "order-2"]
        writing[1].release()
        await bench.answer("order-5")
        writing[0].release()
    assert len(bench.runtime.runs) == 5


class TestFiles:
    """A large output lies in a file, which is closed whatever becomes of its job."""

    DATA = b"a text" * IN_MEMORY

    @pytest.fixture
    def files(self) -> list[BinaryIO]:
        return []

    @pytest.fixture(autouse=True)
    def large(self, bench: Bench, files: list[BinaryIO]) -> None:
        async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
            file = tempfile.TemporaryFile()  # noqa: SIM115  closed with the output
            file.write(self.DATA)
            file.flush()
            files.append(file)
            await asyncio.sleep(RUN)
            return Output((Artifact(files[-1], "text/plain"),))

        bench.runtime.script("order-1", behave)

    async def test_it_is_stored_and_described(self, bench: Bench, files: list[BinaryIO]) -> None:
        await bench.publish("order-1")
        async with bench.working():
            told = await bench.settled("order-1")
        (stored,) = told.images
        assert stored.bytes == len(self.DATA)
        assert bench.results.objects[stored.url.removeprefix(bench.results.url(""))][0] == self.DATA
        assert [file.closed for file in files] == [True]

    async def test_it_is_closed_when_it_cannot_be_stored(
        self, bench: Bench, files: list[BinaryIO]
    ) -> None:
        bench.policy["store_patience"] = 20.0
        full = Unavailable("the bucket is full")
        bench.cloud.faults.fail("bucket.write", full, times=math.inf, matching=".txt")
        await bench.publish("order-1")
        async with bench.working():
            told = await bench.settled("order-1")
        assert told.status == "failed"
        assert [file.closed for file in files] == [True] * 3

    async def test_it_is_closed_when_the_agent_goes_meanwhile(
        self, bench: Bench, files: list[BinaryIO]
    ) -> None:
        bench.policy["grace"] = 5.0
        writing = bench.cloud.faults.hold("bucket.write", matching=".txt")
        await bench.publish("order-1")
        async with bench.working():
            await writing.reached.wait()
        assert [file.closed for file in files] == [True]
