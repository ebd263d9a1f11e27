"""Results in the bucket: artifacts first, then the manifest, whose existence is completion.

Nothing here overwrites: every write is a conditional create, so that of two attempts at the
same job exactly one manifest wins, and it describes the artifacts of its own attempt.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from pydantic import JsonValue, ValidationError

from queue_agent.cloud import Bucket, Message
from queue_agent.media.asset import Asset
from queue_agent.media.videos import POSTER_MEDIA_TYPE
from queue_agent.outputs import Description, Order, OutputStage, Product, Variant, describe
from queue_agent.runtime import Output
from queue_agent.tasks import together
from queue_agent.wire.errors import (
    JobCancelled,
    JobExpired,
    ObjectExists,
    ObjectNotFound,
    QueueAgentError,
    Unavailable,
)
from queue_agent.wire.estimate import JobEstimate, cost_of
from queue_agent.wire.job import Job, canonical_json
from queue_agent.wire.layout import ResultKeys, quarantine_key
from queue_agent.wire.notification import ErrorReport, Image, ImageVariant, Notification, Status
from queue_agent.wire.result import MANIFEST_MEDIA_TYPE, Result
from queue_agent.wire.shortening import shortened
from queue_agent.wire.work import model_named
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.retry import retry_for

log = structlog.get_logger()

F = TypeVar("F", Image, ImageVariant)

_LONGEST_DETAIL: Final = 4000
"""Letters of a text in what is kept of the other side's answer."""


