"""The models of jobs: which the runtime lacks, and that those are there while a job needs them."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from queue_agent.inputs.models.fetcher import Fetched, Fetching
from queue_agent.runtime import ModelFile, Progress, ProgressCallback, Runtime
from queue_agent.wire.job import Job


class Models(Protocol):
    """What keeps the folder of models: see `queue_agent.inputs.models.fetcher.ModelFetcher`."""

    async def wanted(self, models: Iterable[ModelFile]) -> list[ModelFile]: ...

    async def absent(self, models: Iterable[ModelFile]) -> list[ModelFile]: ...

    async def hold(
        self, models: Sequence[ModelFile], keep: ExitStack, fetching: Fetching
    ) -> Fetched: ...


@dataclass(frozen=True)
class Needed:
    """Of a job's models, what the agent has to do with."""

    models: Sequence[ModelFile] = ()
    missing: bool = False
    """Whether any of them has to be fetched."""


def _unheard(_: Progress) -> None:
    """Nobody waits for it."""


@dataclass(frozen=True)
class JobModels:
    """Of one runtime's jobs."""

    runtime: Runtime
    fetcher: Models

    async def needed(self, job: Job) -> Needed:
        """What has to be there, without what the runtime has from elsewhere.

        Raises:
            Rejected: the job's models cannot be understood, or lead out of their folder; or the
                job names a place that it must not.
            Unavailable: the runtime does not answer.
        """
        self.runtime.check_places(job)
        wanted = await self.fetcher.wanted(self.runtime.model_files(job))
        absent = await self.fetcher.absent(wanted)
        elsewhere = [model for model in absent if await self.runtime.has_model(model)]
        models = [model for model in wanted if model not in elsewhere]
        return Needed(models, missing=len(absent) > len(elsewhere))

    async def hold(
        self, needed: Needed, keep: ExitStack, report: ProgressCallback = _unheard
    ) -> Fetched:
        """Have them all, until `keep` ends; raises as `ModelFetcher.hold`."""
        if not needed.models:
            return Fetched()
        if needed.missing:
            report(Progress(0.0, stage="fetching models"))

        def fetching(model: ModelFile, share: float) -> None:
            report(Progress(share, stage=f"fetching model {model.key}"))

        return await self.fetcher.hold(needed.models, keep, fetching)

    async def tell_of(self, fetched: Fetched) -> None:
        """Have the runtime know of what has changed in its folder."""
        if fetched.came:
            await self.runtime.models_came(fetched.came)
        if fetched.replaced:
            await self.runtime.models_replaced(fetched.replaced)
