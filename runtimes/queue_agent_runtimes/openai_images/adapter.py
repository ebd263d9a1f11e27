"""The adapter: the dialect's HTTP calls."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from pydantic import JsonValue

from queue_agent.runtime import (
    Asset,
    Assets,
    Capabilities,
    ModelUse,
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
from queue_agent.runtime.http import (
    READY,
    WORK,
    OutputFetcher,
    Response,
    RuntimeClient,
    readiness_of,
)
from queue_agent.runtime.places import refuse_unfetched
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.job import Job
from queue_agent_runtimes.openai_images.answer import (
    error_from,
    failed,
    read_models,
    read_output,
)
from queue_agent_runtimes.openai_images.conditions import (
    led,
    references_of,
    request_fields,
    without_images,
)
from queue_agent_runtimes.openai_images.elsewhere import Elsewhere
from queue_agent_runtimes.openai_images.fields import (
    COMMON,
    IMAGE_TO_IMAGE,
    Dialect,
    translate,
    use_of,
)
from queue_agent_runtimes.openai_images.files import (
    image_fields,
    input_files,
    multipart,
    unmistakable_mask,
)

PREVIEW_INTERVAL: Final = 0.5
"""Seconds, at least, between two looks at an image; each is a small matrix product."""

SMALL: Final = 1024 * 1024
NO_SUCH_ROUTE: Final = frozenset({404, 405})


@dataclass(frozen=True)
class PreparedImages(Prepared):
    """A request with the files that go along with it."""

    images: tuple[Asset, ...] = ()
    mask: Asset | None = None
    path: str = "/v1/images/generations"


class OpenAIImagesRuntime(Runtime):
    """Any server of the dialect.

    Cancelling closes the connection, and that is all that the dialect has: some servers stop at
    it, others finish what nobody waits for any more, and none can be asked.
    """

    name: ClassVar[str] = "openai"
    task_types: ClassVar[frozenset[str]] = frozenset({"text-to-image", IMAGE_TO_IMAGE})
    default_url: ClassVar[str] = "http://127.0.0.1:8000"
    dialect: ClassVar[Dialect] = COMMON

    def __init__(self, options: RuntimeOptions) -> None:
        self._client = RuntimeClient(options, self.default_url)
        self._outputs = OutputFetcher(options, self._client)
        self._elsewhere = Elsewhere(self._client, self._outputs, options.files)
        self._switch_models = options.switch_models

    async def ready(self) -> bool | Readiness:
        """Whether ``/health`` says so or, where there is none, ``/v1/models`` answers.

        Sick where the answer's words are those of a device beyond repair.
        """
        try:
            answer = await self._ask("GET", "/health")
            if answer.status == 404:
                answer = await self._ask("GET", "/v1/models")
        except QueueAgentError as error:
            return readiness_of(error)
        readiness = readiness_of(answer)
        if readiness:
            self._note_health(answer)
        return readiness

    def references(self, job: Job) -> Iterable[Reference]:
        """URLs in `init_images`, `image` and `mask` of an image-to-image job.

        And those of the images that lead a job beside its prompt, where the server knows them.
        """
        if self.dialect.conditions:
            yield from references_of(job.content)
        if job.task_type != IMAGE_TO_IMAGE:
            return
        for path, value in image_fields(job.content):
            if is_url(value):
                yield Reference(str(value), path)

    def check_places(self, job: Job) -> None:
        """What is sent is looked at, except the prompts and the model's name.

        Servers of the dialect look that name up among those they serve, which may be URLs.
        """
        request, _ = translate(job.content, job.task_type, self.dialect)
        request.pop("model", None)
        refuse_unfetched(request)
        if self.dialect.conditions:
            refuse_unfetched(without_images(job.content))

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        """Translate the fields and gather the files; sends nothing."""
        prepared = await self._prepare(job, assets)
        return replace(prepared, use=self._use_of(prepared))

    def _use_of(self, prepared: PreparedImages) -> ModelUse:
        return use_of(prepared.request)

    async def _prepare(self, job: Job, assets: Assets) -> PreparedImages:
        dialect = await self._dialect_for(job)
        request, warnings = translate(
            job.content, job.task_type, dialect, switch_models=self._switch_models
        )
        if dialect.conditions and led(job.content):
            request |= await asyncio.to_thread(request_fields, job.content, assets)
        if self.shows_previews and job.wants_previews:
            request["preview_interval"] = PREVIEW_INTERVAL
        if job.task_type != IMAGE_TO_IMAGE:
            return PreparedImages(job, request, tuple(warnings))
        images, mask = input_files(job.content, assets)
        if mask is not None:
            mask = await asyncio.to_thread(unmistakable_mask, mask)
        return PreparedImages(
            job, request, tuple(warnings), tuple(images), mask, path="/v1/images/edits"
        )

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        """Send the request and wait for the images."""
        if not isinstance(prepared, PreparedImages):
            raise TypeError("prepared by another adapter")
        run_id = f"{prepared.job.id}.{secrets.token_hex(4)}"
        with Spools() as spools:
            async with self._following(prepared, run_id, progress):
                answer = await self._generate(prepared, run_id, spools)
                answer = await self._elsewhere.brought(answer, spools)
            output = await read_output(answer, prepared)
            spools.keep(output.artifacts)
        output = replace(output, steps_saved=await self._steps_saved(prepared, run_id))
        progress(Progress(1.0))
        return output

    async def capabilities(self) -> Capabilities:
        """The models that ``/v1/models`` lists; servers that have no such list say nothing."""
        answer = await self._ask("GET", "/v1/models")
        if answer.status in NO_SUCH_ROUTE:
            return Capabilities()
        if not answer.ok:
            raise failed(answer)
        return Capabilities(models=read_models(answer.json_object()))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._outputs.aclose()
        await self._client.aclose()

    @asynccontextmanager
    async def _following(
        self, prepared: PreparedImages, run_id: str, progress: ProgressCallback
    ) -> AsyncIterator[None]:
        """Around the wait for the answer; the dialect itself has no progress to relay."""
        del prepared, run_id, progress
        yield

    async def _steps_saved(self, prepared: PreparedImages, run_id: str) -> int:
        """Those that the run did not take, since it went on from a checkpoint."""
        del prepared, run_id
        return 0

    async def _dialect_for(self, job: Job) -> Dialect:
        """What the server understands of what this job asks for."""
        del job
        return self.dialect

    def _note_health(self, answer: Response) -> None:
        """Take from the answer what concerns us; the dialect itself says nothing in it."""

    async def _generate(
        self, prepared: PreparedImages, run_id: str, spools: Spools
    ) -> dict[str, JsonValue]:
        edits = bool(prepared.images)
        async with self._client.stream(
            "POST",
            prepared.path,
            json=None if edits else prepared.request,
            body=multipart(prepared.request, prepared.images, prepared.mask) if edits else None,
            headers={"X-Request-Id": run_id},
            timeout=WORK,
        ) as answer:
            if not answer.ok:
                raise error_from(await answer.read())
            return await answer.json_object(spools)

    async def _ask(self, method: str, path: str) -> Response:
        return await self._client.send(method, path, timeout=READY, limit=SMALL)
