"""A request's answer as server-sent events: progress, previews, results.

Event names and fields are OpenAI's where it has them (``…partial_image``, ``…completed``):
https://platform.openai.com/docs/api-reference/images-streaming. ``…progress`` is our own.
The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import JsonValue

from queue_agent_diffusers.engine.jobs import EngineJob, Preview, Step
from queue_agent_diffusers.engine.requests import Pictures
from queue_agent_diffusers.errors import ServerError
from queue_agent_diffusers.http.images import OutputFormat, encode_image

MEDIA_TYPE: Final = "text/event-stream"
_SILENCE: Final = 1.0
"""Seconds without news after which something is sent, so that a client that left is noticed."""

Operation = Literal["image_generation", "image_edit"]


@dataclass
class Stream:
    """Follows one job; to be made in the event loop, before the job is submitted."""

    operation: Operation
    output_format: OutputFormat
    warnings: list[str] = field(default_factory=list)
    quality: int | None = None
    """Of the files, where their format has one."""
    _news: asyncio.Queue[Step | Preview] = field(default_factory=asyncio.Queue)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def listen(self, news: Step | Preview) -> None:
        """Take news of the job, in any thread."""
        self._loop.call_soon_threadsafe(self._news.put_nowait, news)

    async def events(self, job: EngineJob) -> AsyncIterator[bytes]:
        """The body of the answer; ends the job when nobody reads on."""
        result = asyncio.wrap_future(job.result)
        try:
            async for news in self._until(result):
                yield await self._told(news)
            async for event in self._ending(job, result):
                yield event
        finally:
            job.cancel()
            result.cancel()

    async def _until(
        self, result: asyncio.Future[Pictures]
    ) -> AsyncIterator[Step | Preview | None]:
        while not result.done() or not self._news.empty():
            waiting = asyncio.ensure_future(self._news.get())
            either: set[asyncio.Future[Any]] = {waiting, result}
            try:
                await asyncio.wait(either, timeout=_SILENCE, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    yield waiting.result()
                elif not result.done():
                    yield None
            finally:
                waiting.cancel()

    async def _told(self, news: Step | Preview | None) -> bytes:
        if news is None:
            return b": still here\n\n"
        if isinstance(news, Step):
            return self._event("progress", {"step": news.step, "steps": news.steps})
        return self._event(
            "partial_image",
            {
                "b64_json": await asyncio.to_thread(encode_image, news.picture, "png"),
                "partial_image_index": news.number,
                "image_index": news.image,
                "size": f"{news.picture.width}x{news.picture.height}",
                "output_format": "png",
            },
        )

    async def _ending(
        self, job: EngineJob, result: asyncio.Future[Pictures]
    ) -> AsyncIterator[bytes]:
        try:
            pictures = await result
        except ServerError as error:
            yield _event("error", error.body)
            return
        warnings: list[JsonValue] = [*self.warnings, *pictures.warnings]
        for number, picture in enumerate(pictures.images):
            fields: dict[str, JsonValue] = {
                "b64_json": await asyncio.to_thread(
                    encode_image, picture, self.output_format, self.quality
                ),
                "image_index": number,
                "seed": job.request.seeds[number],
                "size": f"{picture.width}x{picture.height}",
                "output_format": self.output_format,
                "warnings": warnings,
            }
            yield self._event("completed", fields)

    def _event(self, name: str, fields: Mapping[str, JsonValue]) -> bytes:
        kind = f"{self.operation}.{name}"
        return _event(kind, {"type": kind, "created_at": int(time.time()), **fields})


def _event(name: str, fields: Mapping[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(fields)}\n\n".encode()
