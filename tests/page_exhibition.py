"""A gateway with something of everything that its page can show, on a cloud in memory.

    python tests/page_exhibition.py PORT KEYS_FILE

Jobs belong to the keys `page`, `crowd`, which has hundreds of them, `wall`, which has large
pictures with thumbnails, and `busy`, all of whose jobs are open. Nobody works on any.
"""

import asyncio
import hashlib
import io
import json
import sys
import wave
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import uvicorn
from PIL import Image as Pictures
from PIL import ImageDraw

from queue_agent.cloud import Ordering
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.gateway import app as gateway_app
from queue_agent.gateway.records import Record, Records
from queue_agent.outputs.conversion import FileWish
from queue_agent.outputs.conversion import made as converted
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.wire.job import Job, parse_job
from queue_agent.wire.layout import ResultKeys, offer_key
from queue_agent.wire.notification import (
    ErrorReport,
    Image,
    ImageVariant,
    LatestPreview,
    Notification,
    Timings,
)
from queue_agent.wire.offer import Offer
from queue_agent.wire.result import Result

BUCKET: Final = "images-results"
CROWD: Final = 300
WALL: Final = 50
"""Jobs with a large picture each, and a thumbnail of it."""
BUSY: Final = 40
FILM: Final = Path(__file__).parent / "gateway" / "page" / "moving.webm"
INFOTEXT: Final = (
    "a heron\nNegative prompt: fog\nSteps: 28, Sampler: DPM++ 2M, Schedule type: Karras, "
    "CFG scale: 6.5, Seed: 77, Size: 512x768, Model hash: 31e35c80fc, Model: dreamy, "
    'Clip skip: 2, Lora hashes: "ink: abc", Version: v1.10.1'
)

JsonObject = dict[str, Any]
File = tuple[bytes, str, JsonObject]
"""Its bytes, media type, and what else an image of a manifest says."""


