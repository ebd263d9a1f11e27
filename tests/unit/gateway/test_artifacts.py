"""What was made is shown at the gateway's address only if no browser can find a script in it."""

from collections.abc import Sequence

import pytest
from fastapi import FastAPI

from gateway_bench import BUCKET, Gateways, client_of
from queue_agent.wire.job import parse_job
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.notification import Image, ImageVariant
from queue_agent.wire.result import Result

SHOWN = ["image/png", "image/jpeg", "image/webp", "image/avif", "image/gif", "video/mp4",
         "video/webm", "audio/mpeg", "audio/x-wav"]  # fmt: skip
KEPT_AWAY = ["image/svg+xml", "IMAGE/SVG+XML", "image/png; charset=x", "image/svg+xml,image/png",
             "text/html", "application/xhtml+xml", "text/javascript", "application/javascript",
             "text/css", "application/pdf", "text/xml", "application/json", "model/gltf+json",
             "image/", "", "image/png\r\nX-Evil: 1", "text/plain"]  # fmt: skip


PATH = "/v1/jobs/a/images/1"


async def finished(
    gateways: Gateways,
    media_type: str,
    url: str | None = None,
    variants: Sequence[ImageVariant] = (),
) -> FastAPI:
    """A gateway with one finished job of one image; the manifest says that it lies at `url`."""
    app = await gateways.start(poll=1e-9)
    async with client_of(app) as client:
        body = {"metadata": {"id": "a"}, "content": {"prompt": "a"}}
        assert (await client.post("/v1/jobs", json=body)).status_code == 202
    job = parse_job(gateways.cloud.topic("jobs").published[0].body)
    key = "output/a/a-1.bin"
    image = Image(
        url=url or gateways.bucket.url(key),
        media_type=media_type,
        bytes=4,
        sha256="0" * 64,
        placeholder="L" * 28 if variants else None,
        variants=[*variants],
    )
    result = Result(
        runtime="sdruntime",
        id="a",
        digest=job.digest,
        status="completed",
        result=True,
        images=[image],
    )
    write = gateways.bucket.write
    await write(key, b"data", media_type=media_type)
    await write(
        ResultKeys.of(job).manifest,
        result.model_dump_json().encode(),
        media_type="application/json",
    )
    return app


@pytest.mark.parametrize("media_type", SHOWN)
async def test_raster_images_videos_and_audio_are_shown(
    gateways: Gateways, media_type: str
) -> None:
    async with client_of(await finished(gateways, media_type)) as client:
        answer = await client.get(PATH)
    assert (answer.status_code, answer.content) == (200, b"data")
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-disposition"] == "inline"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox"


@pytest.mark.parametrize("media_type", KEPT_AWAY)
async def test_everything_else_is_a_file_to_be_kept(gateways: Gateways, media_type: str) -> None:
    async with client_of(await finished(gateways, media_type)) as client:
        answer = await client.get(PATH)
    assert (answer.status_code, answer.content) == (200, b"data")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox"


@pytest.mark.parametrize(
    "url",
    [
        "s3://another-bucket/output/a/a-1.bin",
        f"s3://{BUCKET}-2/output/a/a-1.bin",
        f"https://{BUCKET}/output/a/a-1.bin",
        f"S3://{BUCKET}/output/a/a-1.bin",
        "/etc/passwd",
        "",
    ],
)
async def test_what_lies_in_no_bucket_of_results_is_not_served(
    gateways: Gateways, url: str
) -> None:
    await gateways.cloud.bucket("another-bucket").write(
        "output/a/a-1.bin", b"another's", media_type="image/png"
    )
    app = await finished(gateways, "image/png", url or "x")
    async with client_of(app) as client:
        job = (await client.get("/v1/jobs/a")).json()
        answer = await client.get(PATH)
    assert answer.status_code in {404, 410}
    assert b"data" not in answer.content
    assert b"another's" not in answer.content
    assert [image["presigned_url"] for image in job["images"]] in ([], [None])


def variant(role: str, url: str | None) -> ImageVariant:
    facts = {"media_type": "image/webp", "bytes": 5, "sha256": "1" * 64, "width": 8, "height": 6}
    return ImageVariant.model_validate({"role": role, "url": url, **facts})


async def test_other_files_of_a_picture_are_served_and_told_of(gateways: Gateways) -> None:
    key = "output/a/a-1-thumbnail.webp"
    await gateways.bucket.write(key, b"small", media_type="image/webp")
    small = variant("thumbnail", gateways.bucket.url(key))
    app = await finished(gateways, "image/png", variants=[small, variant("original", None)])
    async with client_of(app) as client:
        (image,) = (await client.get("/v1/jobs/a")).json()["images"]
        thumbnail = await client.get(image["thumbnail"])
        again = await client.get(
            image["thumbnail"], headers={"If-None-Match": thumbnail.headers["etag"]}
        )
        gone = await client.get(f"{PATH}/original")
        odd = await client.get(f"{PATH}/poster")
        none = await client.get("/v1/jobs/a/images/2/thumbnail")
    assert image["thumbnail"] == f"{PATH}/thumbnail"
    assert image["placeholder"] == "L" * 28
    assert [(one["role"], one["href"]) for one in image["variants"]] == [
        ("thumbnail", f"{PATH}/thumbnail"), ("original", None),
    ]  # fmt: skip
    assert (thumbnail.content, thumbnail.headers["content-type"]) == (b"small", "image/webp")
    assert again.status_code == 304
    assert gone.status_code == 410, "it is not kept"
    assert odd.status_code == 422
    assert none.status_code == 404


async def test_a_variant_elsewhere_is_not_served(gateways: Gateways) -> None:
    away = variant("thumbnail", "s3://other/secret.webp")
    app = await finished(gateways, "image/png", variants=[away])
    async with client_of(app) as client:
        assert (await client.get(f"{PATH}/thumbnail")).status_code == 410


async def test_an_image_without_variants_has_no_thumbnail(gateways: Gateways) -> None:
    async with client_of(await finished(gateways, "image/png")) as client:
        (image,) = (await client.get("/v1/jobs/a")).json()["images"]
    assert (image["thumbnail"], image["placeholder"], image["variants"]) == (None, None, [])
