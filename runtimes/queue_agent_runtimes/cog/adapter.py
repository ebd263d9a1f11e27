"""The adapter of cog servers."""

from collections.abc import Iterable
from typing import ClassVar

from queue_agent.runtime import (
    Assets,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
    Readiness,
    Reference,
    Runtime,
    RuntimeOptions,
    Spools,
    is_url,
)
from queue_agent.runtime.http import OutputFetcher, RuntimeClient
from queue_agent.wire.job import Job
from queue_agent_runtimes.cog.answer import read_output
from queue_agent_runtimes.cog.health import ModelHealth
from queue_agent_runtimes.cog.predictions import CogPrepared, Predictions
from queue_agent_runtimes.cog.schema import ModelSchema
from queue_agent_runtimes.cog.translation import PIPELINE, TASK_TYPES, media_fields, translate


class CogRuntime(Runtime):
    """One model in its cog server, which works on one prediction at a time."""

    name: ClassVar[str] = "cog"
    task_types: ClassVar[frozenset[str]] = TASK_TYPES
    default_url: ClassVar[str] = "http://127.0.0.1:5000"
    tells_of_the_start: ClassVar[bool] = True

    def __init__(self, options: RuntimeOptions) -> None:
        self._client = RuntimeClient(options, self.default_url)
        self._fetcher = OutputFetcher(options, self._client)
        self._health = ModelHealth(self._client)
        self._predictions = Predictions(self._client, self._health)

    async def ready(self) -> Readiness:
        """By ``/health-check``; a busy server is ready, since what is sent to it waits.

        Sick where the model's setup failed or its process has ended: both end by a restart only.
        """
        return await self._health.ask()

    def references(self, job: Job) -> Iterable[Reference]:
        """URLs in the inputs that the model says are files, and in the portable form's images."""
        for path, text in media_fields(job, self._health.schema or ModelSchema()):
            if is_url(text):
                yield Reference(text, path, "file" if job.task_type == PIPELINE else "image")

    async def prepare(self, job: Job, assets: Assets) -> CogPrepared:
        """Translate the job and check it by the model's own description of its inputs."""
        made = translate(job, assets, await self._health.known_schema())
        return CogPrepared(job, {"input": made.input}, tuple(made.warnings), made.files)

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        """Have the prediction made, when the server has a place for it."""
        if not isinstance(prepared, CogPrepared):
            raise TypeError("prepared by another adapter")
        schema = self._health.schema or ModelSchema()
        with Spools() as spools:
            answer = await self._predictions.make(prepared, progress, spools)
            output = await read_output(
                answer, prepared, self._fetcher, spools, gives_files=schema.gives_files
            )
            spools.keep(output.artifacts)
        progress(Progress(1.0))
        return output

    async def still_runs(self, prepared: Prepared) -> bool:
        """By telling the server to stop it, which says whether it is there."""
        if not isinstance(prepared, CogPrepared):
            raise TypeError("prepared by another adapter")
        return await self._predictions.still_runs(prepared)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._fetcher.aclose()
        await self._client.aclose()
