"""The step that asks the operator's content check, before anything else is done with a file.

A file leaves the agent only with a verdict, unless the operator says otherwise. What is made waits
for one as finished work waits for the bucket; then its attempt fails, as in any outage.
"""

import asyncio
import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog
from pydantic import JsonValue

from queue_agent.cloud import Bucket
from queue_agent.outputs import Description, Order, Product, describe
from queue_agent.outputs.checkers import CheckedFile, ContentChecker, ContentVerdict
from queue_agent.runtime import Artifact
from queue_agent.telemetry.metrics import Metrics
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.layout import withheld_key
from queue_agent.wire.media_types import UNKNOWN
from queue_agent.wire.shortening import shortened
from queue_agent.worker.retry import retry_for
from queue_agent.worker.surprises import no_surprises

log = structlog.get_logger()

WITHHELD: Final = "withheld"
"""The error's type of a job of which a file is withheld."""
UNCHECKED: Final = "content_check_unavailable"
_BROKEN: Final = "content_check_broken"
_BETWEEN_COMPLAINTS: Final = 60.0
_LONGEST_REASON: Final = 500


@dataclass(frozen=True)
class ContentCheckPolicy:
    """What the operator says of it. Durations are in seconds."""

    runtime_name: str
    timeout: float = 10.0
    """For one verdict."""
    concurrency: int = 4
    """So many files are checked at a time."""
    patience: float = 300.0
    """So long a file waits for a verdict."""
    fail_open: bool = False
    """Whether it is delivered without one, once `timeout` is over."""
    quarantine: bool = True
    """Whether withheld files are kept."""
    tells_prompt: bool = False


async def asked(
    checker: ContentChecker, file: CheckedFile, seconds: float, *, quietly: bool = False
) -> ContentVerdict:
    """What a check says of a file within so many seconds.

    Raises:
        QueueAgentError: nothing that is a verdict; unless `quietly`, a fault of its own is logged.
    """
    with no_surprises(quietly=quietly):
        try:
            async with asyncio.timeout(seconds) as limit:
                verdict = await checker.check(file)
        except TimeoutError as error:
            if not limit.expired():
                raise
            words = f"The content check gave no verdict within {seconds:g} s."
            raise Unavailable(words) from error
        if not isinstance(verdict, ContentVerdict):
            raise TypeError("no ContentVerdict")
        return verdict


@dataclass
class ContentCheck:
    """A step of the stage (`queue_agent.outputs.stage`): the first."""

    policy: ContentCheckPolicy
    checker: ContentChecker
    bucket: Bucket
    """Where withheld files are kept."""
    metrics: Metrics = field(default_factory=Metrics)
    _free: asyncio.Semaphore = field(init=False, repr=False)
    _complained: float = field(default=-math.inf, init=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.policy.concurrency)

    async def __call__(self, product: Product, order: Order) -> Product:
        """The product, or with another file.

        Raises:
            Rejected: it is withheld (type ``withheld``).
            Unavailable: there was no verdict for too long (type ``content_check_unavailable``),
                none that can be followed (``content_check_broken``), or the file is damaged.
        """
        artifact = product.artifact
        seen = await describe(artifact, f"Artifact {product.number}")
        file = self._file(product, seen, order.job)
        policy = self.policy
        patience = policy.timeout if policy.fail_open else policy.patience
        try:
            verdict = await retry_for(patience, partial(self._verdict, file, order))
        except Unavailable as error:
            if not policy.fail_open or error.type == _BROKEN:
                raise
            words = f"Artifact {product.number} was delivered unchecked."
            return replace(product, warnings=(*product.warnings, words))
        if verdict.decision == "withhold":
            raise await self._withheld(artifact, file, verdict.reason, order.job)
        if verdict.replacement is None:
            return product
        log.info("replaced", artifact=product.number)
        by = verdict.replacement
        other = replace(artifact, content=by.content, media_type=by.media_type, extension="")
        words = f"Artifact {product.number} was replaced by the content check."
        return replace(product, artifact=other, warnings=(*product.warnings, words))

    def _file(self, product: Product, seen: Description, job: Job) -> CheckedFile:
        artifact, prompt = product.artifact, job.content.get("prompt")
        return CheckedFile(
            artifact,
            sha256=seen.sha256,
            number=product.number,
            role=artifact.role,
            job_id=job.id,
            task_type=job.task_type,
            runtime=self.policy.runtime_name,
            width=seen.width,
            height=seen.height,
            duration=seen.video.duration,
            frames=seen.video.frames,
            prompt=prompt if self.policy.tells_prompt and isinstance(prompt, str) else None,
        )

    async def _verdict(self, file: CheckedFile, order: Order) -> ContentVerdict:
        """One attempt at a verdict that can be followed."""
        try:
            async with self._free:
                quietly = not self._may_complain
                verdict = await asked(self.checker, file, self.policy.timeout, quietly=quietly)
            if (by := verdict.replacement) is not None:
                order.files.callback(by.close)
                await self._whole(Artifact(by.content, by.media_type))
            elif verdict.decision == "replace":
                raise Unavailable("The content check replaces by nothing.", type=_BROKEN)
        except QueueAgentError as error:
            self.metrics.content_checked("none")
            self._complain(error)
            kind = _BROKEN if error.type == _BROKEN else UNCHECKED
            raise Unavailable(error.message, type=kind, details=error.details) from error
        self.metrics.content_checked(verdict.decision)
        return verdict

    async def _whole(self, by: Artifact) -> None:
        """Have a look at the replacement; raises `Unavailable` unless it can be delivered."""
        if by.media_type == UNKNOWN:
            raise Unavailable("The content check's replacement is of no known kind.", type=_BROKEN)
        try:
            await describe(by, "The content check's replacement")
        except Unavailable as error:
            raise Unavailable(error.message, type=_BROKEN) from error

    async def _withheld(
        self, artifact: Artifact, file: CheckedFile, reason: str, job: Job
    ) -> Rejected:
        """What the job fails with, once the file is kept where that is wanted."""
        reason = shortened(reason.strip(), _LONGEST_REASON)
        told: dict[str, JsonValue] = {
            "number": file.number,
            "reason": reason,
            "media_type": artifact.media_type,
            "bytes": artifact.size,
            "sha256": file.sha256,
        }
        if self.policy.quarantine:
            date = datetime.now(UTC).date().isoformat()
            key = withheld_key(date, job, file.number, file.sha256, artifact.media_type)
            write = partial(
                self.bucket.write,
                key,
                artifact,
                media_type=artifact.media_type,
                sha256=file.sha256,
            )
            await retry_for(self.policy.patience, write)
            told["kept"] = self.bucket.url(key)
        words = f"Artifact {file.number} was withheld by the content check"
        words += f": {reason}" if reason else "."
        return Rejected(words, type=WITHHELD, details={"withheld": told})

    def _complain(self, error: QueueAgentError) -> None:
        """Tell the operator that files wait, once a minute."""
        if self._may_complain:
            self._complained = asyncio.get_running_loop().time()
            log.warning("no verdict on content", error=error.type, reason=error.message)

    @property
    def _may_complain(self) -> bool:
        now = asyncio.get_running_loop().time()
        return now - self._complained >= _BETWEEN_COMPLAINTS
