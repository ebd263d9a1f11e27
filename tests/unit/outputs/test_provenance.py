"""Signed manifests: what is claimed, in which files, and whether it holds."""

import asyncio
import hashlib
import io
import json
from datetime import UTC, datetime
from typing import Any, Final

import c2pa
import pytest

from output_samples import (
    InlineWorkers,
    gradient,
    moving,
    opened,
    planted_png,
    planted_webm,
    saved,
    saved_moving,
    says_secret,
    transparent_palette,
)
from provenance_samples import usual_files
from queue_agent.outputs import (
    Conversion,
    ConversionPolicy,
    Order,
    OutputStage,
    Product,
    WorkerLost,
    Workers,
)
from queue_agent.outputs.provenance import (
    ManifestFacts,
    OriginClaim,
    Signing,
    SigningCredentials,
    SigningPolicy,
    facts_in,
)
from queue_agent.outputs.provenance.signing import Signature, sign
from queue_agent.runtime import Artifact, Output, Prepared, ProgressCallback
from queue_agent.wire.job import parse_job
from queue_agent.wire.notification import Notification
from queue_agent.wire.output import OutputOptions
from video_files import SOUNDS, sound, video
from worker_bench import RUN, Behaviour, Bench

pytestmark = pytest.mark.looptime

MADE: Final = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SOURCE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PICTURE: Final = gradient("RGB", (96, 64))
FILES: Final = {
    "image/png": saved(PICTURE, "PNG"),
    "image/apng": saved(moving()[0], "PNG", save_all=True, append_images=moving()[1:]),
    "image/jpeg": saved(PICTURE, "JPEG"),
    "image/webp": saved(PICTURE, "WEBP"),
    "image/avif": saved(PICTURE, "AVIF"),
    "image/gif": saved_moving("GIF"),
    "image/tiff": saved(PICTURE, "TIFF"),
    "video/mp4": video("mp4"),
    "video/quicktime": video("quicktime"),
    "video/x-msvideo": video("avi"),
    **{media_type: sound(media_type) for media_type in SOUNDS},
}


def credentials() -> SigningCredentials:
    files = usual_files()
    return SigningCredentials.of(files.certificate, files.key, datetime.now(UTC))


def stage(
    workers: Workers | None = None, defaults: dict[str, Any] | None = None, **policy: Any
) -> OutputStage:
    """One that converts and signs, in this process."""
    workers = workers or InlineWorkers()
    conversion = ConversionPolicy(OutputOptions.model_validate(defaults or {}))
    signing = Signing(
        SigningPolicy("a-runtime", **policy), conversion, credentials, workers, lambda: MADE
    )
    return OutputStage((Conversion(conversion, workers), signing), wants_inputs=True)


def giving(data: bytes, media_type: str) -> Behaviour:
    async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
        await asyncio.sleep(RUN)
        return Output((Artifact(data, media_type, seed=7),))

    return behave


def bench_of(data: bytes, media_type: str, **options: Any) -> Bench:
    bench = Bench(outputs=stage(**options))
    bench.runtime.usually = giving(data, media_type)
    return bench


async def told_of(bench: Bench, job_id: str = "order-1", **metadata: Any) -> Notification:
    await bench.publish(job_id, **metadata)
    async with bench.working():
        return await bench.settled(job_id)


def stored(bench: Bench, url: str | None) -> bytes:
    assert url is not None
    return bench.results.objects[url.removeprefix(bench.results.url(""))].data


def manifest_in(data: bytes, media_type: str) -> ManifestFacts:
    found = facts_in(io.BytesIO(data), media_type, usual_files().anchor.decode()).manifest
    assert found is not None
    return found


def state_of(data: bytes, media_type: str) -> str | None:
    """By the library's own reader, told nothing of whom to trust."""
    called = {"image/apng": "image/png"}.get(media_type, media_type)
    reader = c2pa.Reader.try_create(called, io.BytesIO(data))
    if reader is None:
        return None
    with reader:
        state = reader.get_validation_state()
        assert state is None or isinstance(state, str)
        return state


