"""The step that converts: format, size, metadata, thumbnail and placeholder, as wished."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog

from queue_agent.media.asset import IN_MEMORY, Asset
from queue_agent.media.facts import UnreadableImage
from queue_agent.media.signatures import HEAD, sniff
from queue_agent.outputs import files
from queue_agent.outputs.cleaning import Damaged
from queue_agent.outputs.conversion import (
    THUMBNAIL_MEDIA_TYPE,
    FileWish,
    Made,
    Unhandled,
    made,
    made_of_file,
)
from queue_agent.outputs.stage import Order, Product, Variant
from queue_agent.outputs.videos import ANIMATED_MEDIA_TYPE
from queue_agent.outputs.workers import WorkerLost, Workers, WorkerTooSlow
from queue_agent.runtime import Artifact
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.output import OutputOptions, VideoFormat

log = structlog.get_logger()

T = TypeVar("T")

_FAULTS: Final = (UnreadableImage, Damaged, Unhandled, OSError)
"""Of files and of the disk: what a process raises that is to be told."""
_IN_A_THREAD: Final = 16 * 2**20
"""Bytes of a file that is not decoded, up to which no process is worth its while."""


def asked_by(order: Order) -> OutputOptions:
    """What a job says of its files, in either place."""
    return (order.job.metadata.output or OutputOptions()).over(order.wanted)


@dataclass(frozen=True)
class ConversionPolicy:
    """What the operator says of it."""

    defaults: OutputOptions = field(default_factory=OutputOptions)
    """Where a job says nothing."""
    video_format: VideoFormat | None = None
    """What videos become, in that case."""
    mark: bool = True
    """Whether images are marked as made by a model from which nothing is taken."""
    hide_graphs: bool = False
    """Whether files are kept free of workflows where nobody says what stays in them."""

    def wish(self, options: OutputOptions) -> FileWish:
        """What is done with a file of a job that asks for so much."""
        asked = options.over(self.defaults)
        return FileWish(
            format=options.image_format or self.defaults.image_format,
            video_format=options.video_format or self.video_format,
            asked=options.format,
            quality=asked.quality,
            max_side=asked.max_side,
            lossless=bool(asked.lossless),
            metadata=asked.metadata or "keep",
            hide_graph=self.hide_graphs and asked.metadata is None,
            mark=self.mark,
            thumbnail=bool(asked.thumbnail),
            animated_thumbnail=bool(asked.animated_thumbnail),
        )

    def keeps_originals(self, options: OutputOptions) -> bool:
        """Whether the runtime's own files are stored, too."""
        return bool(options.over(self.defaults).keep_original)

    def options(self, order: Order) -> OutputOptions:
        """All that is said of an order's files, by whoever's word counts."""
        return asked_by(order).over(self.defaults)


