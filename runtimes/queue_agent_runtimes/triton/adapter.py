"""The adapter: the calls of one inference server."""

import asyncio
import itertools
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeVar

from pydantic import BaseModel, JsonValue

from queue_agent.runtime import (
    Artifact,
    Assets,
    Capabilities,
    OfferedModel,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
    Readiness,
    Reference,
    Runtime,
    RuntimeOptions,
    Spools,
    own_options_of,
)
from queue_agent.runtime.http import READY, WORK, Response, RuntimeClient, readiness_of
from queue_agent.runtime.places import refuse_unfetched
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.portable import parse_portable
from queue_agent_runtimes.triton.answer import OutputTensor, read_answer
from queue_agent_runtimes.triton.content import (
    IMAGE_TO_IMAGE,
    PIPELINE,
    AskedTensors,
    is_text,
    pipeline_tensors,
    portable_tensors,
    references_in,
)
from queue_agent_runtimes.triton.failures import error_from, unknown_model
from queue_agent_runtimes.triton.models import (
    InferenceModel,
    RepositoryEntry,
    read_index,
    read_metadata,
    with_config,
)
from queue_agent_runtimes.triton.options import TritonOptions, is_model_name
from queue_agent_runtimes.triton.outputs import artifacts_of, told_or_made
from queue_agent_runtimes.triton.readiness import NOT_READY, readiness_by
from queue_agent_runtimes.triton.request import InputTensor, body_of

T = TypeVar("T")

_SMALL: Final = 4 * 2**20


@dataclass(frozen=True)
class PreparedTensors(Prepared):
    """Requests with their data."""

    model: str = ""
    chosen: bool = False
    """Whether the job named the model itself."""
    asked: AskedTensors = field(default_factory=AskedTensors)


