"""The bundled runtime over HTTP: a real process with the tiny model."""

import asyncio
import base64
import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops

from diffusers_servers import jobs_held, painting_server
from harness import PATIENCE
from queue_agent.testing import ServerProcess, eventually, sample_png

GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"
QUICK: dict[str, Any] = {
    "prompt": "a lighthouse",
    "size": "64x64",
    "num_inference_steps": 4,
    "seed": 7,
}
SLOW: dict[str, Any] = {"prompt": "a cat", "size": "512x512", "num_inference_steps": 500}
Files = Mapping[str, bytes]


async def images_of(answer: httpx.Response) -> list[Image.Image]:
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    return [Image.open(io.BytesIO(base64.b64decode(entry["b64_json"]))) for entry in data]


async def generate(client: httpx.AsyncClient, **fields: Any) -> list[Image.Image]:
    return await images_of(await client.post(GENERATIONS, json={**QUICK, **fields}))


async def edit(client: httpx.AsyncClient, files: Files, **fields: Any) -> list[Image.Image]:
    answer = await client.post(EDITS, data={**QUICK, **fields}, files=dict(files))
    return await images_of(answer)


def largest_difference(one: Image.Image, other: Image.Image) -> int:
    return max(ImageChops.difference(one, other).tobytes())


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def png_bomb(side: int) -> bytes:
    """A small file that claims to hold a large square."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(header))
    return PHOTO[:8] + struct.pack(">I", 13) + header + checksum + PHOTO[33:]


def left_half(mode: str, inside: Any, outside: Any) -> bytes:
    mask = Image.new(mode, (64, 64), outside)
    mask.paste(inside, (0, 0, 32, 64))
    return png(mask)


WHITE_LEFT = left_half("L", 255, 0)
TRANSPARENT_LEFT = left_half("RGBA", (0, 0, 0, 0), (0, 0, 0, 255))
PHOTO = sample_png()


async def test_a_seed_gives_the_same_image_again_and_another_seed_another(
    client: httpx.AsyncClient,
) -> None:
    [first], [again], [other] = [
        await generate(client, seed=seed) for seed in (2**64 - 1, 2**64 - 1, 8)
    ]
    assert largest_difference(first, again) == 0
    assert largest_difference(first, other) > 20


@pytest.mark.parametrize(
    "files",
    [{}, {"image": PHOTO}, {"image": PHOTO, "mask": WHITE_LEFT}],
    ids=["text to image", "image to image", "inpainting"],
)
@pytest.mark.parametrize("scheduler", ["", "Euler a"])
async def test_image_i_of_a_batch_is_the_image_of_seed_plus_i(
    client: httpx.AsyncClient, files: Files, scheduler: str
) -> None:
    async def make(**fields: Any) -> list[Image.Image]:
        fields["scheduler"] = scheduler
        if files:
            return await edit(client, files, strength=0.8, **fields)
        return await generate(client, **fields)

    batch = await make(n=3)
    alone = [(await make(seed=QUICK["seed"] + number))[0] for number in range(3)]
    for one, other in zip(batch, alone, strict=True):
        assert largest_difference(one, other) <= 2, "beyond rounding"
    assert largest_difference(alone[0], alone[1]) > 20


async def test_the_answer_names_the_seeds_the_size_and_the_format(
    client: httpx.AsyncClient,
) -> None:
    body = {**QUICK, "seed": None, "n": 2, "output_format": "jpg"}
    answer = await client.post(GENERATIONS, json=body)
    assert [image.format for image in await images_of(answer)] == ["JPEG", "JPEG"]
    told = answer.json()
    first, second = (entry["seed"] for entry in told["data"])
    assert second == first + 1
    assert (told["size"], told["output_format"]) == ("64x64", "jpeg")
    [image] = await generate(client, seed=second)
    assert image.size == (64, 64)


async def test_without_a_size_an_edit_keeps_its_images_own(client: httpx.AsyncClient) -> None:
    [image] = await edit(client, {"image": sample_png(130, 75)}, size="auto")
    assert image.size == (128, 72)


async def test_an_edit_starts_from_its_image(client: httpx.AsyncClient) -> None:
    black = png(Image.new("RGB", (64, 64)))
    [one], [other] = [await edit(client, {"image": data}, strength=0.5) for data in (PHOTO, black)]
    assert largest_difference(one, other) > 20


async def test_both_conventions_for_masks_mean_the_same(client: httpx.AsyncClient) -> None:
    inverted = left_half("L", 0, 255)
    white, transparent, opposite = [
        (await edit(client, {"image": PHOTO, "mask": mask}))[0]
        for mask in (WHITE_LEFT, TRANSPARENT_LEFT, inverted)
    ]
    assert largest_difference(white, transparent) == 0
    assert largest_difference(white, opposite) > 20


async def test_schedulers_are_chosen_by_any_of_their_names(client: httpx.AsyncClient) -> None:
    names = ("Euler Karras", "DPM++ 2M", "LCM")
    images = [(await generate(client, scheduler=name))[0] for name in names]
    assert largest_difference(images[0], images[1]) > 0
    [by_class] = await generate(client, scheduler="LCMScheduler")
    assert largest_difference(images[2], by_class) == 0
    answer = await client.post(GENERATIONS, json={**QUICK, "scheduler": "Euler a Karras"})
    assert "has no use_karras_sigmas" in answer.json()["warnings"][0]


async def test_a_field_without_effect_is_named_in_a_warning(client: httpx.AsyncClient) -> None:
    body = {**QUICK, "true_cfg_scale": 4, "hr_scale": 2, "user": "me", "quality": "auto"}
    warnings = (await client.post(GENERATIONS, json=body)).json()["warnings"]
    assert [warning.partition(":")[0] for warning in warnings] == ["hr_scale", "true_cfg_scale"]


async def test_a_unet_takes_any_quality_in_our_words_or_openais(client: httpx.AsyncClient) -> None:
    body = {**QUICK, "num_inference_steps": 4}
    made = {}
    for quality in ("exact", "high", "standard", "medium", "low"):
        answer = await client.post(GENERATIONS, json={**body, "quality": quality})
        assert not answer.json().get("warnings")
        made[quality] = answer.json()["data"][0]["b64_json"]
    assert made["exact"] == made["high"] == made["standard"]
    assert len(set(made.values())) == 3
    answer = await client.post(GENERATIONS, json={**QUICK, "quality": "best"})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "quality"


async def test_a_jobs_progress_can_be_followed_to_its_end(client: httpx.AsyncClient) -> None:
    body = {**QUICK, "num_inference_steps": 200}
    request = asyncio.create_task(
        client.post(GENERATIONS, json=body, headers={"X-Request-Id": "followed"})
    )
    seen = []

    async def ended() -> bool:
        answer = await client.get("/v1/jobs/followed")
        if answer.status_code == 200:
            seen.append(answer.json())
        return request.done()

    await eventually(ended, PATIENCE)
    last = (await client.get("/v1/jobs/followed")).json()
    assert (await request).headers["X-Request-Id"] == "followed"
    assert last == {
        "id": "followed",
        "status": "completed",
        "step": 200,
        "steps": 200,
        "resumed_steps": 0,
        "progress": 1.0,
        "previews": 0,
    }
    fractions = [status["progress"] for status in seen]
    assert fractions == sorted(fractions)
    assert any(0 < fraction < 1 for fraction in fractions)


async def test_a_running_job_stops_between_two_steps(client: httpx.AsyncClient) -> None:
    request = asyncio.create_task(
        client.post(GENERATIONS, json=SLOW, headers={"X-Request-Id": "stopped"})
    )
    await eventually(lambda: has_reached(client, "stopped", "running", step=1))
    assert (await client.delete("/v1/jobs/stopped")).status_code == 202
    answer = await request
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "cancelled")
    status = (await client.get("/v1/jobs/stopped")).json()
    assert status["status"] == "cancelled"
    assert 1 <= status["step"] < 100
    assert await generate(client)


async def test_a_waiting_job_that_is_cancelled_never_starts(client: httpx.AsyncClient) -> None:
    running = asyncio.create_task(
        client.post(GENERATIONS, json=SLOW, headers={"X-Request-Id": "first"})
    )
    await eventually(lambda: has_reached(client, "first", "running"))
    waiting = asyncio.create_task(
        client.post(GENERATIONS, json=QUICK, headers={"X-Request-Id": "second"})
    )
    await eventually(lambda: has_reached(client, "second", "queued"))
    await client.delete("/v1/jobs/second")
    assert (await waiting).json()["error"]["code"] == "cancelled"
    await client.delete("/v1/jobs/first")
    await running
    await generate(client)
    status = (await client.get("/v1/jobs/second")).json()
    assert (status["status"], status["step"]) == ("cancelled", 0)


async def test_a_client_that_leaves_takes_its_job_with_it(client: httpx.AsyncClient) -> None:
    request = asyncio.create_task(
        client.post(GENERATIONS, json=SLOW, headers={"X-Request-Id": "left"})
    )
    await eventually(lambda: has_reached(client, "left", "running"))
    request.cancel()
    await eventually(lambda: has_reached(client, "left", "cancelled"))


async def test_an_id_in_use_is_refused_and_an_old_one_may_come_back(
    client: httpx.AsyncClient,
) -> None:
    headers = {"X-Request-Id": "twice"}
    request = asyncio.create_task(client.post(GENERATIONS, json=SLOW, headers=headers))
    await eventually(lambda: has_reached(client, "twice", "running"))
    answer = await client.post(GENERATIONS, json=QUICK, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "duplicate_request_id")
    await client.delete("/v1/jobs/twice")
    await request
    assert (await client.post(GENERATIONS, json=QUICK, headers=headers)).status_code == 200


async def test_every_answer_has_a_request_id(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).headers["X-Request-Id"]
    assert (await client.get("/nowhere")).headers["X-Request-Id"]
    answer = await client.get("/health", headers={"X-Request-Id": "no/slashes"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "X-Request-Id")


async def test_an_unknown_job_is_404(client: httpx.AsyncClient) -> None:
    for answer in (await client.get("/v1/jobs/x"), await client.delete("/v1/jobs/x")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found")


async def test_the_models_are_listed_and_no_other_is_served(client: httpx.AsyncClient) -> None:
    await client.post("/v1/models/unload", json={"model": "large"})  # other tests load it
    listed = (await client.get("/v1/models")).json()
    [entry], [upscaler] = listed["data"], listed["upscalers"]
    assert (upscaler["id"], upscaler["state"]) == ("large", "unloaded")
    assert (await client.get("/v1/models/large")).json() == upscaler
    assert entry["running"]["channels-last"] == "off (only on cuda)"
    assert await generate(client, model=entry["id"])
    answer = await client.post(GENERATIONS, json={**QUICK, "model": "another"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "model")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": "x" * 1_000_000}, "prompt"),
        ({"size": "65x64"}, "size"),
        ({"size": "64x4096"}, "size"),
        ({"size": "large"}, "size"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 100_000}, "num_inference_steps"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"scheduler": "no such"}, "scheduler"),
        ({"response_format": "url"}, "response_format"),
        ({"output_format": "gif"}, "output_format"),
    ],
)
async def test_a_bad_field_is_refused_by_name(
    client: httpx.AsyncClient, fields: Mapping[str, Any], param: str
) -> None:
    answer = await client.post(GENERATIONS, json={**QUICK, **fields})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"prompt": "x", "guidance_scale": NaN}', "guidance_scale"),
        (b'{"prompt": "\\ud800"}', "prompt"),
        (b'{"prompt":', None),
        (b"[" * 100_000, None),
        (b"\xff\xfe", None),
    ],
    ids=["not a number", "half a character", "broken off", "too deep", "not text"],
)
async def test_a_bad_body_is_refused(
    client: httpx.AsyncClient, body: bytes, param: str | None
) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post(GENERATIONS, content=body, headers=headers)
    assert answer.status_code in {400, 422}
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("files", "fields", "param"),
    [
        ({}, {}, "image"),
        ({"image": b"no image"}, {}, "image"),
        ({"image": PHOTO[:100]}, {}, "image"),
        ({"image": PHOTO, "mask": b"no image"}, {}, "mask"),
        ({"image": sample_png(16, 16)}, {"size": ""}, "size"),
        ({"image": PHOTO}, {"strength": 0}, "strength"),
        ({"image": PHOTO}, {"strength": "nan"}, "strength"),
        ({"image": PHOTO}, {"strength": 0.1, "num_inference_steps": 5}, "strength"),
        ({"image": PHOTO}, {"num_inference_steps": 1}, "strength"),
        ({"image": PHOTO}, {"num_inference_steps": 1, "stream": "true"}, "strength"),
        ({"image": PHOTO}, {"num_inference_steps": 1, "n": 2}, "strength"),
        ({"image": PHOTO}, {"num_inference_steps": 1, "scheduler": "Heun"}, "strength"),
        ({"image": PHOTO}, {"num_inference_steps": 1, "strength": 0.99}, "strength"),
        ({"image": PHOTO, "mask": PHOTO}, {"num_inference_steps": 2, "strength": 0.4}, "strength"),
        ({"image": PHOTO}, {"n": "many"}, "n"),
    ],
)
async def test_a_bad_edit_is_refused_by_name(
    client: httpx.AsyncClient, files: Files, fields: Mapping[str, Any], param: str
) -> None:
    answer = await client.post(EDITS, data={**QUICK, **fields}, files={"other": b"", **files})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)


async def test_what_is_too_large_is_413(client: httpx.AsyncClient) -> None:
    answer = await client.post(EDITS, data=QUICK, files={"image": png_bomb(30_000)})
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, "image")
    answer = await client.post(GENERATIONS, content=b" " * (65 * 1024 * 1024))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


async def has_reached(client: httpx.AsyncClient, job_id: str, state: str, *, step: int = 0) -> bool:
    answer = await client.get(f"/v1/jobs/{job_id}")
    if answer.status_code != 200:
        return False
    status = answer.json()
    return bool(status["status"] == state and status["step"] >= step)


async def test_a_server_told_to_end_finishes_what_it_has_begun() -> None:
    server = painting_server()
    await asyncio.to_thread(server.start)
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        body = {"prompt": "x", "num_inference_steps": 50}
        request = asyncio.create_task(client.post(GENERATIONS, json=body))
        await eventually(lambda: works(server))
        await asyncio.to_thread(server.stop, PATIENCE)
        assert (await request).status_code == 200


async def test_a_server_told_to_end_can_be_asked_until_its_jobs_are_done() -> None:
    server = painting_server()
    await asyncio.to_thread(server.start)
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        body = {"prompt": "x", "num_inference_steps": 500, "n": 16}
        headers = {"X-Request-Id": "job"}
        request = asyncio.create_task(client.post(GENERATIONS, json=body, headers=headers))
        await eventually(lambda: works(server))
        stopping = asyncio.create_task(asyncio.to_thread(server.stop, PATIENCE))

        async def refuses() -> bool:
            async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as another:
                return (await another.get("/health")).status_code == 503

        await eventually(refuses)
        assert (await client.post(GENERATIONS, json=body)).status_code == 503
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as another:
            assert (await another.post("/v1/jobs/job/suspend")).status_code == 204
        assert (await request).status_code == 409
        await stopping


async def works(server: ServerProcess) -> bool:
    return await asyncio.to_thread(jobs_held, server) > 0
