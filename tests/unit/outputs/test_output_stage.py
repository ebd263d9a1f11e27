"""The stage between run and store: what jobs and operators ask for, told and stored."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image as Pictures

from output_samples import (
    PLANTED,
    InlineWorkers,
    T,
    gradient,
    opened,
    planted_png,
    saved,
    saved_moving,
    says_secret,
)
from queue_agent.outputs import (
    Conversion,
    ConversionPolicy,
    Order,
    OutputStage,
    Product,
    WorkerLost,
    Workers,
)
from queue_agent.runtime import Artifact, Output, Prepared, ProgressCallback
from queue_agent.wire.errors import Malformed, Rejected
from queue_agent.wire.job import parse_job
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.notification import Image, Notification
from queue_agent.wire.output import OutputOptions
from worker_bench import RUN, Behaviour, Bench

pytestmark = pytest.mark.looptime

PNG = planted_png(gradient("RGB", (96, 64)))


def giving(data: bytes, media_type: str, wanted: OutputOptions | None = None) -> Behaviour:
    """A runtime that makes this file."""

    async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
        await asyncio.sleep(RUN)
        return Output((Artifact(data, media_type, seed=7, info="a cat"),))

    return behave


def stage(workers: Workers | None = None, **policy: Any) -> OutputStage:
    policy["defaults"] = OutputOptions.model_validate(policy.pop("defaults", {}))
    return OutputStage((Conversion(ConversionPolicy(**policy), workers or InlineWorkers()),))


@pytest.fixture
async def bench() -> Bench:
    """A worker that converts in its own process."""
    made = Bench(outputs=stage())
    made.runtime.usually = giving(PNG, "image/png")
    return made


async def told_of(bench: Bench, job_id: str = "order-1", **metadata: Any) -> Notification:
    await bench.publish(job_id, **metadata)
    async with bench.working():
        return await bench.settled(job_id)


def stored(bench: Bench, url: str | None) -> bytes:
    assert url is not None
    return bench.results.objects[url.removeprefix(bench.results.url(""))].data


async def test_a_job_has_its_images_as_it_asks(bench: Bench) -> None:
    output = {"format": "webp", "max_side": 48, "keep_original": True, "thumbnail": True}
    told = await told_of(bench, output=output)
    (image,) = told.images
    assert (image.media_type, image.width, image.height) == ("image/webp", 48, 32)
    assert (image.seed, image.info, image.role) == (7, "a cat", "output")
    assert image.url.endswith("-1.webp")
    assert told.image_url == [image.url], "variants are no images of their own"
    assert opened(stored(bench, image.url)).size == (48, 32)
    original, small = image.variants
    assert (original.role, original.media_type, original.width) == ("original", "image/png", 96)
    assert stored(bench, original.url) == PNG
    assert str(original.url).endswith("-1-original.png")
    assert (small.role, small.media_type, small.url) == (
        "thumbnail", "image/webp", image.url.replace("-1.webp", "-1-thumbnail.webp"),
    )  # fmt: skip
    assert image.placeholder is not None
    assert told.warnings == []
    for file in (image, original, small):
        assert len(stored(bench, file.url)) == file.bytes
    assert bench.manifests()[0].images == told.images


async def test_an_original_that_is_not_kept_is_told_by_its_hash(bench: Bench) -> None:
    kept = (await told_of(bench, "kept", output={"format": "jpeg", "keep_original": True})).images
    told = (await told_of(bench, "gone", output={"format": "jpeg"})).images
    (before,), (gone,) = kept[0].variants, told[0].variants
    assert (gone.role, gone.url, gone.sha256) == ("original", None, before.sha256)
    assert len([key for key in bench.keys("out/gone/") if "original" in key]) == 0


async def test_what_the_job_says_wins_over_the_operator() -> None:
    defaults = {"format": "webp", "max_side": 48, "thumbnail": True, "metadata": "strip"}
    bench = Bench(outputs=stage(defaults=defaults))
    bench.runtime.usually = giving(PNG, "image/png")
    (plain,) = (await told_of(bench, "plain")).images
    assert (plain.media_type, plain.width, len(plain.variants)) == ("image/webp", 48, 2)
    own = {"format": "png", "max_side": 64, "thumbnail": False, "metadata": "keep"}
    (asked,) = (await told_of(bench, "asked", output=own)).images
    assert (asked.media_type, asked.width, len(asked.variants)) == ("image/png", 64, 1)
    assert says_secret(stored(bench, asked.url))


async def test_without_a_word_images_are_marked_and_nothing_else(bench: Bench) -> None:
    (image,) = (await told_of(bench)).images
    assert (image.media_type, image.variants, image.placeholder) == ("image/png", [], None)
    data = stored(bench, image.url)
    assert b"trainedAlgorithmicMedia" in data
    assert opened(data).tobytes() == opened(PNG).tobytes()
    assert says_secret(data)


async def test_nothing_is_touched_where_the_operator_wants_no_mark() -> None:
    bench = Bench(outputs=stage(mark=False))
    bench.runtime.usually = giving(PNG, "image/png")
    (image,) = (await told_of(bench)).images
    assert stored(bench, image.url) == PNG


async def test_a_workflow_does_not_leave_where_links_are_given() -> None:
    bench = Bench(outputs=stage(hide_graphs=True))
    bench.runtime.usually = giving(PNG, "image/png")
    (image,) = (await told_of(bench)).images
    assert not says_secret(stored(bench, image.url))
    (kept,) = (await told_of(bench, "kept", output={"metadata": "keep"})).images
    assert says_secret(stored(bench, kept.url))


@pytest.mark.parametrize("rule", ["strip", "minimal"])
@pytest.mark.parametrize("name", sorted(PLANTED.keys() - {"avi"}))  # a process looks at frames
async def test_no_object_says_what_is_stripped(name: str, rule: str) -> None:
    bench = Bench(outputs=stage())
    bench.runtime.usually = giving(*PLANTED[name])
    told = await told_of(bench, output={"metadata": rule, "thumbnail": True})
    assert told.status == "completed"
    files = [key for key in bench.keys("out/") if not key.endswith(".out")]
    assert files
    assert not any(says_secret(bench.results.objects[key].data) for key in files)


async def test_what_cannot_be_stripped_is_not_delivered(bench: Bench) -> None:
    bench.runtime.usually = giving(b"MThd\0\0\0\6" + bytes(100), "audio/midi")
    told = await told_of(bench, output={"metadata": "strip"})
    assert (told.status, told.attempt) == ("failed", 1)
    assert told.error is not None
    assert told.error.type == "output_unsupported"
    assert [key for key in bench.keys("out/") if not key.endswith(".out")] == []


async def test_a_broken_image_is_a_failed_attempt_where_it_must_be_decoded(bench: Bench) -> None:
    data = bytearray(saved(gradient("RGB"), "WEBP", lossless=True))
    data[40:-40] = bytes(len(data) - 80)
    bench.runtime.script("order-1", giving(bytes(data), "image/webp"), giving(PNG, "image/png"))
    told = await told_of(bench, output={"format": "png"})
    assert (told.status, told.attempt) == ("completed", 2)


async def test_what_is_not_done_is_said(bench: Bench) -> None:
    bench.runtime.usually = giving(saved_moving("GIF"), "image/gif")
    told = await told_of(bench, output={"format": "jpeg"})
    assert told.warnings == [
        "Artifact 1 is delivered as image/gif: it moves, and no image/jpeg does."
    ]


class LosingWorkers(Workers):
    """Lose the first so many works."""

    def __init__(self, losses: int) -> None:
        self.losses, self.asked = losses, 0

    async def do(self, work: Callable[..., T], *args: Any, **_: Any) -> T:
        self.asked += 1
        if self.asked <= self.losses:
            raise WorkerLost("ended the process that worked on it")
        return work(*args)


async def test_a_process_that_is_lost_is_replaced() -> None:
    workers = LosingWorkers(1)
    bench = Bench(outputs=stage(workers))
    bench.runtime.usually = giving(PNG, "image/png")
    told = await told_of(bench, output={"format": "webp"})
    assert (told.images[0].media_type, told.warnings, workers.asked) == ("image/webp", [], 2)


@pytest.mark.parametrize("rule", ["keep", "strip"])
async def test_a_file_that_ends_its_processes_is_delivered_as_it_is(rule: str) -> None:
    workers = LosingWorkers(100)
    bench = Bench(outputs=stage(workers))
    bench.runtime.usually = giving(PNG, "image/png")
    told = await told_of(bench, output={"format": "webp", "metadata": rule})
    assert (told.images[0].media_type, told.attempt, workers.asked) == ("image/png", 1, 2)
    words = "Artifact 1 is delivered as image/png: it ended the process that worked on it."
    assert told.warnings == [words]
    assert says_secret(stored(bench, told.images[0].url)) == (rule == "keep")


async def test_a_large_file_is_never_held_by_the_agent_itself() -> None:
    large = saved(Pictures.new("RGB", (2400, 2400)), "PNG", compress_level=0)
    assert len(large) > 16 * 2**20
    for rule, status in (("keep", "completed"), ("strip", "failed")):
        bench = Bench(outputs=stage(LosingWorkers(100)))
        bench.runtime.usually = giving(large, "image/png")
        told = await told_of(bench, output={"metadata": rule})
        assert told.status == status
        if rule == "keep":
            assert stored(bench, told.images[0].url) == large
            assert "ended the process" in told.warnings[0]
        else:
            assert told.error is not None
            assert told.error.type == "output_failed"


async def test_what_has_the_format_already_needs_no_process() -> None:
    workers = LosingWorkers(100)
    bench = Bench(outputs=stage(workers))
    bench.runtime.usually = giving(PNG, "image/png")
    told = await told_of(bench, output={"format": "png", "metadata": "strip"})
    assert (told.warnings, workers.asked) == ([], 0)
    assert not says_secret(stored(bench, told.images[0].url))


async def test_the_agent_itself_decodes_nothing_whatever_a_runtime_says_of_a_file() -> None:
    workers = LosingWorkers(0)
    bench = Bench(outputs=stage(workers))
    bench.runtime.usually = giving(saved(gradient("RGB"), "WEBP"), "image/png")
    told = await told_of(bench, output={"format": "png"})
    assert (told.images[0].media_type, workers.asked) == ("image/png", 1)


class HeldWorkers(Workers):
    """Work only once they are let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.waiting = 0

    async def do(self, work: Callable[..., T], *args: Any, **_: Any) -> T:
        self.waiting += 1
        await self.let.wait()
        return work(*args)


