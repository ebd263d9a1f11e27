"""Jobs whose callers wait for their images with the connection open."""

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Header
from pydantic import JsonValue

from queue_agent.gateway.dependencies import Gateway
from queue_agent.gateway.keys import Caller
from queue_agent.gateway.records import Record
from queue_agent.gateway.schemas import JobView
from queue_agent.wire.output import OutputOptions
from queue_agent.wire.problems import Problem
from queue_agent.wire.result import Result
from queue_agent.wire.shortening import shortened

Content = dict[str, JsonValue]
WARNINGS_HEADER: Final = "X-Warnings"
_LONGEST_WARNING: Final = 200
_LONGEST_HEADER: Final = 4_000
"""Letters; aiohttp takes no header field of more than 8,190 bytes, proxies not many more of all."""

RuntimeHeader = Annotated[str | None, Header(alias="X-Runtime", description="Else the default.")]


class SynchronousJob:
    """One request that waits for its job, at a route of another server."""

    def __init__(
        self, gateway: Gateway, caller: Caller, own_id: str | None, traceparent: str | None
    ) -> None:
        self.gateway = gateway
        self._caller = caller
        self._id = own_id
        self._traceparent = traceparent

    async def make(
        self,
        task_type: str,
        content: Content,
        runtime: str | None,
        *,
        previews: bool = False,
        output: OutputOptions | None = None,
    ) -> tuple[Record, Result]:
        """Publish the job and wait for its images.

        Raises:
            Problem: there are none.
        """
        record = await self.submit(task_type, content, runtime, previews=previews, output=output)
        return record, await self.finish(record)

    async def submit(
        self,
        task_type: str,
        content: Content,
        runtime: str | None,
        *,
        context: JsonValue = None,
        previews: bool = False,
        output: OutputOptions | None = None,
    ) -> Record:
        """Publish the job."""
        service = self.gateway.service
        metadata: JsonValue = {
            "id": self._id,
            "tasktype": task_type,
            "runtime": runtime,
            "context": context,
            **({"previews": True} if previews else {}),
            **({"output": output.said} if output is not None else {}),
        }
        job = await asyncio.to_thread(
            service.job, self._caller, {"metadata": metadata, "content": content}
        )
        return await service.submit(self._caller, job, traceparent=self._traceparent)

    async def finish(self, record: Record) -> Result:
        """Wait for the job's images; raises like `make`."""
        seconds = self.gateway.settings.sync_timeout
        return await self.outcome(record, await self.gateway.service.wait(record, seconds=seconds))

    async def outcome(self, record: Record, view: JobView) -> Result:
        """What came of a job that was waited for, and that then stood like this.

        Raises:
            Problem: there are no images, or not yet.
        """
        result = await self.gateway.service.result(record)
        if not view.finished:
            raise _too_late(record, self.gateway.settings.sync_timeout)
        if result is None or not result.result:
            raise _ended_without_images(view, result)
        return result


def headers_of(record: Record, warnings: Sequence[str] = ()) -> dict[str, str]:
    """What each answer tells beside its body: the job's id, and warnings."""
    return {"X-Job-Id": record.id, **warning_headers(warnings)}


def warning_headers(warnings: Sequence[str]) -> dict[str, str]:
    """The header field of warnings, if there are some: a list in JSON, in ASCII.

    Of many or long ones only the first are there.
    """
    told: list[str] = []
    for words in warnings:
        more = [*told, shortened(words, _LONGEST_WARNING)]
        if len(json.dumps(more)) > _LONGEST_HEADER:
            break
        told = more
    return {WARNINGS_HEADER: json.dumps(told)} if told else {}


def _too_late(record: Record, seconds: float) -> Problem:
    return Problem(
        504,
        "timeout",
        f"The job {record.id} was not finished within {seconds:g} s; it goes on.",
        headers={
            "Location": f"/v1/jobs/{record.id}",
            "X-Job-Id": record.id,
            "X-Should-Retry": "false",  # OpenAI's clients would ask for the same images again
        },
        job_id=record.id,
    )


def _ended_without_images(view: JobView, result: Result | None) -> Problem:
    error = view.error
    status = 503 if error is not None and error.retryable else _refusal(result)
    if view.status in {"cancelled", "expired"}:
        status = 410
    code = error.type if error is not None else view.status
    detail = error.message if error is not None else f"The job ended as {view.status}."
    return Problem(status, code, detail, headers={"X-Job-Id": view.id}, job_id=view.id)


def _refusal(result: Result | None) -> int:
    """The status by which the runtime refused the job, where it was one of refusal."""
    said = result.response.get("status") if result is not None else None
    return said if isinstance(said, int) and 400 <= said < 500 else 422
