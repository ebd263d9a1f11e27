"""A Web UI whose GPU takes a known time and whose pictures are made beforehand.

    python -m benchmarks.runtime --port 7860

What the adapter asks of the Web UI is answered as the real one does; the rest is left out.
The prompt is taken for the job's id. Under ``/fake``: POST ``/fake/reset`` with
``{"gpu_seconds": s, "lanes": n, "image_bytes": n}`` forgets the past, GET ``/fake/runs`` tells
who used the GPU when, by this machine's monotonic clock.
"""

import argparse
import asyncio
import base64
import json
import re
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache

from aiohttp import web
from pydantic import JsonValue

from benchmarks.images import noise_png, stored_png
from benchmarks.web import as_json, body_of, serve

_PROMPT = re.compile(rb'"prompt": ?"([^"]*)"')
_TASK = re.compile(rb'"(?:force_task_id|id_task)": ?"([^"]*)"')
_COUNTS = re.compile(rb'"(?:batch_size|n_iter)": ?(\d+)')
_NAME = "noise.safetensors"
IMAGE_BYTES = 500_000
_MOST_NOISE = 700_000
"""Bytes of the largest picture of noise."""
_ROUTES = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img")


@dataclass
class Run:
    """One request's use of the GPU, by the monotonic clock."""

    job: str
    arrived: float
    lane: int = 0
    start: float = 0.0
    end: float = 0.0


@dataclass
class Gpu:
    """Works on requests in the order in which they came, as many at a time as it has lanes."""

    seconds: float = 0.0
    runs: list[Run] = field(default_factory=list)
    running: dict[str, Run] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    _free: list[int] = field(default_factory=lambda: [0])
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    _interrupted: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, job: str, task: str) -> None:
        run = Run(job, time.monotonic())
        self.waiting.append(task)
        try:
            await self._places.acquire()
        finally:
            self.waiting.remove(task)
        try:
            await self._run(run, task)
        finally:
            self._places.release()
        await asyncio.sleep(0)  # the next one's GPU time begins before this one's answer is sent

    async def _run(self, run: Run, task: str) -> None:
        run.lane = self._free.pop()
        self.running[task] = run
        self._interrupted.clear()
        run.start = time.monotonic()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.seconds):
                    await self._interrupted.wait()
        finally:
            run.end = time.monotonic()
            del self.running[task]
            self._free.append(run.lane)
            self.runs.append(run)

    def interrupt(self) -> None:
        self._interrupted.set()

    def progress_of(self, task: str | None) -> float:
        run = self.running.get(task or "")
        if run is None:
            return 0.0
        return min(1.0, (time.monotonic() - run.start) / self.seconds) if self.seconds else 1.0

    def reset(self, seconds: float, lanes: int) -> None:
        """Begin anew; not while anything runs."""
        self.seconds = seconds
        self.runs.clear()
        self._free = list(range(lanes))
        self._places = asyncio.Semaphore(lanes)


class WebUI:
    """The routes that the adapter uses."""

    def __init__(self) -> None:
        self._gpu = Gpu()
        self._image_bytes = IMAGE_BYTES

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        body = await body_of(request)
        if request.path in _ROUTES:
            return await self._generate(body)
        answer: JsonValue = {}
        match request.path:
            case "/sdapi/v1/progress":
                answer = self._progress()
            case "/internal/progress":
                answer = self._task_progress(body)
            case "/sdapi/v1/interrupt":
                self._gpu.interrupt()
            case "/sdapi/v1/sd-models":
                answer = [{"title": _NAME, "model_name": "noise", "hash": "0" * 10}]
            case "/fake/reset":
                asked = json.loads(body)
                self._gpu.reset(float(asked["gpu_seconds"]), int(asked["lanes"]))
                self._image_bytes = int(asked["image_bytes"])
            case "/fake/runs":
                answer = [asdict(run) for run in self._gpu.runs]
            case _:
                return as_json({"detail": "Not Found"}, status=404)
        return as_json(answer)

    async def _generate(self, body: bytes) -> web.Response:
        # not parsed: a large input would keep this process from its clock
        count = 1
        for found in _COUNTS.findall(body):
            count *= int(found)
        await self._gpu.work(_text(_PROMPT, body), _text(_TASK, body))
        return web.Response(body=_answer(count, self._image_bytes), content_type="application/json")

    def _progress(self) -> JsonValue:
        current = next(iter(self._gpu.running), None)
        return {
            "progress": self._gpu.progress_of(current),
            "eta_relative": 0.0,
            "state": {"interrupted": False, "job_count": len(self._gpu.running), "job_no": 0},
            "current_image": None,
            "current_task": current,
        }

    def _task_progress(self, body: bytes) -> JsonValue:
        task = _text(_TASK, body)
        active, queued = task in self._gpu.running, task in self._gpu.waiting
        return {
            "active": active,
            "queued": queued,
            "completed": not active and not queued,
            "progress": self._gpu.progress_of(task) if active else None,
        }


def _text(pattern: re.Pattern[bytes], body: bytes) -> str:
    found = pattern.search(body)
    return found[1].decode() if found else ""


@cache
def _encoded(size: int) -> str:
    image = noise_png(size) if size <= _MOST_NOISE else stored_png(size)
    return base64.b64encode(image).decode()


@cache
def _answer(count: int, size: int) -> bytes:
    seeds = list(range(1, count + 1))
    infotexts = [f"noise\nSteps: 20, Sampler: Euler, Seed: {seed}, Size: 512x512" for seed in seeds]
    info = {"all_seeds": seeds, "infotexts": infotexts, "index_of_first_image": 0, "seed": 1}
    parameters = {"prompt": "noise", "steps": 20, "width": 512, "height": 512, "init_images": None}
    answer = {
        "images": [_encoded(size)] * count,
        "parameters": parameters,
        "info": json.dumps(info),
    }
    return json.dumps(answer).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description="A Web UI with a fake GPU.")
    parser.add_argument("--port", type=int, required=True)
    port: int = parser.parse_args().port
    _answer(1, IMAGE_BYTES)
    asyncio.run(serve(WebUI(), port))


if __name__ == "__main__":
    main()