@dataclass(frozen=True)
class Conversion:
    """A step of the stage (`queue_agent.outputs.stage`)."""

    policy: ConversionPolicy
    workers: Workers

    async def __call__(self, product: Product, order: Order) -> Product:
        """The product with the files that are wished.

        Raises:
            Rejected: metadata must go that nobody here can find (type ``output_unsupported``).
            Unavailable: the file is damaged (type ``invalid_answer``), or the disk is full.
        """
        options = asked_by(order)
        wish, artifact = self.policy.wish(options), product.artifact
        if not wish.does_anything:
            return product
        name = f"Artifact {product.number}"
        try:
            result, changed = await self._result(artifact, wish, name)
        except (UnreadableImage, Damaged) as error:
            raise Unavailable(f"{name} {error}.", type="invalid_answer") from error
        except Unhandled as error:
            raise Rejected(f"{name} {error}.", type="output_unsupported") from error
        except OSError as error:
            words = f"{name} cannot be kept on disk: {error.strerror or error}"
            raise Unavailable(words, type="disk_full") from error
        if changed is not None:
            order.files.callback(changed.close)
        keep = self.policy.keeps_originals(options)
        return _with(product, result, changed, keep=keep, name=name)

    async def _result(
        self, artifact: Artifact, wish: FileWish, name: str
    ) -> tuple[Made, Asset | None]:
        rest = wish.without_pixels()
        if not wish.may_decode(_shown_by(artifact)) and artifact.size <= _IN_A_THREAD:
            return await _off_the_loop(artifact.size, partial(_made_here, artifact, rest))
        try:
            return await self._in_process(artifact, wish)
        except WorkerLost as lost:
            log.warning("conversion failed", artifact=name, reason=str(lost))
            if artifact.size <= _IN_A_THREAD:
                result, changed = await asyncio.to_thread(_made_here, artifact, rest)
            elif wish == rest:  # more than the agent itself may hold
                return _untouched(artifact, rest, lost)
            else:
                result, changed = await self._large(artifact, rest, lost)
            words = f"is delivered as {result.media_type}: it {lost}"
            return replace(result, warning=words), changed

    async def _large(
        self, artifact: Artifact, rest: FileWish, lost: WorkerLost
    ) -> tuple[Made, Asset | None]:
        """What need not be decoded for it, of a file that was not converted."""
        try:
            return await self._in_process(artifact, rest)
        except WorkerLost:
            return _untouched(artifact, rest, lost)

    async def _in_process(self, artifact: Artifact, wish: FileWish) -> tuple[Made, Asset | None]:
        """By a process, and by another where that was lost."""
        with tempfile.TemporaryDirectory(prefix="queue-agent-") as folder:
            source, target = Path(folder, "source"), Path(folder, "made")
            await _off_the_loop(artifact.size, partial(files.write, artifact, source))
            try:
                result = await self._do(source, target, wish)
            except WorkerTooSlow:
                raise
            except WorkerLost:
                result = await self._do(source, target, wish)
            if not result.is_another:
                return result, None
            changed = await asyncio.to_thread(files.read, target, result.media_type)
            if _shown_by(changed) != result.media_type:
                changed.close()
                raise WorkerLost("became something else than its process says")
            return result, changed

    async def _do(self, source: Path, target: Path, wish: FileWish) -> Made:
        return await self.workers.do(made_of_file, source, target, wish, raises=_FAULTS)


def _shown_by(artifact: Asset) -> str:
    """The media type that its bytes show, whatever anybody said."""
    with artifact.open() as file:
        return sniff(file.read(HEAD))


def _untouched(artifact: Artifact, wish: FileWish, lost: WorkerLost) -> tuple[Made, Asset | None]:
    """The file as it is, where nothing has to be taken from it.

    Raises:
        Unavailable: something has; another attempt may.
    """
    if wish.metadata != "keep" or wish.hide_graph:
        raise Unavailable(f"A large artifact {lost}.", type="output_failed")
    media_type = artifact.media_type
    return Made(media_type, warning=f"is delivered as {media_type}: it {lost}"), None


async def _off_the_loop(size: int, work: Callable[[], T]) -> T:
    """In a thread, where it is much."""
    return work() if size <= IN_MEMORY else await asyncio.to_thread(work)


def _made_here(artifact: Artifact, wish: FileWish) -> tuple[Made, Asset | None]:
    result = made(artifact.data, wish)
    changed = None if result.data is None else _kept(result.data, result.media_type)
    return replace(result, data=None), changed


def _kept(data: bytes, media_type: str) -> Asset:
    if len(data) <= IN_MEMORY:
        return Asset(data, media_type)
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed with the asset
    file.write(data)
    file.flush()
    return Asset(file, media_type)


def _with(
    product: Product, result: Made, changed: Asset | None, *, keep: bool, name: str
) -> Product:
    artifact, variants = product.artifact, list(product.variants)
    if changed is not None:
        if keep or not result.is_only_marked:
            variants.append(Variant("original", Asset(artifact.content, artifact.media_type), keep))
        extension = artifact.extension if changed.media_type == artifact.media_type else ""
        artifact = replace(
            artifact, content=changed.content, media_type=changed.media_type, extension=extension
        )
    if result.thumbnail is not None:
        variants.append(Variant("thumbnail", Asset(result.thumbnail, THUMBNAIL_MEDIA_TYPE)))
    if result.animated_thumbnail is not None:
        shown = Asset(result.animated_thumbnail, ANIMATED_MEDIA_TYPE)
        variants.append(Variant("animated_thumbnail", shown))
    words = (f"{name} {result.warning}.",) if result.warning else ()
    return replace(
        product,
        artifact=artifact,
        variants=tuple(variants),
        placeholder=result.placeholder or product.placeholder,
        warnings=(*product.warnings, *words),
    )