async def test_the_next_job_runs_while_one_is_converted() -> None:
    workers = HeldWorkers()
    bench = Bench(outputs=stage(workers))
    bench.runtime.usually = giving(PNG, "image/png")
    for number in range(3):
        await bench.publish(f"order-{number}", output={"format": "webp"})
    async with bench.working():
        while workers.waiting < 3:  # noqa: ASYNC110  workers tell nobody
            await asyncio.sleep(1)
        assert len(bench.runtime.runs) == 3
        assert bench.told() == []
        workers.let.set()
        for number in range(3):
            await bench.settled(f"order-{number}")


async def test_no_more_messages_are_taken_where_too_much_is_to_be_converted() -> None:
    workers = HeldWorkers()
    bench = Bench(outputs=stage(workers), policy={"prefetch": 100})
    bench.runtime.usually = giving(PNG, "image/png")
    for number in range(40):
        await bench.publish(f"order-{number}", output={"format": "webp"})
    async with bench.working():
        await asyncio.sleep(RUN * 60)
        assert 20 <= len(bench.runtime.runs) <= 30
        workers.let.set()
        await bench.emptied()
    assert len(bench.told()) == 40


async def test_what_the_body_asks_for_counts_where_the_metadata_say_nothing() -> None:
    made = stage()
    job = parse_job(Bench().body("order-1", output={"max_side": 48}))
    artifact = Artifact(PNG, "image/png")
    order = Order(job, OutputOptions(format="webp", max_side=64))
    (product,) = await made.products(order, (artifact,))
    assert product.artifact.media_type == "image/webp"
    assert opened(product.artifact.data).width == 48