class TritonRuntime(Runtime):
    """Any number of models on one server; a job names its own, or is for the operator's.

    Cancelling closes the connection. Triton stops nothing at that, whatever the model does: over
    HTTP a run cannot be cancelled (https://github.com/triton-inference-server/server, request
    cancellation: gRPC only), nor asked for, so that `still_runs` cannot tell.
    """

    name: ClassVar[str] = "triton"
    task_types: ClassVar[frozenset[str]] = frozenset({"text-to-image", IMAGE_TO_IMAGE, PIPELINE})
    default_url: ClassVar[str] = "http://127.0.0.1:8000"
    own_options: ClassVar[type[BaseModel] | None] = TritonOptions
    backlog: int = 1

    def __init__(self, options: RuntimeOptions) -> None:
        self._client = RuntimeClient(options, self.default_url)
        self._switch_models = options.switch_models
        self._own = own_options_of(TritonOptions, options)
        self.concurrency = self._own.concurrency or 1
        self._looked = self._own.concurrency is not None
        """Whether `concurrency` is known since the server was away."""

    async def ready(self) -> bool | Readiness:
        """Whether the model that jobs go to is ready; the server, where none is named."""
        try:
            readiness = await self._readiness()
            if readiness and not self._looked:
                self.concurrency = await self._places()
                self._looked = True
        except QueueAgentError as error:
            readiness = readiness_of(error)
        if not readiness:
            self._looked = self._own.concurrency is not None
        return readiness

    def references(self, job: Job) -> Iterable[Reference]:
        """URLs in `init_images`, `image` and `mask`, and of a pipeline in tensors of such names."""
        return references_in(job.content, job.task_type, self._own)

    def check_places(self, job: Job) -> None:
        """All but the prompts, and the model's name, which is looked up on the server."""
        content = {name: value for name, value in job.content.items() if name != "model"}
        refuse_unfetched(
            content, fetched=self.references(job), is_text=lambda path: is_text(path, self._own)
        )

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        """Ask for the model's tensors, and make those of the job."""
        warnings: tuple[str, ...] = ()
        named = _model_named_in(job)
        if named and not self._switch_models:
            warnings = ("model: the operator does not allow jobs to choose it; ignored.",)
            named = None
        model = await self._model(named)
        if job.task_type == PIPELINE:
            asked = await pipeline_tensors(job.content, model, self._own, assets)
        else:
            asked = await portable_tensors(job.content, job.task_type, model, self._own, assets)
        request: dict[str, JsonValue] = {
            "model_name": model.name,
            "inputs": [_described(tensor) for tensor in asked.requests[0]],
            "outputs": [*asked.outputs],
        }
        warnings += asked.warnings
        return PreparedTensors(job, request, warnings, model.name, named is not None, asked)

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        """Send the requests, as many at a time as the server works on, and wait for the answers."""
        if not isinstance(prepared, PreparedTensors):
            raise TypeError("prepared by another adapter")
        asked = prepared.asked
        artifacts: list[Artifact] = []
        responses: list[dict[str, JsonValue]] = []
        numbered = [*enumerate(zip(asked.requests, asked.seeds, strict=True))]
        with Spools() as spools:
            while numbered:
                now, numbered = numbered[: self.concurrency], numbered[self.concurrency :]
                for made, response in await _together(
                    self._infer(prepared, number, tensors, seed, spools)
                    for number, (tensors, seed) in now
                ):
                    artifacts += made
                    responses.append(response)
                progress(Progress(len(responses) / len(asked.requests)))
            if not artifacts and prepared.job.task_type != PIPELINE:
                raise Unavailable("The runtime's answer holds no images.", type="invalid_answer")
            spools.keep(artifacts)
        response = responses[0] if len(responses) == 1 else {"responses": [*responses]}
        return Output(tuple(artifacts), response, prepared.warnings)

    async def capabilities(self) -> Capabilities:
        """The models of the server's repository, where it tells them."""
        index = await self._index()
        if not index:
            return Capabilities()
        return Capabilities(
            models=tuple(OfferedModel(name=one.name, loaded=one.is_ready) for one in index)
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _readiness(self) -> Readiness:
        model = self._own.model
        path = f"/v2/models/{model}/ready" if model else "/v2/health/ready"
        answer = await self._ask("GET", path)
        if answer.status == NOT_READY:
            return readiness_by(model, await self._index())
        return readiness_of(answer)

    async def _places(self) -> int:
        """How many jobs the model takes; 1 where that cannot be told before a job names one."""
        try:
            return (await self._model(None)).places
        except Rejected:
            return 1

    async def _model(self, named: str | None) -> InferenceModel:
        """The job's, else the operator's, else the only one.

        Raises:
            Rejected: there is none of that name, or which one is meant cannot be told.
            Unavailable: the server cannot say.
        """
        if named is not None and not is_model_name(named):
            raise unknown_model(named[:100], await self._known(), chosen=True)
        name = named or self._own.model or await self._only_one()
        answer, config = await _together(
            (self._ask("GET", f"/v2/models/{name}"), self._ask("GET", f"/v2/models/{name}/config"))
        )
        if not answer.ok:
            error = error_from(answer, name, chosen=named is not None, faults_of_the_job=())
            if error.type == "unknown_model":
                error = unknown_model(name, await self._known(), chosen=named is not None)
            raise error
        model = read_metadata(name, answer.json())
        return with_config(model, config.json_object()) if config.ok else model

    async def _only_one(self) -> str:
        ready = [entry.name for entry in await self._index() if entry.is_ready]
        if len(ready) != 1:
            has = f"; the runtime has: {', '.join(ready)}" if ready else ""
            raise Rejected(f"model: must say which one is meant{has}.", type="unknown_model")
        return ready[0]

    async def _known(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in await self._index())

    async def _index(self) -> list[RepositoryEntry]:
        """The repository's models; none where the server does not tell."""
        answer = await self._ask("POST", "/v2/repository/index", json={})
        return read_index(answer.json()) if answer.ok else []

    async def _infer(
        self,
        prepared: PreparedTensors,
        number: int,
        tensors: tuple[InputTensor, ...],
        seed: int | None,
        spools: Spools,
    ) -> tuple[list[Artifact], dict[str, JsonValue]]:
        request_id = f"{prepared.job.id}.{number}"
        body, headers = body_of(tensors, prepared.asked.outputs, request_id)
        async with self._client.stream(
            "POST", f"/v2/models/{prepared.model}/infer", body=body, headers=headers, timeout=WORK
        ) as answer:
            if not answer.ok:
                raise error_from(await answer.read(), prepared.model, chosen=prepared.chosen)
            response, outputs = await read_answer(answer, spools)
        if response.get("id", request_id) not in (request_id, "", None):
            raise Unavailable("The runtime answers another request.", type="invalid_answer")
        if missing := {*prepared.asked.outputs} - {output.name for output in outputs}:
            raise Unavailable(
                f"The runtime's answer lacks {', '.join(sorted(missing))}.", type="invalid_answer"
            )
        if prepared.job.task_type == PIPELINE:
            return await _all_of(outputs, response)
        made = [await artifacts_of(output, seed) for output in outputs]
        return [*itertools.chain.from_iterable(made)], response

    async def _ask(self, method: str, path: str, *, json: JsonValue = None) -> Response:
        return await self._client.send(method, path, json=json, timeout=READY, limit=_SMALL)


def _model_named_in(job: Job) -> str | None:
    if job.task_type != PIPELINE:
        return parse_portable(job.content).checkpoint
    named = job.content.get("model")
    if named is not None and not isinstance(named, str):
        raise Rejected("model: must be a text.", type="invalid_content")
    return named


async def _together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order; the first error ends the other works and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


async def _all_of(
    outputs: list[OutputTensor], response: dict[str, JsonValue]
) -> tuple[list[Artifact], dict[str, JsonValue]]:
    """Artifacts of a pipeline's outputs, and the values of those that hold none."""
    artifacts: list[Artifact] = []
    values: dict[str, JsonValue] = {}
    for output in outputs:
        made, told = await told_or_made(output)
        artifacts += made
        if told is not None:
            values[output.name] = told
    return artifacts, {**response, "values": values} if values else response


def _described(tensor: InputTensor) -> JsonValue:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": [*tensor.shape]}