class ResultStore:
    """The results of one bucket."""

    def __init__(
        self,
        bucket: Bucket,
        *,
        runtime_name: str,
        patience: float,
        gpu_price: float | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`gpu_price`: of an hour of the runtime's GPU; None: results tell no cost."""
        self._bucket = bucket
        self._gpu_price = gpu_price
        self._now = now
        self._runtime_name = runtime_name
        self._patience = patience

    async def find(self, job: Job, *, attempt: bool = True) -> Result | None:
        """The result of work done before, unless it is a failure worth another attempt.

        A failure worth another attempt (and a manifest nobody can read) is removed, so that
        the new attempt can commit; where there is none, the failure is left.
        """
        for key in ResultKeys.of(job).manifests:
            try:
                manifest = await self._read(key)
            except ObjectNotFound:
                return None
            try:
                result = Result.model_validate_json(manifest)
            except ValidationError:
                log.warning("unreadable manifest replaced", key=key)
            else:
                if not result.is_of(job.id, job.digest):
                    log.warning("another job's manifest has this job's place", key=key)
                    continue
                if result.is_final:
                    return result
                if not attempt:
                    return None
            await retry_for(self._patience, partial(self._bucket.delete, key))
            return None
        return None

    async def store(
        self, delivery: Delivery, output: Output, products: Sequence[Product] | None = None
    ) -> Result:
        """Write a completed job; the winner's result where another attempt was first.

        `products` are what is delivered of the output's artifacts; None: these as they are.

        Raises:
            Unavailable: an artifact is broken, upon which nothing is written (type
                ``invalid_answer``); or the bucket fails for too long.
        """
        if products is None:
            products = await OutputStage().products(Order(delivery.job), output.artifacts)
        with delivery.step("store"):
            images = await self._write_products(delivery.job, products)
        result = self._result(
            delivery,
            "completed",
            image_url=[image.url for image in images if image.role != "poster"],
            images=images,
            warnings=[*output.warnings, *_warnings(products)],
            response=output.response,
        )
        return await self._commit(delivery.job, result)

    async def store_failure(self, delivery: Delivery, error: QueueAgentError) -> Result:
        """Write how a job ended that has no images; as `store`, the winner's result."""
        return await self._commit(delivery.job, self.failure(delivery, error))

    def failure(self, delivery: Delivery, error: QueueAgentError) -> Result:
        """How a job ended that has no images, not written."""
        return self._result(
            delivery, _status(error), error=ErrorReport.of(error), response=_kept(error.details)
        )

    async def quarantine(self, message: Message, error: QueueAgentError) -> str:
        """Keep a message that could not be worked on; the URL of where."""
        now = datetime.now(UTC)
        record: dict[str, JsonValue] = {
            "message_id": message.id,
            "receive_count": message.receive_count,
            "received_at": now.isoformat(),
            "attributes": dict(message.attributes),
            "error": {"type": error.type, "message": error.message},
            "body": message.body,
        }
        key = quarantine_key(now.date().isoformat(), message.id)
        await self._write(key, canonical_json(record).encode(), MANIFEST_MEDIA_TYPE)
        return self._bucket.url(key)

    async def with_links(self, notification: Notification, seconds: float) -> Notification:
        """The notification with links to its images that work for so long."""
        images = []
        for image in notification.images:
            variants = [await self._linked(variant, seconds) for variant in image.variants]
            linked = await self._linked(image, seconds)
            images.append(linked.model_copy(update={"variants": variants}))
        return notification.model_copy(update={"images": images})

    async def _linked(self, file: F, seconds: float) -> F:
        if file.url is None:
            return file
        key = file.url.removeprefix(self._bucket.url(""))
        link = await self._bucket.presign(key, seconds=seconds)
        return file.model_copy(update={"presigned_url": link})

    def _result(self, delivery: Delivery, status: Status, **fields: Any) -> Result:
        job, gpu_seconds = delivery.job, delivery.gpu_seconds
        return Result(
            runtime=self._runtime_name,
            id=job.id,
            status=status,
            result=status == "completed",
            digest=job.digest,
            context=job.metadata.context,
            attempt=delivery.number,
            timings=delivery.timings,
            gpu_seconds=gpu_seconds,
            cost=cost_of(gpu_seconds, self._gpu_price),
            estimate=JobEstimate.told(job.metadata.estimate),
            ended_at=datetime.fromtimestamp(self._now(), UTC),
            model=model_named(job),
            metadata=job.metadata.model_dump(mode="json", exclude_none=True),
            **fields,
        )

    async def _commit(self, job: Job, result: Result) -> Result:
        """Create the manifest; the winner's where another attempt at the same job was first.

        Raises:
            Unavailable: other jobs' manifests have both places, which no agent brings about.
        """
        for key in ResultKeys.of(job).manifests:
            placed = result.model_copy(update={"output_url": self._bucket.url(key)})
            manifest = placed.model_dump_json(ensure_ascii=True).encode()
            try:
                await self._create(key, manifest, MANIFEST_MEDIA_TYPE)
            except ObjectExists:
                found = await self._read(key)
                winner = placed if found == manifest else Result.model_validate_json(found)
                if not winner.is_of(job.id, job.digest):
                    log.warning("another job's manifest has this job's place", key=key)
                    continue
                if found != manifest:
                    log.info("another attempt was first", key=key)
                    return winner.again(result.attempt)
            return placed
        raise Unavailable("Other jobs' results have the places of this job's.", type="place_taken")

    async def _write_products(self, job: Job, products: Sequence[Product]) -> list[Image]:
        """All that is delivered, in its order, and after it the posters of the videos among it."""
        described = [await _described(product) for product in products]
        written = await together(
            self._write_product(job, product, descriptions)
            for product, descriptions in zip(products, described, strict=True)
        )
        posters = [poster for _, poster in written if poster is not None]
        return [image for image, _ in written] + posters

    async def _write_product(
        self, job: Job, product: Product, descriptions: Sequence[Description]
    ) -> tuple[Image, Image | None]:
        """What is delivered, and its poster where it is a video that has one."""
        artifact, (description, *others) = product.artifact, descriptions
        poster = None
        if description.poster is not None:
            poster = await self._write_poster(job, product.number, description.poster)
        variants = [
            await self._write_variant(job, product.number, variant, seen)
            for variant, seen in zip(product.variants, others, strict=True)
        ]
        key = await self._place(
            partial(ResultKeys.of(job).artifact, product.number, own=artifact.extension),
            artifact,
            artifact.media_type,
            description.sha256,
        )
        video = description.video.model_dump(exclude={"width", "height"})
        image = Image(
            url=self._bucket.url(key),
            media_type=artifact.media_type,
            width=description.width,
            height=description.height,
            bytes=description.size,
            sha256=description.sha256,
            seed=artifact.seed,
            info=artifact.info,
            role=artifact.role,
            placeholder=product.placeholder,
            variants=variants,
            poster=poster.url if poster is not None else None,
            **video,
        )
        return image, poster

    async def _write_variant(
        self, job: Job, number: int, variant: Variant, seen: Description
    ) -> ImageVariant:
        asset, url = variant.asset, None
        if variant.is_kept:
            name_of = partial(ResultKeys.of(job).artifact, number, variant=variant.role)
            key = await self._place(name_of, asset, asset.media_type, seen.sha256)
            url = self._bucket.url(key)
        return ImageVariant(
            role=variant.role,
            url=url,
            media_type=asset.media_type,
            width=seen.width,
            height=seen.height,
            bytes=seen.size,
            sha256=seen.sha256,
        )

    async def _write_poster(self, job: Job, number: int, data: bytes) -> Image:
        seen = await describe(Asset(data, POSTER_MEDIA_TYPE), f"The poster of artifact {number}")
        name_of = partial(ResultKeys.of(job).poster, number)
        key = await self._place(name_of, data, POSTER_MEDIA_TYPE, seen.sha256)
        return Image(
            url=self._bucket.url(key),
            media_type=POSTER_MEDIA_TYPE,
            width=seen.width,
            height=seen.height,
            bytes=seen.size,
            sha256=seen.sha256,
            role="poster",
        )

    async def _place(
        self, name_of: Callable[..., str], data: bytes | Asset, media_type: str, sha256: str
    ) -> str:
        """Create an object under the name, or under another of its own; the key."""
        key = name_of(media_type=media_type)
        try:
            await self._create(key, data, media_type, sha256)
        except ObjectExists:
            # left by an attempt that has not (or not yet) committed: its name stays its own
            key = name_of(media_type=media_type, suffix=secrets.token_hex(4))
            with suppress(ObjectExists):  # nobody else knows the name: an answer was lost
                await self._create(key, data, media_type, sha256)
        return key

    async def _read(self, key: str) -> bytes:
        return await retry_for(self._patience, lambda: self._bucket.read(key))

    async def _create(
        self, key: str, data: bytes | Asset, media_type: str, sha256: str | None = None
    ) -> None:
        await self._write(key, data, media_type, create_only=True, sha256=sha256)

    async def _write(self, key: str, data: bytes | Asset, media_type: str, **options: Any) -> None:
        await retry_for(
            self._patience,
            lambda: self._bucket.write(key, data, media_type=media_type, **options),
        )


def _warnings(products: Sequence[Product]) -> list[str]:
    return [words for product in products for words in product.warnings]


def _kept(details: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """What the other side answered, without texts of any length."""
    return {name: shortened(value, _LONGEST_DETAIL) for name, value in details.items()}


def _status(error: QueueAgentError) -> Status:
    if isinstance(error, JobCancelled):
        return "cancelled"
    return "expired" if isinstance(error, JobExpired) else "failed"


async def _described(product: Product) -> list[Description]:
    """The artifact's description, and those of its variants."""
    name = f"Artifact {product.number}"
    others = [
        await describe(variant.asset, f"The {variant.role} of {name.lower()}")
        for variant in product.variants
    ]
    return [await describe(product.artifact, name), *others]