async def test_steps_follow_each_other_in_their_order() -> None:
    seen: list[str] = []

    async def first(product: Product, order: Order) -> Product:
        seen.append(f"first {product.number}")
        return Product(product.number, Artifact(b"changed", "text/plain"))

    async def second(product: Product, order: Order) -> Product:
        seen.append(product.artifact.data.decode())
        raise Rejected("Nobody may have that.", type="withheld")

    bench = Bench(outputs=OutputStage((first, second)))
    told = await told_of(bench)
    assert seen == ["first 1", "changed"]
    assert (told.status, told.error and told.error.type) == ("failed", "withheld")


@pytest.mark.parametrize(("output", "words"), [
    ({"format": "gif"}, "metadata.output.format: Input should be 'webp', 'jpeg', 'avif', 'png'"),
    ({"quality": 0}, "metadata.output.quality: Input should be greater than or equal to 1"),
    ({"quality": 101}, "metadata.output.quality"),
    ({"max_side": 0}, "metadata.output.max_side"),
    ({"max_side": 20_000}, "metadata.output.max_side"),
    ({"metadata": "some"}, "metadata.output.metadata"),
    ({"formt": "webp"}, "metadata.output.formt: Extra inputs are not permitted"),
    ({"format": "png", "quality": 90}, "quality: png files have none"),
    ({"format": "jpeg", "lossless": True}, "lossless: jpeg files never are here"),
    ("webp", "metadata.output"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_words(output: Any, words: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse_job(Bench().body("order-1", output=output))
    assert words in refused.value.message


def test_a_notification_that_is_too_large_leaves_out_variants_first() -> None:
    images = [
        Image.model_validate({
            "url": f"s3://bucket/{number}.webp", "media_type": "image/webp", "bytes": 1,
            "sha256": "0" * 64, "placeholder": "L" * 28,
            "variants": [{"role": "thumbnail", "url": f"s3://bucket/{number}-thumbnail.webp",
                          "media_type": "image/webp", "bytes": 1, "sha256": "0" * 64}],
        })
        for number in range(100)
    ]  # fmt: skip
    whole = Notification(runtime="a", id="b", status="completed", result=True, images=images)
    fitted = whole.fitted(len(whole.to_json()) - 1)
    assert [image.variants for image in fitted.images] == [[]] * 100
    assert fitted.images[0].placeholder == "L" * 28


def test_a_variant_has_a_key_of_its_own() -> None:
    keys = ResultKeys("out/a", "a", "0" * 64)
    named = {keys.artifact(1, "image/webp"), keys.artifact(1, "image/webp", variant="thumbnail")}
    assert named == {
        "out/a/a-0000000000000000-1.webp", "out/a/a-0000000000000000-1-thumbnail.webp",
    }  # fmt: skip
