"""Answers as server-sent events: https://platform.openai.com/docs/api-reference/images-streaming."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import JsonValue

from queue_agent.gateway.compatibility.openai.answers import Answer, facts
from queue_agent.gateway.compatibility.openai.fields import ImagesRequest
from queue_agent.gateway.compatibility.synchronous import SynchronousJob
from queue_agent.gateway.problems import openai_body
from queue_agent.gateway.records import Record
from queue_agent.gateway.schemas import JobView
from queue_agent.media.facts import facts_of
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.problems import Problem, problem_of
from queue_agent.wire.result import Result

MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final[Mapping[str, str]] = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Operation = Literal["image_generation", "image_edit"]


@dataclass(frozen=True)
class ImageStream:
    """Tells one job's images when they are there, and of those under way what there is to see.

    The rest of the waiting is told by comments.
    """

    visit: SynchronousJob
    operation: Operation
    body: ImagesRequest
    record: Record
    warnings: Sequence[str]

    async def events(self) -> AsyncIterator[str]:
        """One event for each image, or one that says why there is none."""
        try:
            async for event in self._wait():
                yield event
            view = await self.visit.gateway.service.view(self.record)
            result = await self.visit.outcome(self.record, view)
            async for event in self._completed(result):
                yield event
        except (Problem, QueueAgentError) as error:
            problem = error if isinstance(error, Problem) else problem_of(error)
            yield _event("error", {**openai_body(problem), "job_id": self.record.id})

    async def _wait(self) -> AsyncIterator[str]:
        """Until the end, or as long as is waited; something is said at each look.

        Of the previews that were asked for, the first comes as soon as there is one, and each
        other once the job has come that much further.
        """
        gateway = self.visit.gateway
        loop = asyncio.get_running_loop()
        deadline = loop.time() + gateway.settings.sync_timeout
        shown: list[bytes] = []
        async with aclosing(gateway.service.views(self.record)) as views:
            async for view in views:
                if (view is not None and view.finished) or loop.time() > deadline:
                    return
                image = await self._due(view, len(shown)) if view is not None else None
                if image is None or image in shown[-1:]:
                    yield ": not yet\n\n"
                else:
                    yield self._partial(image, len(shown))
                    shown.append(image)

    async def _due(self, view: JobView, number: int) -> bytes | None:
        """The preview of that number, from 0, if there is one and it is time."""
        if view.preview is None or number >= self.body.partial_images:
            return None
        if (view.progress or 0.0) < number / (self.body.partial_images + 1):
            return None
        return await self.visit.gateway.service.preview(self.record)

    def _partial(self, image: bytes, number: int) -> str:
        kind = f"{self.operation}.partial_image"
        seen = facts_of(image)
        return _event(
            kind,
            {
                "type": kind,
                "b64_json": base64.b64encode(image).decode(),
                "partial_image_index": number,
                "created_at": round(time.time()),
                "background": "opaque",
                "quality": self.body.quality or "auto",
                "output_format": "jpeg",
                "size": f"{seen.width}x{seen.height}",
            },
        )

    async def _completed(self, result: Result) -> AsyncIterator[str]:
        answer = Answer(self.visit.gateway.service, self.body, result, self.warnings)
        kind = f"{self.operation}.completed"
        for number, image in enumerate(answer.outputs):
            fields: dict[str, JsonValue] = {
                "type": kind,
                "b64_json": await answer.encoded(image),
                "image_index": number,
                "created_at": round(time.time()),
                "background": self.body.background,
                "quality": self.body.quality or "auto",
                "usage": answer.usage,
                "warnings": [*answer.warnings],
            }
            yield _event(kind, fields | facts(image))


def _event(name: str, fields: Mapping[str, JsonValue]) -> str:
    return f"event: {name}\ndata: {json.dumps(fields)}\n\n"
