"""`ComfyUIRuntime`: the contract of `queue_agent.runtime` in ComfyUI's words."""

import asyncio
import hashlib
import secrets
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar, Final

import structlog
from pydantic import JsonValue

from queue_agent.runtime import (
    Artifact,
    Assets,
    NamedWorkflow,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
    Readiness,
    Reference,
    Runtime,
    RuntimeOptions,
    Spools,
    submitted,
)
from queue_agent.runtime.http import readiness_of
from queue_agent.runtime.places import refuse_unfetched
from queue_agent.wire.errors import QueueAgentError, RuntimeStuck, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.portable import parse_portable
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.editor import Conversions, SavedWorkflow, saved_in
from queue_agent_runtimes.comfyui.execution import ComfyUIPrepared, Execution, Finished
from queue_agent_runtimes.comfyui.file_inputs import FileInputs
from queue_agent_runtimes.comfyui.operator_files import read_library
from queue_agent_runtimes.comfyui.operator_workflow import Library
from queue_agent_runtimes.comfyui.outputs import (
    MISSING,
    MOST_BYTES,
    FileRecord,
    Found,
    fetch_artifact,
    find_outputs,
)
from queue_agent_runtimes.comfyui.translator import (
    IMAGE_FIELDS,
    PORTABLE_TASKS,
    Translator,
    find_portable_references,
)
from queue_agent_runtimes.comfyui.uploads import Uploads, with_uploads
from queue_agent_runtimes.comfyui.workflow import (
    Workflow,
    find_references,
    inputs_by_node,
    is_text_input,
    read_workflow,
    with_unique_prefixes,
)

PIPELINE: Final = "pipeline"

_PROMPT_IDS: Final = uuid.UUID("5b1d8c6e-6f0e-5a67-9d5e-2f7f6c1f0a37")
"""Namespace of the prompt ids that jobs are given."""
_MAX_RANDOM_SEED: Final = 2**32
_LOOK: Final = 0.1
"""Seconds between looks for a prompt that was given up, when its job is to be run again."""
_LISTING: Final = 1.0
"""Seconds for which readiness waits for the list of classes."""
_INTERRUPT_AGAIN: Final = 2.0
"""Seconds after which a prompt that runs on is interrupted once more."""
_log = structlog.get_logger(__name__)