def with_another_byte(data: bytes, media_type: str) -> bytes:
    """A byte of the picture is another."""
    before = FILES[media_type]
    place = data.index(before[len(before) // 2 :][:16])
    return data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]


async def signed(media_type: str, **output: Any) -> tuple[Product, bytes]:
    """A file past the stage alone, which starts no process for a video either."""
    order = Order(parse_job(Bench().body("order-1", output=output)))
    (product,) = await stage().products(order, [Artifact(FILES[media_type], media_type)])
    with order.files:
        return product, product.artifact.data


@pytest.mark.parametrize("media_type", FILES)
async def test_a_file_says_who_made_it_and_when_and_that_a_model_did(media_type: str) -> None:
    product, data = await signed(media_type)
    assert (product.artifact.media_type, product.warnings) == (media_type, ())
    assert state_of(data, media_type) == "Valid"
    found = manifest_in(data, media_type)
    assert (found.holds, found.is_trusted, found.signer) == (True, True, "A signer, Tests")
    assert found.actions == ("c2pa.created",)
    assert (found.source_types, found.software) == ((SOURCE,), "a-runtime")
    assert found.made == "2026-03-04T05:06:07Z"
    assert found.generator.startswith("queue-agent ")
    assert found.ingredients == ()
    if media_type.startswith("image/"):
        assert opened(data).tobytes() == opened(FILES[media_type]).tobytes()
    assert len(data) - len(FILES[media_type]) < 5000, "no thumbnail"


@pytest.mark.parametrize("media_type", FILES)
async def test_one_changed_byte_of_the_picture_is_noticed(media_type: str) -> None:
    _, data = await signed(media_type)
    changed = with_another_byte(data, media_type)
    assert state_of(changed, media_type) == "Invalid"
    assert not manifest_in(changed, media_type).holds


@pytest.mark.parametrize("wanted", ["png", "jpeg", "webp", "avif"])
async def test_what_was_converted_is_signed_as_it_is_delivered(wanted: str) -> None:
    bench = bench_of(FILES["image/png"], "image/png")
    (image,) = (await told_of(bench, output={"format": wanted, "max_side": 48})).images
    data = stored(bench, image.url)
    assert (image.media_type, image.width) == (f"image/{wanted}", 48)
    assert state_of(data, image.media_type) == "Valid"
    assert (image.bytes, image.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("rule", ["keep", "minimal"])
async def test_the_mark_stands_beside_the_manifest(rule: str) -> None:
    _, data = await signed("image/png", metadata=rule)
    assert facts_in(io.BytesIO(data), "image/png").source_types == (SOURCE,)
    assert state_of(data, "image/png") == "Valid"


async def test_a_stripped_file_has_no_manifest_unless_its_operator_insists() -> None:
    bench = bench_of(planted_png(PICTURE), "image/png")
    (image,) = (await told_of(bench, output={"metadata": "strip"})).images
    data = stored(bench, image.url)
    assert state_of(data, "image/png") is None
    assert b"queue-agent" not in data
    insisting = bench_of(planted_png(PICTURE), "image/png", stripped=True)
    (image,) = (await told_of(insisting, output={"metadata": "strip"})).images
    data = stored(insisting, image.url)
    assert state_of(data, "image/png") == "Valid"
    assert not says_secret(data)


async def test_prompts_and_models_are_told_as_the_operator_wants() -> None:
    content = {"prompt": "a lighthouse", "override_settings": {"sd_model_checkpoint": "sdxl"}}
    for wanted, prompt in ((False, ""), (True, "a lighthouse")):
        bench = bench_of(FILES["image/png"], "image/png", prompt=wanted, model="a default")
        await bench.publish("named", content=content)
        await bench.publish("unnamed")
        async with bench.working():
            named = (await bench.settled("named")).images[0]
            unnamed = (await bench.settled("unnamed")).images[0]
        data = stored(bench, named.url)
        found = manifest_in(data, "image/png")
        assert (found.models, found.prompt) == (("sdxl",), prompt)
        assert (b"lighthouse" in data) == wanted
        assert manifest_in(stored(bench, unnamed.url), "image/png").models == ("a default",)


async def test_a_model_is_found_in_a_workflow() -> None:
    bench = bench_of(FILES["image/png"], "image/png")
    workflow = {
        "3": {"class_type": "KSampler", "inputs": {"model": ["4", 0]}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl.safetensors"}},
        "5": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux"}},
    }
    await bench.publish("order-1", content={"prompt": workflow})
    async with bench.working():
        (image,) = (await bench.settled("order-1")).images
    assert manifest_in(stored(bench, image.url), "image/png").models == ("sdxl.safetensors", "flux")


async def test_a_file_that_its_runtime_signed_stays_as_it_is() -> None:
    """Without our mark in it, which would change what was signed."""
    target = io.BytesIO()
    claim = OriginClaim("theirs", MADE)
    sign(io.BytesIO(FILES["image/png"]), target, "image/png", claim, Signature(credentials()))
    theirs = target.getvalue()
    bench = bench_of(theirs, "image/png", prompt=True)
    (image,) = (await told_of(bench)).images
    assert stored(bench, image.url) == theirs
    cleaned = (await told_of(bench, "cleaned", output={"metadata": "minimal"})).images[0]
    data = stored(bench, cleaned.url)
    assert (data == theirs, state_of(data, "image/png")) == (False, "Valid")


async def test_a_manifest_that_does_not_hold_is_replaced() -> None:
    broken = with_another_byte((await signed("image/gif"))[1], "image/gif")
    assert state_of(broken, "image/gif") == "Invalid"
    bench = bench_of(broken, "image/gif")
    data = stored(bench, (await told_of(bench)).images[0].url)
    assert state_of(data, "image/gif") == "Valid"


async def test_a_file_whose_kind_has_no_manifest_is_delivered_with_a_warning() -> None:
    bench = bench_of(planted_webm(), "video/webm")
    told = await told_of(bench)
    assert told.status == "completed"
    assert told.warnings == ["Artifact 1 has no signed manifest: it is video/webm."]
    assert stored(bench, told.images[0].url) == planted_webm()


async def test_an_original_is_kept_as_the_runtime_made_it() -> None:
    product, data = await signed("image/jpeg", keep_original=True)
    (original,) = product.variants
    assert (original.role, original.is_kept) == ("original", True)
    assert original.asset.data == FILES["image/jpeg"] != data


class Lossy(InlineWorkers):
    """Loses some work that is to sign."""

    def __init__(self, losses: int) -> None:
        self.losses = losses

    async def do(self, work: Any, *args: Any, **_: Any) -> Any:
        if work.__name__ == "sign_file" and self.losses:
            self.losses -= 1
            raise WorkerLost("ended the process that worked on it")
        return await super().do(work, *args)


async def test_nothing_is_delivered_unsigned() -> None:
    bench = bench_of(FILES["image/png"], "image/png", workers=Lossy(1))
    told = await told_of(bench)
    assert (told.status, told.attempt) == ("completed", 2)
    assert state_of(stored(bench, told.images[0].url), "image/png") == "Valid"
    bench = bench_of(FILES["image/png"], "image/png", workers=Lossy(99))
    told = await told_of(bench)
    assert told.error is not None
    assert (told.status, told.error.type, told.images) == ("failed", "signing_failed", [])


async def test_a_picture_that_cannot_be_read_is_a_failed_attempt() -> None:
    cut = FILES["image/jpeg"][:200]
    bench = bench_of(cut, "image/jpeg")
    told = await told_of(bench)
    assert told.error is not None
    assert told.error.type in {"signing_failed", "invalid_answer"}


async def test_inputs_that_were_fetched_are_ingredients() -> None:
    """One of them with a manifest of its own, which goes along."""
    _, theirs = await signed("image/jpeg")
    plain = FILES["image/webp"]
    bench = bench_of(FILES["image/png"], "image/png")
    urls = []
    for key, data, kind in (("a.jpg", theirs, "image/jpeg"), ("b.webp", plain, "image/webp")):
        await bench.results.write(f"inputs/{key}", data, media_type=kind)
        urls.append(bench.results.url(f"inputs/{key}"))
    await bench.publish(
        "order-1", tasktype="image-to-image", content={"prompt": "a cat", "init_images": urls}
    )
    async with bench.working():
        (image,) = (await bench.settled("order-1")).images
    data = stored(bench, image.url)
    found = manifest_in(data, "image/png")
    assert (found.holds, sorted(found.ingredients)) == (True, ["input 1", "input 2"])
    with c2pa.Reader("image/png", io.BytesIO(data)) as reader:
        store = json.loads(reader.json())
        assert len(store["manifests"]) == 2
    ours = store["manifests"][store["active_manifest"]]
    (action,) = ours["assertions"][0]["data"]["actions"]
    linked = [one["url"].rpartition("/")[2] for one in action["parameters"]["ingredients"]]
    assert sorted(linked) == sorted(one["label"] for one in ours["ingredients"])
    for one in (theirs, plain):
        assert hashlib.sha256(one).hexdigest().encode() in data
    assert not any(url.encode() in data for url in urls)


ODD_PICTURES: Final = {
    "16 bits": (saved(gradient("I;16"), "PNG"), "image/png"),
    "inks": (saved(gradient("CMYK"), "JPEG"), "image/jpeg"),
    "a palette seen through": (
        saved(transparent_palette(), "PNG", transparency=b"\0\x80"), "image/png",
    ),
    "one bit": (saved(gradient("1"), "PNG"), "image/png"),
    "grey seen through": (saved(gradient("LA"), "PNG"), "image/png"),
    "a webp that moves": (saved_moving("WEBP"), "image/webp"),
    "one pixel": (saved(gradient("RGB", (1, 1)), "PNG"), "image/png"),
    "a long line": (saved(gradient("L", (20_000, 1)), "PNG"), "image/png"),
    "a wide tiff": (saved(PICTURE, "TIFF", big_tiff=True), "image/tiff"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_PICTURES)
async def test_odd_pictures_are_signed_as_they_are(name: str) -> None:
    data, media_type = ODD_PICTURES[name]
    bench = bench_of(data, media_type)
    told = await told_of(bench)
    assert told.result, told.error
    found = stored(bench, told.images[0].url)
    assert state_of(found, media_type) in {"Valid", "Trusted"}
    assert opened(found).tobytes() == opened(data).tobytes()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", sorted(ODD_PICTURES.keys() - {"one pixel", "a wide tiff"}))
async def test_a_picture_that_is_cut_off_is_never_signed(name: str, share: float) -> None:
    data, media_type = ODD_PICTURES[name]
    bench = bench_of(data[: int(len(data) * share)], media_type)
    told = await told_of(bench)
    assert told.error is not None
    assert (told.result, told.error.type) == (False, "invalid_answer")
