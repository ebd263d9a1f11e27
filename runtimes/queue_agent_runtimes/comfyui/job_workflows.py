"""Which workflow a job is: one that it brings, one of the operator's, or one of core nodes."""

import asyncio
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog
from pydantic import JsonValue

from queue_agent.runtime import Assets, ModelFile, NamedWorkflow, Reference, RuntimeOptions
from queue_agent.runtime.places import refuse_unfetched
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent.wire.portable import parse_portable
from queue_agent.wire.video_and_mesh import FILE_FIELDS
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.editor import Conversions, SavedWorkflow, saved_in
from queue_agent_runtimes.comfyui.file_inputs import FileInputs
from queue_agent_runtimes.comfyui.models import models_in, models_of_portable, models_of_saved
from queue_agent_runtimes.comfyui.operator_files import read_library
from queue_agent_runtimes.comfyui.operator_library import Library
from queue_agent_runtimes.comfyui.operator_video import (
    VIDEO_TASKS,
    find_file_references,
    parse_content,
)
from queue_agent_runtimes.comfyui.translator import (
    IMAGE_FIELDS,
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
)

PIPELINE: Final = "pipeline"

_MAX_RANDOM_SEED: Final = 2**32
_log = structlog.get_logger(__name__)


class JobWorkflows:
    """The ways from a job to a workflow, for one server."""

    def __init__(self, api: ComfyUIApi, conversions: Conversions, options: RuntimeOptions) -> None:
        self._conversions = conversions
        self._translator = Translator(api, switch_models=options.switch_models)
        self._folder = read_library(options.workflows) if options.workflows else Library()
        self._library = self._folder
        """As it is on the server."""

    @property
    def answered(self) -> frozenset[str]:
        """The task types that workflows of the operator's folder are the answer to."""
        return self._folder.answered

    @property
    def needs_classes(self) -> bool:
        """Whether workflows of the operator's folder wait for the server's classes."""
        return bool(self._folder.waiting)

    async def learn(self, object_info: Mapping[str, JsonValue]) -> None:
        """The server has told its classes."""
        if self.needs_classes:
            self._library = await asyncio.to_thread(self._folder.on, object_info)
            for name, reason in self._library.unusable.items():
                _log.error("workflow_not_usable", workflow=name, reason=reason)

    def offers(self) -> Sequence[NamedWorkflow]:
        """Those of the operator's folder."""
        return self._library.offers()

    def references(self, job: Job, known: FileInputs) -> Iterable[Reference]:
        """URLs in the inputs of loading nodes, or in the image fields of portable jobs."""
        if job.task_type == PIPELINE:
            if (saved := self._saved(job)) is not None:
                return list(saved.references(known))
            return list(find_references(self._own(job, known).graph, known))
        if job.task_type in VIDEO_TASKS:
            return list(find_file_references(job.content, job.task_type))
        return list(find_portable_references(parse_portable(job.content), job.task_type))

    def check_places(self, job: Job, known: FileInputs) -> None:
        """Inputs of nodes are looked at, except those that are prompts by their names.

        What goes along (`_meta`, the editor's workflow in `extra_data`) is kept with the images
        and read by nobody. Portable jobs send no field but those that this adapter understands.

        Raises:
            Rejected: of type ``reference_forbidden``; or the workflow cannot be read.
        """
        if job.task_type == PIPELINE:
            if (asked := self._library.asked(job.content)) is not None:
                asked.check_places()
                return
            if (saved := saved_in(job.content)) is not None:
                saved.check_places(known)
                return
            graph = read_workflow(job.content, known.outputs).graph
            references = find_references(graph, known)
            refuse_unfetched(inputs_by_node(graph), fetched=references, is_text=is_text_input)
        else:
            media = FILE_FIELDS.get(job.task_type, IMAGE_FIELDS)
            others = {name: job.content[name] for name in job.content.keys() - {*media}}
            refuse_unfetched(others)

    def models(self, job: Job, known: FileInputs) -> Iterator[ModelFile]:
        """The models that it brings, and the names of all that it loads.

        Raises:
            Rejected: the workflow, or a list of models, cannot be read.
            Unavailable: it asks for one that waits for the server's classes.
        """
        if job.task_type != PIPELINE:
            if (own := self._library.answering(job.task_type)) is not None:
                yield from own.models
                yield from models_in(own.graph)
            if job.task_type not in VIDEO_TASKS:
                yield from models_of_portable(parse_portable(job.content))
        elif (asked := self._library.asked(job.content)) is not None:
            yield from asked.workflow.models
            yield from models_in(asked.filled(random_seed=0).graph)
        elif (saved := saved_in(job.content)) is not None:
            yield from models_of_saved(saved)
        else:
            workflow = read_workflow(job.content, known.outputs)
            yield from workflow.models
            yield from models_in(workflow.graph)

    def models_came(self) -> None:
        """The server has other files than before."""
        self._translator.forget_files()

    async def workflow(
        self, job: Job, assets: Assets, uploads: Uploads, known: FileInputs
    ) -> Workflow:
        """The workflow with its files on the server.

        Raises:
            Rejected: it cannot be read, converted or built, or a file of it is none.
            Unavailable: the server does not answer.
        """
        if job.task_type == PIPELINE:
            if (saved := self._saved(job)) is not None:
                workflow = await self._conversions.converted(saved, assets)
            else:
                workflow = self._own(job, known)
            return replace(workflow, graph=await with_uploads(workflow, assets, uploads, known))
        return await self._portable(job, assets, uploads)

    async def _portable(self, job: Job, assets: Assets, uploads: Uploads) -> Workflow:
        """The operator's that answers such jobs, or one made of core nodes."""
        own, seed = self._library.answering(job.task_type), secrets.randbelow(_MAX_RANDOM_SEED)
        if job.task_type in VIDEO_TASKS:
            if own is None:
                raise Rejected(
                    f"No workflow here is the answer to {job.task_type}.",
                    type="unknown_task_type",
                )
            asked = parse_content(job.content, job.task_type)
            return await self._translator.filled(
                own, asked, job.task_type, assets=assets, uploads=uploads, random_seed=seed
            )
        content = parse_portable(job.content)
        if own is not None:
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

    def _saved(self, job: Job) -> SavedWorkflow | None:
        """The workflow in the editor's format that a pipeline job brings."""
        return saved_in(job.content) if self._library.asked(job.content) is None else None

    def _own(self, job: Job, known: FileInputs) -> Workflow:
        """What a pipeline job brings, or asks for by its name; raises `Rejected`."""
        asked = self._library.asked(job.content)
        if asked is None:
            return read_workflow(job.content, known.outputs)
        return asked.filled(random_seed=secrets.randbelow(_MAX_RANDOM_SEED))