class ComfyUIRuntime(Runtime):
    """Runs any workflow (`pipeline`), and portable jobs as workflows of core nodes.

    Of `metadata` it knows two more fields: `strict` (refuse a workflow of which ComfyUI would
    leave out a part) and `include_temp` (hand out previews too).
    """

    name: ClassVar[str] = "comfyui"
    task_types: ClassVar[frozenset[str]] = PORTABLE_TASKS | {PIPELINE}
    default_url: ClassVar[str] = "http://127.0.0.1:8188"
    tells_of_the_start = True
    concurrency: int = 1
    backlog: int = 1

    def __init__(self, options: RuntimeOptions) -> None:
        self._api = ComfyUIApi(options, self.default_url)
        self._translator = Translator(self._api, switch_models=options.switch_models)
        self._library = read_library(options.workflows) if options.workflows else Library()
        self._conversions = Conversions(self._api)
        self._introduced = False
        self._file_inputs = FileInputs()
        self._learning: asyncio.Future[None] | None = None
        """The question which inputs take files, asked of this start of the server."""
        self._given_up: dict[str, tuple[str, float]] = {}
        """By the id of a job's prompt, that which the server gave to it, and when to interrupt it
        again."""
        self._stranded: str | None = None
        """The prompt that waits in the queue of a server whose worker stands still."""

    async def ready(self) -> bool | Readiness:
        """By `/system_stats`; the first answer's version and devices are logged.

        Stuck as long as a prompt that was found to be stranded is; it is left where it is to
        see by it whether the server works again, and is removed then. After each start of the
        server it is asked which inputs take files.
        """
        try:
            stats = await self._api.system_stats()
            if self._stranded is not None:
                return await self._standstill(self._stranded)
        except QueueAgentError as error:
            self._conversions.forget()
            await self._unlearn()
            return readiness_of(error)
        if not self._introduced:
            self._introduced = True
            version, devices = _introduction(stats)
            _log.info("comfyui_found", version=version, devices=devices)
        return await self._has_learned()

    def references(self, job: Job) -> Iterable[Reference]:
        """URLs in the inputs of loading nodes, or in the image fields of portable jobs."""
        if job.task_type == PIPELINE:
            if (saved := self._saved(job)) is not None:
                return list(saved.references())
            return list(find_references(self._workflow(job).graph, self._file_inputs))
        return list(find_portable_references(parse_portable(job.content), job.task_type))

    def check_places(self, job: Job) -> None:
        """Inputs of nodes are looked at, except those that are prompts by their names.

        What goes along (`_meta`, the editor's workflow in `extra_data`) is kept with the images
        and read by nobody. Portable jobs send no field but those that this adapter understands.
        """
        if job.task_type == PIPELINE:
            if (asked := self._library.asked(job.content)) is not None:
                asked.check_places()
                return
            if (saved := saved_in(job.content)) is not None:
                saved.check_places()
                return
            graph = read_workflow(job.content).graph
            references = find_references(graph, self._file_inputs)
            refuse_unfetched(inputs_by_node(graph), fetched=references, is_text=is_text_input)
        else:
            others = {name: job.content[name] for name in job.content.keys() - IMAGE_FIELDS}
            refuse_unfetched(others)

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        """Build or check the workflow, and upload its input files."""
        uploads = Uploads(self._api, _tag(job))
        workflow = await self._translated(job, assets, uploads)
        graph = workflow.graph
        graph = with_unique_prefixes(graph, f"{_tag(job)}-{secrets.token_hex(4)}")
        return ComfyUIPrepared(
            job=job,
            request={"prompt": {**graph}, **_beside(workflow)},
            warnings=workflow.warnings,
            graph=graph,
            prompt_id=prompt_id_of(job),
            seeds=workflow.seeds,
            strict=_asks_for(job, "strict"),
            include_temp=_asks_for(job, "include_temp"),
            images=workflow.images,
        )

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        """Execute the workflow, or join it where an earlier attempt has submitted it.

        Outputs that were handed over are removed from the server's history: until then they
        wait there for the next attempt, after that the same job would be a new one.
        """
        if not isinstance(prepared, ComfyUIPrepared):
            raise TypeError("run() takes what prepare() of the same adapter returned")
        while await self._lingers(prepared.prompt_id):  # noqa: ASYNC110  a server tells nobody
            await asyncio.sleep(_LOOK)
        with Spools() as spools:
            finished = await self._finished(Execution(self._api, prepared, progress, spools))
            try:
                with submitted():
                    output = await self._output(prepared, finished, spools)
            except Unavailable as error:
                if error.type == MISSING:  # what is gone does not come back by asking again
                    await self._forget(finished.prompt_id)
                raise
            spools.keep(output.artifacts)
        await self._forget(finished.prompt_id)
        progress(Progress(1.0))
        return output

    async def _finished(self, execution: Execution) -> Finished:
        try:
            return await execution.finish()
        except asyncio.CancelledError:
            again = asyncio.get_running_loop().time() + _INTERRUPT_AGAIN
            self._given_up[execution.prepared.prompt_id] = (execution.prompt_id, again)
            raise
        except RuntimeStuck:
            self._stranded = execution.prompt_id
            raise

    async def still_runs(self, prepared: Prepared) -> bool:
        """By `/queue`; interrupted once more if it does, now and then.

        Not each time, since older servers interrupt whatever has begun meanwhile.
        """
        if not isinstance(prepared, ComfyUIPrepared):
            raise TypeError("still_runs() takes what prepare() of the same adapter returned")
        return await self._lingers(prepared.prompt_id)

    def workflows(self) -> Sequence[NamedWorkflow]:
        """Those of the operator's folder."""
        return self._library.offers()

    async def aclose(self) -> None:
        await self._unlearn()
        await self._api.aclose()

    def _saved(self, job: Job) -> SavedWorkflow | None:
        """The workflow in the editor's format that a pipeline job brings."""
        return saved_in(job.content) if self._library.asked(job.content) is None else None

    async def _translated(self, job: Job, assets: Assets, uploads: Uploads) -> Workflow:
        """The job's own workflow, the operator's that answers it, or one made of core nodes."""
        if job.task_type == PIPELINE:
            if (saved := self._saved(job)) is not None:
                workflow = await self._conversions.converted(saved, assets)
            else:
                workflow = self._workflow(job)
            return replace(
                workflow, graph=await with_uploads(workflow, assets, uploads, self._file_inputs)
            )
        content, seed = parse_portable(job.content), secrets.randbelow(_MAX_RANDOM_SEED)
        if (own := self._library.answering(job.task_type)) is not None:
            return await self._translator.filled(
                own, content, job.task_type, assets=assets, uploads=uploads, random_seed=seed
            )
        recipe = await self._translator.recipe(
            content, job.task_type, assets=assets, uploads=uploads, random_seed=seed
        )
        return Workflow(
            recipe.graph,
            seeds=recipe.seeds,
            warnings=tuple(recipe.warnings),
            images=content.image_count,
        )

    def _workflow(self, job: Job) -> Workflow:
        """What a pipeline job brings, or asks for by its name; raises `Rejected`."""
        asked = self._library.asked(job.content)
        if asked is None:
            return read_workflow(job.content)
        return asked.filled(random_seed=secrets.randbelow(_MAX_RANDOM_SEED))

    async def _has_learned(self) -> bool | Readiness:
        """A server of thousands of classes lists them for longer than readiness may take."""
        if self._learning is None:
            self._learning = asyncio.ensure_future(self._learn())
        await asyncio.wait({self._learning}, timeout=_LISTING)
        if self._learning.done():
            return True
        return Readiness("starting", "ComfyUI is listing its node classes.")

    async def _learn(self) -> None:
        try:
            object_info = await self._api.object_info()
        except QueueAgentError as error:
            _log.warning("comfyui_classes_unknown", reason=error.message)
        else:
            self._file_inputs = await asyncio.to_thread(FileInputs.of, object_info)

    async def _unlearn(self) -> None:
        """The server may come back with other classes."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait({self._learning})
            self._learning = None

    async def _lingers(self, job_prompt_id: str) -> bool:
        """Whether a prompt that was given up is there still."""
        if job_prompt_id not in self._given_up:
            return False
        prompt_id, due = self._given_up[job_prompt_id]
        now = asyncio.get_running_loop().time()
        if await self._api.whereabouts(prompt_id) == "running":
            if now < due:
                return True
            self._given_up[job_prompt_id] = (prompt_id, now + _INTERRUPT_AGAIN)
        if await self._api.stop(prompt_id):
            return True
        self._given_up.pop(job_prompt_id, None)
        return False

    async def _standstill(self, prompt_id: str) -> Readiness:
        if await self._api.whereabouts(prompt_id) == "stranded":
            return Readiness("stuck", "ComfyUI has a prompt waiting and works on none.")
        await self._api.stop(prompt_id)
        self._stranded = None
        return Readiness()

    async def _forget(self, prompt_id: str) -> None:
        with suppress(QueueAgentError):
            await self._api.forget(prompt_id)

    async def _output(
        self, prepared: ComfyUIPrepared, finished: Finished, spools: Spools
    ) -> Output:
        found = [*find_outputs(finished.entry), *finished.images]
        order = {node_id: index for index, node_id in enumerate(prepared.graph)}
        found.sort(key=lambda output: order.get(output.node_id, len(order)))
        wanted = [output for output in found if prepared.include_temp or not _is_temp(output)]
        if len(wanted) < prepared.images:
            raise Unavailable(
                f"The runtime made {len(wanted)} of {prepared.images} images.",
                type="invalid_answer",
            )
        artifacts, missing = await self._fetch(wanted, prepared.seeds, spools)
        warnings = [*prepared.warnings, *finished.warnings]
        if not artifacts:
            warnings.append(_nothing_to_show(temporary=len(found)))
        return Output(
            tuple(artifacts),
            {
                "prompt_id": finished.prompt_id,
                "outputs": finished.entry.get("outputs"),
                "status": finished.entry.get("status"),
                "statistics": finished.statistics,
            },
            tuple(warnings),
            tuple(missing),
        )

    async def _fetch(
        self, wanted: Iterable[Found], seeds: Mapping[str, int], spools: Spools
    ) -> tuple[list[Artifact], list[str]]:
        """What is there, and words for what is missing.

        Raises:
            Unavailable: all of it is missing, it is too much, or the server fails.
        """
        artifacts: list[Artifact] = []
        missing: list[Unavailable] = []
        for output in wanted:
            if sum(artifact.size for artifact in artifacts) > MOST_BYTES:
                raise Unavailable(
                    f"The outputs have over {MOST_BYTES} bytes.", type="answer_too_large"
                )
            try:
                seed = seeds.get(output.node_id)
                artifacts.append(await fetch_artifact(self._api, output, seed, spools.new()))
            except Unavailable as error:
                if error.type != MISSING:
                    raise
                missing.append(error)
        if missing and not artifacts:
            raise missing[0]
        return artifacts, [error.message for error in missing]


def prompt_id_of(job: Job) -> str:
    """The prompt id of a job: the same for each attempt, so that none is done twice."""
    return str(uuid.uuid5(_PROMPT_IDS, f"{job.id}/{job.digest}"))


def _beside(workflow: Workflow) -> dict[str, JsonValue]:
    request: dict[str, JsonValue] = {"extra_data": workflow.extra_data}
    if workflow.targets is not None:
        request["partial_execution_targets"] = [*workflow.targets]
    return request


def _tag(job: Job) -> str:
    """What tells a job's files from those of others, whatever it calls itself; always as long."""
    return hashlib.sha256(f"{job.id}/{job.digest}".encode()).hexdigest()[:16]


def _asks_for(job: Job, option: str) -> bool:
    return (job.metadata.model_extra or {}).get(option) is True


def _is_temp(found: Found) -> bool:
    return isinstance(found.value, FileRecord) and found.value.type == "temp"


def _nothing_to_show(*, temporary: int) -> str:
    if temporary:
        return (
            f"The workflow produced only previews ({temporary}); add a save node, or ask for "
            "them with metadata.include_temp."
        )
    return "The workflow produced no output."


def _introduction(stats: Mapping[str, JsonValue]) -> tuple[str, list[str]]:
    system, devices = stats.get("system"), stats.get("devices")
    version = system.get("comfyui_version") if isinstance(system, dict) else None
    names = [
        str(device.get("name"))
        for device in (devices if isinstance(devices, list) else [])
        if isinstance(device, dict)
    ]
    return str(version or "unknown"), names