def landscape(width: int, height: int, tone: int) -> bytes:
    """A lighthouse in front of hills, PNG."""
    picture = Pictures.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    for y in range(height):
        share = y / height
        draw.line(
            [(0, y), (width, y)],
            fill=(int(40 + 190 * share), int(60 + 80 * share + tone % 60), int(150 - 60 * share)),
        )
    for hill in range(3):
        level = int(height * (0.55 + 0.12 * hill))
        box = [-width // 3 + hill * width // 3, level, width + hill * width // 4, height * 2]
        draw.ellipse(box, fill=(20 + tone % 40, 60 - 15 * hill, 70 + tone % 30 - 12 * hill))
    x, top = width * (2 + tone % 4) // 7, height // 4
    draw.polygon(
        [
            (x, top),
            (x + width // 14, top),
            (x + width // 10, height * 2 // 3),
            (x - width // 30, height * 2 // 3),
        ],
        fill=(240, 232, 220),
    )
    draw.ellipse([x - 4, top - width // 16, x + width // 14 + 4, top + 4], fill=(255, 209, 102))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def png(width: int, height: int, seed: int, **said: Any) -> File:
    data = landscape(width, height, seed)
    return data, "image/png", {"width": width, "height": height, "seed": seed, **said}


def sound() -> File:
    """Two seconds of nothing much."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(1)
        written.setframerate(8000)
        written.writeframes(bytes(128 + (n // 20 % 2) * 8 for n in range(16000)))
    return file.getvalue(), "audio/wav", {}


class Exhibition:
    """Hangs jobs, each a minute after the one before, the last just now."""

    def __init__(self, cloud: MemoryCloud, owner: str, count: int) -> None:
        self._cloud = cloud
        self._bucket = cloud.bucket(BUCKET)
        self._records = Records(self._bucket)
        self._owner = owner
        self._moment = datetime.fromtimestamp(cloud.now(), UTC) - timedelta(minutes=count)

    async def hang(
        self,
        name: str,
        content: JsonObject,
        *files: File,
        runtime: str = "sdruntime",
        status: str = "completed",
        error: ErrorReport | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """A job that ended."""
        job = await self.ask(name, content, runtime)
        keys = ResultKeys.of(job)
        images = []
        for number, (data, media_type, said) in enumerate(files, 1):
            key = keys.artifact(number, media_type)
            if key not in self._bucket.objects:
                await self._bucket.write(key, data, media_type=media_type)
            digest = hashlib.sha256(data).hexdigest()
            if isinstance(small := said.pop("thumbnail", None), bytes):
                said["variants"] = [await self._thumbnail(keys, number, small)]
            size = said.pop("bytes", len(data))
            images.append(
                Image(
                    url=self._bucket.url(key),
                    media_type=media_type,
                    bytes=size,
                    sha256=digest,
                    **said,
                )
            )
        if images and images[-1].role == "poster":
            images[0] = images[0].model_copy(update={"poster": images[-1].url})
        result = Result(
            runtime=runtime,
            id=job.id,
            digest=job.digest,
            status=status,
            result=error is None,
            images=images,
            error=error,
            warnings=warnings,
            timings=Timings(queued=3.2, prepare=0.4, run=12.6, store=0.3),
        )
        body = result.model_dump_json().encode()
        await self._bucket.write(keys.manifest, body, media_type="application/json")

    async def _thumbnail(self, keys: ResultKeys, number: int, data: bytes) -> ImageVariant:
        key = keys.artifact(number, "image/webp", variant="thumbnail")
        await self._bucket.write(key, data, media_type="image/webp")
        return ImageVariant(
            role="thumbnail",
            url=self._bucket.url(key),
            media_type="image/webp",
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )

    async def ask(self, name: str, content: JsonObject, runtime: str = "sdruntime") -> Job:
        """A job that nobody has begun with."""
        task_type = "pipeline" if "workflow" in content else "text-to-image"
        metadata = {
            "id": f"{self._owner}.{name}",
            "runtime": runtime,
            "tasktype": task_type,
            "prefix": "output",
        }
        job = parse_job(json.dumps({"metadata": metadata, "content": content}))
        self._moment += timedelta(minutes=1)
        await self._records.add(Record.of(job, self._owner, now=self._moment, ahead=2))
        return job

    async def run(self, name: str, content: JsonObject, *, stage: str | None = None) -> None:
        """A job that is worked on, and stays so."""
        job = await self.ask(name, content)
        keys = ResultKeys.of(job)
        small = Pictures.open(io.BytesIO(landscape(96, 96, 3)))
        file = io.BytesIO()
        small.save(file, "JPEG")
        await self._bucket.write(keys.preview, file.getvalue(), media_type="image/jpeg")
        preview = LatestPreview(url=self._bucket.url(keys.preview), number=1)
        note = Notification(
            runtime="sdruntime",
            id=job.id,
            status="running",
            result=False,
            progress=0.42,
            stage=stage,
            preview=None if stage else preview,
        )
        topic = self._cloud.topic("notifications")
        await topic.publish(note.to_json(), note.attributes(), ordering=Ordering(job.id))


def failure(kind: str, message: str, *, retryable: bool = False) -> JsonObject:
    error = ErrorReport(type=kind, message=message, retryable=retryable, final=True)
    return {"status": "expired" if kind == "expired" else "failed", "error": error}


async def hang_all(cloud: MemoryCloud) -> None:
    crowd = Exhibition(cloud, "crowd", CROWD)
    small = landscape(96, 64, 5)
    for number in range(CROWD):
        file = (small, "image/png", {"width": 96, "height": 64, "seed": number})
        await crowd.hang(f"study-{number}", {"prompt": f"study {number}"}, file)
    wall = Exhibition(cloud, "wall", WALL)
    for number in range(WALL):
        data, media_type, said = _grainy(number % 4)
        file = (data, media_type, {**said, "seed": number})
        await wall.hang(f"wall-{number}", {"prompt": f"wall {number}."}, file)
    busy = Exhibition(cloud, "busy", BUSY)
    for number in range(BUSY):
        await busy.ask(f"turn-{number}", {"prompt": f"turn {number}."})
    page = Exhibition(cloud, "page", 18)
    heron = {
        "prompt": "a tall heron in the reeds <lora:ink:0.8>",
        "negative_prompt": "fog",
        "seed": -1,
        "steps": 28,
        "cfg_scale": 6.5,
        "sampler_name": "DPM++ 2M",
        "width": 512,
        "height": 768,
        "loras": [{"name": "paper", "weight": 0.5}],
        "model": "dreamy",
        "hr_upscaler": "Latent",
    }
    await page.hang("gone", {"prompt": "a cancelled ferry"}, **_cancelled())
    await page.hang(
        "late",
        {"prompt": "a late train"},
        **failure("expired", "The job expired at 2026-01-01T00:00:00+00:00."),
    )
    await page.hang(
        "mesh", {"prompt": "a lamp to turn about"}, (b"glTF" + bytes(2000), "model/gltf-binary", {})
    )
    await page.hang("rain", {"prompt": "rain on a roof"}, sound(), runtime="comfyruntime")
    await page.hang(
        "lamp",
        {"prompt": "a moving lamp"},
        (FILM.read_bytes(), "video/webm", {}),
        png(96, 64, 2, role="poster"),
        runtime="comfyruntime",
    )
    await page.hang(
        "epic",
        {"prompt": "an epic film"},
        (FILM.read_bytes(), "video/webm", {"bytes": 84_000_000}),
        png(96, 64, 2, role="poster"),
    )
    await page.hang(
        "mixed",
        {"prompt": "a harbour and its film"},
        png(768, 512, 4),
        (FILM.read_bytes(), "video/webm", {}),
    )
    await page.hang("lost", {"prompt": "a lost picture"}, png(64, 64, 9))
    cloud.bucket(BUCKET).objects.pop(
        next(
            key
            for key in cloud.bucket(BUCKET).objects
            if "page.lost" in key and key.endswith(".png")
        )
    )
    await page.hang(
        "memory",
        {"prompt": "a very large city", "width": 2048, "height": 2048},
        **failure(
            "out_of_memory",
            "The GPU ran out of memory: CUDA out of memory. Tried to allocate 9.00 GiB.",
            retryable=True,
        ),
    )
    await page.hang(
        "nobody",
        {"prompt": "<lora:nobody:1> a face"},
        **failure("unknown_model", "LoRA 'nobody' is not one of ink, paper."),
    )
    await page.hang(
        "odd", {"prompt": "an odd failure"}, **failure("made_up_by_a_plugin", "The plugin said no.")
    )
    await page.hang(
        "flow",
        {"workflow": "portrait", "inputs": {"prompt": "a miner", "seed": 5, "strength": 0.4}},
        png(512, 512, 5),
        runtime="comfyruntime",
    )
    await page.hang(
        "warned",
        {"prompt": "a warned fox"},
        png(256, 256, 8),
        warnings=[
            "The scheduler 'exotic' is not known here; its default was used.",
            "tiling: not honoured.",
        ],
    )
    hills = [png(768, 512, 100 + number) for number in range(12)]
    await page.hang(
        "hills", {"prompt": "twelve hills", "batch_size": 12, "width": 768, "height": 512}, *hills
    )
    await page.hang("heron", heron, png(512, 768, 77, info=INFOTEXT))
    await page.run("teapot", {"prompt": "a teapot in the rain", "steps": 50})
    await page.run(
        "fetching", {"prompt": "a castle of glass"}, stage="fetching model dreamy.safetensors"
    )
    await page.ask("waiting", {"prompt": "a waiting room"})


@cache
def _grainy(number: int) -> File:
    """A picture as full of detail as those that models paint, of a megabyte, and its thumbnail."""
    picture = Pictures.open(io.BytesIO(landscape(1024, 1024, number)))
    grain = Pictures.effect_noise((1024, 1024), 40).convert("RGB")
    file = io.BytesIO()
    Pictures.blend(picture, grain, 0.25).save(file, "JPEG", quality=95)
    made = converted(file.getvalue(), FileWish(thumbnail=True))
    said = {"width": 1024, "height": 1024, "seed": number, "placeholder": made.placeholder}
    return file.getvalue(), "image/jpeg", {**said, "thumbnail": made.thumbnail}


def _cancelled() -> JsonObject:
    said = failure("cancelled", "The job was cancelled.")
    return {**said, "status": "cancelled"}


async def _offer(cloud: MemoryCloud) -> None:
    for name in ("sdruntime", "comfyruntime"):
        offer = Offer(runtime=name, adapter="webui", task_types=("text-to-image",))
        await cloud.bucket(BUCKET).write(
            offer_key(name), offer.to_json(), media_type="application/json"
        )


async def serve(port: int, keys_file: Path) -> None:
    cloud = MemoryCloud()
    setattr(gateway_app, "connect", lambda *_, **__: cloud)  # noqa: B010  it exports none
    settings = GatewaySettings.model_construct(
        job_topic="jobs",
        notification_topic="notifications",
        bucket=BUCKET,
        runtimes=("sdruntime", "comfyruntime"),
        keys_file=keys_file,
        port=port,
        link_seconds=600,
    )
    app = gateway_app.create_app(settings)
    started = app.router.lifespan_context

    @asynccontextmanager
    async def filled(app: Any) -> AsyncIterator[None]:
        await _offer(cloud)
        async with started(app):
            await app.state.listener.ready(patience=60)
            await hang_all(cloud)
            yield

    app.router.lifespan_context = filled
    await uvicorn.Server(gateway_app.server_config(app, settings)).serve()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
