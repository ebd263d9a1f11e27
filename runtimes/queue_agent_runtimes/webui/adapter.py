"""The adapter itself: what jobs become, and one HTTP call for each."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from queue_agent.runtime import (
    OWN,
    Assets,
    Capabilities,
    Loaded,
    ModelFile,
    ModelUse,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
    Readiness,
    Reference,
    Runtime,
    RuntimeOptions,
    not_yet_submitted,
)
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent_runtimes.webui.answer import error_of, output_of
from queue_agent_runtimes.webui.calls import GenerationCalls, WebUIPrepared
from queue_agent_runtimes.webui.client import Sight, WebUIClient
from queue_agent_runtimes.webui.fields import JsonObject
from queue_agent_runtimes.webui.lists import ServerLists
from queue_agent_runtimes.webui.models import (
    MODEL_FOLDERS,
    ModelLists,
    canonical,
    loras_in,
    models_in,
)
from queue_agent_runtimes.webui.naming import (
    find_checkpoint,
    settle_generation,
    settle_upscaling,
)
from queue_agent_runtimes.webui.offered import capabilities_of
from queue_agent_runtimes.webui.options import ServerOptions, names_changed_by
from queue_agent_runtimes.webui.request import (
    GENERATIONS,
    ROUTES,
    references,
    translate,
    with_checkpoint,
    with_defaults,
)
from queue_agent_runtimes.webui.start import StartAwareClient


class WebUIRuntime(Runtime):
    """The AUTOMATIC1111 Stable Diffusion Web UI."""

    name: ClassVar[str] = "webui"
    task_types: ClassVar[frozenset[str]] = frozenset(ROUTES)
    default_url: ClassVar[str] = "http://127.0.0.1:7860"
    model_folders: ClassVar[frozenset[str]] = MODEL_FOLDERS
    shows_previews: ClassVar[bool] = True
    concurrency: int = 1
    backlog: int = 1

    def __init__(self, options: RuntimeOptions) -> None:
        self._switch_models = options.switch_models
        self._http = StartAwareClient(options, self.default_url, self._was_away)
        self._client = WebUIClient(self._http)
        self._models = ModelLists(self._http)
        self._lists = ServerLists(self._http)
        self._options = ServerOptions(self._http)
        self._calls = GenerationCalls(self._http, self._client)

    def _was_away(self) -> None:
        """All that was known of the server may be different."""
        for known in (self._client, self._lists, self._options):
            known.forget()

    async def ready(self) -> Readiness:
        return await self._client.readiness()

    def references(self, job: Job) -> Iterable[Reference]:
        return references(job)

    def model_files(self, job: Job) -> Iterable[ModelFile]:
        """Those of ``metadata.models``, and the checkpoint, VAE and LoRAs that the job names."""
        return canonical((*super().model_files(job), *models_in(job.content)))

    async def has_model(self, model: ModelFile) -> bool:
        """By the API's lists."""
        return await self._models.has(model)

    async def models_came(self, models: Sequence[ModelFile]) -> None:
        """By the routes that refresh them."""
        await self._models.refresh(models)

    async def prepare(self, job: Job, assets: Assets) -> WebUIPrepared:
        """Translate the job; a checkpoint that is not listed is looked for on the disk.

        Raises:
            Rejected: there is no such checkpoint (type ``unknown_model``), or a field is wrong.
        """
        if job.task_type not in self.task_types:
            raise Rejected(f"The Web UI has no task {job.task_type!r}.", type="unknown_task_type")
        translated = translate(job, assets, switch_models=self._switch_models)
        request, warnings = translated.request, translated.warnings
        if job.task_type in GENERATIONS:
            warnings += await settle_generation(request, self._lists)
            settings = request.get("override_settings")
            await self._options.check(settings if isinstance(settings, dict) else {})
            request = with_defaults(request, of_images=job.task_type == "image-to-image")
        else:
            await settle_upscaling(request, self._lists)
        title = OWN
        if translated.checkpoint:
            title = await find_checkpoint(translated.checkpoint, self._lists)
            request = with_checkpoint(request, title)
        use = ModelUse()
        if job.task_type in GENERATIONS:
            use = ModelUse.named([title], loras_in(job.content))
        return WebUIPrepared(
            job, request, warnings, translated.route, assets, output=translated.output, use=use
        )

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        """Generate.

        Raises:
            Unavailable: also when an interrupt meant for another job, or of somebody at the Web
                UI's page, may have hit this one (type ``interrupted``).
        """
        if not isinstance(prepared, WebUIPrepared):
            raise TypeError("run() takes what prepare() of the same adapter gave")
        with not_yet_submitted():
            await self._keep_options(prepared.request)
        rising = _Rising(progress)
        answer = await self._calls.make(prepared, rising.report)
        with answer.spools:
            if answer.status is not None:
                raise error_of(answer.status, prepared.request)
            output = await output_of(answer.value, prepared.request, prepared.warnings)
            answer.spools.keep(output.artifacts)
        rising.report(Sight(1.0))
        return output

    async def still_runs(self, prepared: Prepared) -> bool:
        """Whether its call is unanswered; until it is, its watcher interrupts it.

        A call that waits behind others is not answered either: the server works on it when its
        turn comes, until it is interrupted.
        """
        return self._calls.has(prepared)

    async def loaded(self) -> Loaded | None:
        """How many checkpoints it keeps; which, it does not say."""
        return Loaded(most=await self._options.checkpoints_kept())

    async def capabilities(self) -> Capabilities:
        """By the API's lists."""
        return await capabilities_of(self._http)

    async def aclose(self) -> None:
        """End what is under way and close the connections.

        A cancelled run that still waits for its turn is watched for a few seconds more; after
        that the Web UI will work on it.
        """
        await self._calls.aclose()
        await self._http.aclose()

    async def _keep_options(self, request: JsonObject) -> None:
        """See to it that the server is left with the options that it had."""
        names = names_changed_by(request)
        if names:
            if await self._client.is_fresh():
                self._options.forget()
            settings = request.get("override_settings")
            await self._options.keep(names, settings if isinstance(settings, dict) else {})


class _Rising:
    """Passes on fractions that are higher than those before, and all previews."""

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress = progress
        self._highest = -1.0

    def report(self, sight: Sight) -> None:
        if sight.fraction > self._highest or sight.preview is not None:
            self._highest = max(self._highest, sight.fraction)
            self._progress(Progress(self._highest, preview=sight.preview))
