"""An operator's check has the last word on every file, and no file leaves without one."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from output_samples import InlineWorkers, gradient, planted_png, saved
from queue_agent.outputs import Conversion, ConversionPolicy, OutputStage
from queue_agent.outputs.checkers import CheckedFile, ContentChecker, ContentVerdict
from queue_agent.runtime import Artifact, Asset, Output, Prepared, ProgressCallback, Spool
from queue_agent.telemetry.metrics import Metrics
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import parse_job
from queue_agent.wire.layout import ResultKeys
from queue_agent.worker.content_check import ContentCheck, ContentCheckPolicy
from worker_bench import RUN, Behaviour, Bench

pytestmark = pytest.mark.looptime

GOOD = planted_png(gradient("RGB", (96, 64)))
OTHER = saved(gradient("RGB", (48, 32)), "JPEG")
BAD = "no lighthouses"


class ScriptedChecker(ContentChecker):
    """Does what a test says of each file, after a second."""

    def __init__(
        self, judge: Callable[[CheckedFile], Any] = lambda _: ContentVerdict.passed()
    ) -> None:
        self.judge = judge
        self.seen: list[CheckedFile] = []
        self.began = asyncio.Event()
        self.at_once = self.most_at_once = 0
        self.away_until = 0.0
        self.seconds = 1.0

    async def check(self, file: CheckedFile) -> ContentVerdict:
        self.began.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        self.seen.append(file)
        if asyncio.get_running_loop().time() < self.away_until:
            raise Unavailable("connection refused")
        verdict = self.judge(file)
        if isinstance(verdict, Exception):
            raise verdict
        found: ContentVerdict = verdict
        return found


def bench_with(checker: ContentChecker, *, convert: bool = False, **policy: Any) -> Bench:
    """A worker whose files are checked, and converted after that where it is wished."""
    bench = Bench()
    check = ContentCheck(ContentCheckPolicy("sdruntime", **policy), checker, bench.results)
    conversion = Conversion(ConversionPolicy(), InlineWorkers())
    bench.outputs = OutputStage((check, conversion) if convert else (check,))
    bench.runtime.usually = making(GOOD)
    return bench


def making(*files: bytes) -> Behaviour:
    async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
        await asyncio.sleep(RUN)
        return Output(tuple(Artifact(file, "image/png", seed=7) for file in files))

    return behave


def withholding(file: CheckedFile) -> ContentVerdict:
    return ContentVerdict.withheld(BAD)


def quarantined(bench: Bench) -> list[str]:
    return bench.keys("quarantine/")


async def test_a_file_that_passes_is_delivered_as_it_was_made() -> None:
    checker = ScriptedChecker()
    bench = bench_with(checker)
    await bench.publish("order-1", {"prompt": "a lighthouse", "steps": 20})
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.warnings) == ("completed", [])
    [seen] = checker.seen
    assert seen.facts == {
        "job_id": "order-1",
        "task_type": "text-to-image",
        "runtime": "sdruntime",
        "number": 1,
        "role": "output",
        "media_type": "image/png",
        "bytes": len(GOOD),
        "sha256": told.images[0].sha256,
        "width": 96,
        "height": 64,
    }


async def test_the_prompt_is_told_where_the_operator_wants_it() -> None:
    checker = ScriptedChecker()
    bench = bench_with(checker, tells_prompt=True)
    await bench.publish("order-1", {"prompt": "a lighthouse", "steps": 20})
    async with bench.working():
        await bench.settled("order-1")
    assert checker.seen[0].facts["prompt"] == "a lighthouse"


async def test_a_withheld_file_fails_its_job_and_is_kept_where_no_job_reads() -> None:
    bench = bench_with(ScriptedChecker(withholding))
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
        [kept] = quarantined(bench)
        thief = {"prompt": "the same", "init_images": [bench.results.url(kept)]}
        await bench.publish("order-2", thief, tasktype="image-to-image")
        stolen = await bench.settled("order-2")
    assert told.error is not None
    assert (told.status, told.error.type, told.error.retryable) == ("failed", "withheld", False)
    assert BAD in told.error.message
    assert (told.images, told.image_url) == ([], [])
    assert kept.startswith("quarantine/withheld/")
    assert bench.results.objects[kept].data == GOOD
    [manifest] = [one for one in bench.manifests() if one.id == "order-1"]
    assert manifest.response["withheld"] == {
        "number": 1,
        "reason": BAD,
        "media_type": "image/png",
        "bytes": len(GOOD),
        "sha256": hashlib.sha256(GOOD).hexdigest(),
        "kept": bench.results.url(kept),
    }
    assert bench.keys("out/order-1/") == [ResultKeys.of(parse_job(bench.body("order-1"))).manifest]
    assert stolen.error is not None
    assert stolen.error.type == "reference_forbidden"
    assert bench.runtime.runs == ["order-1"]


async def test_nothing_is_left_of_a_withheld_file_where_the_operator_wants_none() -> None:
    bench = bench_with(ScriptedChecker(withholding), quarantine=False)
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert told.error is not None
    assert told.error.type == "withheld"
    assert quarantined(bench) == []
    assert all(stored.data != GOOD for stored in bench.results.objects.values())


async def test_one_withheld_file_withholds_all_of_its_job() -> None:
    checker = ScriptedChecker(
        lambda file: withholding(file) if file.number == 2 else ContentVerdict.passed()
    )
    bench = bench_with(checker)
    bench.runtime.usually = making(GOOD, sample_png(8, 8), GOOD)
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert told.error is not None
    assert told.error.type == "withheld"
    assert "Artifact 2" in told.error.message
    assert [key for key in bench.keys("out/") if not key.endswith(".out")] == []


async def test_a_redelivered_withheld_job_is_told_the_same_and_neither_run_nor_checked() -> None:
    checker = ScriptedChecker(withholding)
    bench = bench_with(checker)
    await bench.publish("order-1")
    async with bench.working():
        first = await bench.settled("order-1")
        await bench.publish("order-1")
        again = await bench.answer("order-1", nth=2)
    assert again.redelivered
    assert again.error == first.error
    assert (len(bench.runtime.runs), len(checker.seen)) == (1, 1)


async def test_a_replacement_is_delivered_and_converted_and_the_original_nowhere() -> None:
    bench = bench_with(ScriptedChecker(lambda _: ContentVerdict.replaced(OTHER)), convert=True)
    output = {"format": "webp", "keep_original": True}
    await bench.publish("order-1", output=output)
    async with bench.working():
        told = await bench.settled("order-1")
    [image] = told.images
    assert (told.status, image.media_type) == ("completed", "image/webp")
    assert (image.width, image.height, image.seed) == (48, 32, 7)
    assert "Artifact 1 was replaced by the content check." in told.warnings
    stored = [one.data for one in bench.results.objects.values()]
    assert OTHER in stored
    assert GOOD not in stored


async def test_a_replacement_in_a_file_is_closed_with_its_job() -> None:
    spool = Spool("A replacement")
    await spool.write(saved(gradient("RGB", (700, 700)), "BMP"))
    other = Asset((await spool.asset()).content, "image/bmp")
    bench = bench_with(ScriptedChecker(lambda _: ContentVerdict.replaced(other)))
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert told.images[0].width == 700
    assert not isinstance(other.content, bytes)
    assert other.content.closed


@pytest.mark.parametrize(
    "verdict",
    [
        ContentVerdict.replaced(GOOD[: len(GOOD) // 2]),
        ContentVerdict.replaced(b"no picture at all"),
        ContentVerdict.replaced(b""),
        ContentVerdict("replace"),
    ],
)
@pytest.mark.parametrize("fail_open", [False, True])
async def test_a_replacement_that_is_no_file_never_brings_the_original_out(
    verdict: ContentVerdict, fail_open: bool
) -> None:
    bench = bench_with(ScriptedChecker(lambda _: verdict), fail_open=fail_open, patience=30.0)
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.answer("order-1")
    assert told.error is not None
    assert (told.status, told.error.type) == ("failed", "content_check_broken")
    assert all(stored.data != GOOD for stored in bench.results.objects.values())


async def test_what_was_made_waits_for_a_check_that_is_away_and_is_not_made_again() -> None:
    checker = ScriptedChecker()
    checker.away_until = RUN + 240.0
    bench = bench_with(checker)
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt, bench.runtime.runs) == ("completed", 1, ["order-1"])
    assert told.warnings == []


async def test_the_next_job_runs_while_a_file_is_checked() -> None:
    checker = ScriptedChecker()
    checker.seconds = 5 * RUN
    bench = bench_with(checker, timeout=100.0)
    for number in range(3):
        await bench.publish(f"order-{number}")
    async with bench.working():
        await bench.settled("order-0")
        assert len(bench.runtime.runs) == 3
        for number in range(3):
            assert (await bench.answer(f"order-{number}")).status == "completed"


async def test_a_check_that_stays_away_fails_the_attempts_as_an_outage_does() -> None:
    checker = ScriptedChecker(lambda _: Unavailable("connection refused"))
    bench = bench_with(checker, patience=60.0)
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.answer("order-1")
    assert told.error is not None
    assert (told.error.type, told.error.retryable) == ("content_check_unavailable", True)
    assert (told.attempt, len(bench.runtime.runs)) == (3, 3)
    assert all(stored.data != GOOD for stored in bench.results.objects.values())


@pytest.mark.parametrize(
    "answer", [Unavailable("away"), Rejected("not that"), ValueError("a fault of the check"), None]
)
async def test_unchecked_files_are_delivered_with_a_warning_where_the_operator_wants_it(
    answer: Any,
) -> None:
    bench = bench_with(ScriptedChecker(lambda _: answer), fail_open=True)
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt) == ("completed", 1)
    assert told.warnings == ["Artifact 1 was delivered unchecked."]


@pytest.mark.parametrize("answer", [Rejected("not that"), ValueError("a fault of the check"), None])
async def test_no_fault_of_the_check_is_a_verdict(answer: Any) -> None:
    bench = bench_with(ScriptedChecker(lambda _: answer), patience=20.0)
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.answer("order-1")
    assert told.error is not None
    assert told.error.type == "content_check_unavailable"


async def test_a_check_that_hangs_is_asked_again() -> None:
    checker = ScriptedChecker()
    checker.seconds = 3600.0
    bench = bench_with(checker, timeout=10.0, patience=300.0)
    await bench.publish("order-1")
    async with bench.working():
        await checker.began.wait()
        checker.seconds = 1.0
        told = await bench.settled("order-1")
    assert (told.status, bench.runtime.runs) == ("completed", ["order-1"])


async def test_only_so_many_files_are_checked_at_a_time() -> None:
    checker = ScriptedChecker()
    bench = bench_with(checker, concurrency=2)
    bench.runtime.usually = making(*[GOOD] * 7)
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (len(told.images), checker.most_at_once) == (7, 2)


async def test_a_damaged_file_is_a_failed_attempt_before_anybody_is_asked() -> None:
    checker = ScriptedChecker()
    bench = bench_with(checker)
    bench.runtime.script("order-1", making(GOOD[:-40]), making(GOOD))
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt, len(checker.seen)) == ("completed", 2, 1)


async def test_a_bucket_that_is_away_does_not_let_a_withheld_file_out() -> None:
    bench = bench_with(ScriptedChecker(withholding))
    bench.cloud.faults.fail("bucket.write", Unavailable("away"), times=5, matching="quarantine/")
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert told.error is not None
    assert told.error.type == "withheld"
    assert len(quarantined(bench)) == 1


class CountingMetrics(Metrics):
    """Keeps the verdicts that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.verdicts: list[str] = []

    def content_checked(self, verdict: str) -> None:
        self.verdicts.append(verdict)


@pytest.mark.parametrize(
    ("verdict", "counted"),
    [
        (ContentVerdict.passed(), {"pass"}),
        (ContentVerdict.withheld(BAD), {"withhold"}),
        (ContentVerdict.replaced(OTHER), {"replace"}),
        (ContentVerdict.replaced(b"no picture"), {"none"}),
        (Unavailable("connection refused"), {"none"}),
    ],
)
async def test_each_answer_is_counted_by_its_verdict(verdict: Any, counted: set[str]) -> None:
    bench, metrics = Bench(), CountingMetrics()
    policy = ContentCheckPolicy("sdruntime", patience=5.0)
    check = ContentCheck(policy, ScriptedChecker(lambda _: verdict), bench.results, metrics)
    bench.outputs = OutputStage((check,))
    bench.runtime.usually = making(GOOD)
    await bench.publish("order-1")
    async with bench.working():
        await bench.answer("order-1")
    assert {*metrics.verdicts} == counted
