"""`ComfyUIRuntime`: the contract of `queue_agent.runtime` in ComfyUI's words."""

import asyncio
import secrets
import uuid
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

import structlog
from pydantic import JsonValue

from queue_agent.runtime import (
    Assets,
    Capabilities,
    ModelFile,
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
from queue_agent.wire.errors import RuntimeStuck, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui.abandoned import AbandonedPrompts
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.clean_up import CleanUp
from queue_agent_runtimes.comfyui.collection import collect
from queue_agent_runtimes.comfyui.editor import Conversions
from queue_agent_runtimes.comfyui.execution import (
    ComfyUIPrepared,
    Execution,
    Finished,
    with_changed_nodes,
)
from queue_agent_runtimes.comfyui.history import Outdated
from queue_agent_runtimes.comfyui.job_workflows import PIPELINE, JobWorkflows
from queue_agent_runtimes.comfyui.left_files import Traces
from queue_agent_runtimes.comfyui.models import MODEL_FOLDERS, canonical, use_of
from queue_agent_runtimes.comfyui.offered import capabilities_of
from queue_agent_runtimes.comfyui.outputs import MISSING
from queue_agent_runtimes.comfyui.readiness import ServerReadiness
from queue_agent_runtimes.comfyui.translator import PORTABLE_TASKS
from queue_agent_runtimes.comfyui.uploads import Uploads
from queue_agent_runtimes.comfyui.workflow import Workflow, with_unique_prefixes

_PROMPT_IDS: Final = uuid.UUID("5b1d8c6e-6f0e-5a67-9d5e-2f7f6c1f0a37")
"""Namespace of the prompt ids that jobs are given."""
_LISTING: Final = 10.0
"""Seconds for which a model that was fetched is looked for among those of the server."""
_LOOK: Final = 0.2
_UNLISTED: Final = ".gguf"
"""Kind of files that only custom nodes list."""
_PREVIEW_METHOD: Final = "preview_method"
"""Of `extra_data`, by which a prompt has its samplers send previews. Older servers (seen: 0.3.64)
do not hear of it; there `--preview-method` decides."""
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
    shows_previews: ClassVar[bool] = True
    model_folders: ClassVar[frozenset[str]] = MODEL_FOLDERS
    concurrency: int = 1
    backlog: int = 1

    def __init__(self, options: RuntimeOptions) -> None:
        self._api = ComfyUIApi(options, self.default_url)
        conversions = Conversions(self._api)
        self._workflows = JobWorkflows(self._api, conversions, options)
        self.task_types = self.task_types | self._workflows.answered  # type: ignore[misc]  # by the operator
        self._readiness = ServerReadiness(self._api, conversions, self._workflows)
        self._abandoned = AbandonedPrompts(self._api)
        self._clean_up = CleanUp(self._api, options.files)

    async def ready(self) -> bool | Readiness:
        """By `/system_stats`; stuck as long as a prompt that was found to be stranded is.

        After each start of the server it is asked which inputs take files.
        """
        ready = await self._readiness.ready()
        if ready:
            self._clean_up.tend()
        return ready

    def references(self, job: Job) -> Iterable[Reference]:
        """URLs in the inputs of loading nodes, or in the image fields of portable jobs."""
        return self._workflows.references(job, self._readiness.file_inputs)

    def check_places(self, job: Job) -> None:
        """Inputs of nodes are looked at, except those that are prompts by their names."""
        self._workflows.check_places(job, self._readiness.file_inputs)

    def model_files(self, job: Job) -> Iterable[ModelFile]:
        """Those of ``metadata.models``, of `models` beside a workflow and of an editor's nodes.

        And the names of all that the workflow loads.
        """
        return canonical(
            (*super().model_files(job), *self._workflows.models(job, self._readiness.file_inputs))
        )

    async def has_model(self, model: ModelFile) -> bool:
        """By `/models`, which lists what lies in any of a kind's folders."""
        return model.name in (await self._api.models(model.folder) or ())

    async def models_came(self, models: Sequence[ModelFile]) -> None:
        """Wait until `/models` has them, which other machines' volumes may delay for a while."""
        self._workflows.models_came()
        try:
            async with asyncio.timeout(_LISTING):
                for model in models:
                    while not await self._lists(model):  # noqa: ASYNC110  a server tells nobody
                        await asyncio.sleep(_LOOK)
        except TimeoutError:
            _log.warning("models_not_listed", models=[model.key for model in models])

    async def _lists(self, model: ModelFile) -> bool:
        """Whether there is nothing to wait for."""
        files = await self._api.models(model.folder)
        return files is None or model.name in files or model.name.casefold().endswith(_UNLISTED)

    async def models_replaced(self, models: Sequence[ModelFile]) -> None:
        """By `/free`: nodes that load models go by names, and take what they loaded before."""
        _log.info("models_replaced", models=[model.key for model in models])
        await self._api.free_memory()

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        """Build or check the workflow, and upload its input files."""
        traces, known = self._clean_up.traces(job), self._readiness.file_inputs
        uploads = Uploads(self._api, traces)
        workflow = await self._workflows.workflow(job, assets, uploads, known)
        graph = with_unique_prefixes(workflow.graph, f"{traces.tag}-{secrets.token_hex(4)}")
        traces.saved_by(graph)
        prepared = ComfyUIPrepared(
            job=job,
            request={"prompt": {**graph}, **_beside(workflow, job)},
            warnings=workflow.warnings,
            graph=graph,
            prompt_id=prompt_id_of(job),
            seeds=workflow.seeds,
            strict=_asks_for(job, "strict"),
            include_temp=_asks_for(job, "include_temp"),
            images=workflow.images,
            output=workflow.output,
            use=use_of(graph, known.outputs, workflow.targets),
        )
        self._clean_up.hold(prepared)
        return prepared

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        """Execute the workflow, or join it where an earlier attempt has submitted it.

        Outputs that were handed over are removed from the server's history: until then they
        wait there for the next attempt, after that the same job would be a new one.
        """
        if not isinstance(prepared, ComfyUIPrepared):
            raise TypeError("run() takes what prepare() of the same adapter returned")
        await self._abandoned.gone(prepared.prompt_id)
        with Spools() as spools:
            try:
                output = await self._made(prepared, progress, spools)
            except Outdated as outdated:
                _log.info("nodes_executed_again", nodes=sorted(outdated.nodes))
                prepared = with_changed_nodes(prepared, outdated.nodes)
                output = await self._made(prepared, progress, spools)
            spools.keep(output.artifacts)
        progress(Progress(1.0))
        return output

    async def still_runs(self, prepared: Prepared) -> bool:
        """By `/queue`; interrupted once more if it does, now and then."""
        if not isinstance(prepared, ComfyUIPrepared):
            raise TypeError("still_runs() takes what prepare() of the same adapter returned")
        return await self._abandoned.lingers(prepared.prompt_id)

    def workflows(self) -> Sequence[NamedWorkflow]:
        """Those of the operator's folder."""
        return self._workflows.offers()

    async def capabilities(self) -> Capabilities:
        """By the choices that its core nodes give."""
        return await capabilities_of(self._api)

    async def clean_up(self, job: Job, *, again: bool) -> None:
        """The history's entries, and, where the folders are shared, the files.

        A prompt that ended well and whose outputs could not be fetched stays for the next attempt.
        """
        await self._clean_up.after(job, again=again)

    async def aclose(self) -> None:
        await self._readiness.aclose()
        await self._clean_up.aclose()
        await self._api.aclose()

    async def _made(
        self, prepared: ComfyUIPrepared, progress: ProgressCallback, spools: Spools
    ) -> Output:
        traces = self._clean_up.traces(prepared.job)
        finished = await self._finished(Execution(self._api, prepared, progress, spools), traces)
        traces.awaited = True
        try:
            with submitted():
                output = await collect(self._api, prepared, finished, spools)
        except Unavailable as error:
            if error.type == MISSING:  # what is gone does not come back by asking again
                await self._forget(finished.prompt_id, traces)
            raise
        await self._forget(finished.prompt_id, traces)
        return output

    async def _finished(self, execution: Execution, traces: Traces) -> Finished:
        traces.awaited = False
        try:
            return await execution.finish()
        except asyncio.CancelledError:
            self._abandoned.add(execution.prepared.prompt_id, execution.prompt_id)
            raise
        except RuntimeStuck:
            self._readiness.note_stranded(execution.prompt_id)
            raise
        finally:
            traces.prompts.add(execution.prompt_id)
            for entry in execution.entries:
                traces.named_in(entry)

    async def _forget(self, prompt_id: str, traces: Traces) -> None:
        """Once its outputs were handed over, or are gone: the same job would be a new prompt."""
        traces.awaited = False
        traces.prompts.discard(prompt_id)
        await self._clean_up.forget(prompt_id)


def prompt_id_of(job: Job) -> str:
    """The prompt id of a job: the same for each attempt, so that none is done twice."""
    return str(uuid.uuid5(_PROMPT_IDS, f"{job.id}/{job.digest}"))


def _beside(workflow: Workflow, job: Job) -> dict[str, JsonValue]:
    extra_data = workflow.extra_data
    if job.wants_previews:
        extra_data = {_PREVIEW_METHOD: "auto", **extra_data}
    request: dict[str, JsonValue] = {"extra_data": extra_data}
    if workflow.targets is not None:
        request["partial_execution_targets"] = [*workflow.targets]
    return request


def _asks_for(job: Job, option: str) -> bool:
    return (job.metadata.model_extra or {}).get(option) is True
