"""The step that signs, after all else that changes files."""

import asyncio
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from queue_agent.media.asset import Asset
from queue_agent.media.signatures import HEAD, sniff
from queue_agent.outputs import files
from queue_agent.outputs.cleaning.mark import C2PA_STORE
from queue_agent.outputs.convert import ConversionPolicy
from queue_agent.outputs.description import describe
from queue_agent.outputs.provenance.claim import Ingredient, OriginClaim, models_in, prompt_in
from queue_agent.outputs.provenance.credentials import SigningCredentials
from queue_agent.outputs.provenance.signing import (
    SIGNED_TYPES,
    NotSigned,
    Signature,
    sign_file,
)
from queue_agent.outputs.stage import Order, Product, Variant
from queue_agent.outputs.workers import WorkerLost, Workers
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.job import Job

log = structlog.get_logger()

_MOST_INGREDIENTS = 16
_PIECE = 2**20


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class SigningPolicy:
    """What the operator says of manifests."""

    runtime: str
    """The software that makes the files."""
    model: str | None = None
    """Where jobs name none."""
    prompt: bool = False
    """Whether the job's prompt stands in the manifest, for all to read."""
    stripped: bool = False
    """Whether files are signed of which their job wants nothing but the picture."""
    timestamps: str | None = None
    """URL of an authority (RFC 3161)."""

    def claim(self, job: Job, ingredients: Sequence[Ingredient], made: datetime) -> OriginClaim:
        """What is said of the job's files."""
        own = [self.model] if self.model else []
        return OriginClaim(
            runtime=self.runtime,
            made=made,
            models=models_in(job.content) or own,
            prompt=prompt_in(job.content) if self.prompt else None,
            ingredients=ingredients,
        )


@dataclass(frozen=True)
class Signing:
    """A step of the stage (`queue_agent.outputs.stage`), the last."""

    policy: SigningPolicy
    conversion: ConversionPolicy
    """What decides on metadata and originals."""
    credentials: Callable[[], SigningCredentials]
    """What to sign with now."""
    workers: Workers
    now: Callable[[], datetime] = _now

    async def __call__(self, product: Product, order: Order) -> Product:
        """The product with its file signed.

        Raises:
            Unavailable: it is not (type ``signing_failed``), or is damaged (``invalid_answer``);
                nothing is delivered without.
        """
        artifact, name = product.artifact, f"Artifact {product.number}"
        options = self.conversion.options(order)
        if options.metadata == "strip" and not self.policy.stripped:
            return product
        with artifact.open() as file:
            media_type = sniff(file.read(HEAD))
        if media_type not in SIGNED_TYPES:
            return _with_warning(product, f"{name} has no signed manifest: it is {media_type}.")
        try:
            signed = await self._signed(artifact, media_type, order)
        except (WorkerLost, NotSigned) as error:
            await describe(artifact, name)  # of one that is damaged, that is to be told
            log.warning("signing failed", artifact=name, reason=str(error))
            raise Unavailable(f"{name} {error}.", type="signing_failed") from error
        except OSError as error:
            words = f"{name} cannot be kept on disk: {error.strerror or error}"
            raise Unavailable(words, type="disk_full") from error
        if signed is None:
            return product
        order.files.callback(signed.close)
        variants = product.variants
        if options.keep_original and not any(one.role == "original" for one in variants):
            variants = (
                Variant("original", Asset(artifact.content, artifact.media_type)),
                *variants,
            )
        return replace(
            product, artifact=replace(artifact, content=signed.content), variants=variants
        )

    async def _signed(self, artifact: Asset, media_type: str, order: Order) -> Asset | None:
        """The file with its manifest; None: it has one that holds."""
        signature = Signature(self.credentials(), self.policy.timestamps)
        with tempfile.TemporaryDirectory(prefix="queue-agent-") as folder:
            source, target = Path(folder, "source"), Path(folder, "made")
            await asyncio.to_thread(files.write, artifact, source)
            inputs = order.inputs[:_MOST_INGREDIENTS]
            seen = await asyncio.to_thread(_ingredients, inputs, Path(folder))
            claim = self.policy.claim(order.job, [one for one, _ in seen], self.now())
            paths = [path for _, path in seen]
            is_signed = await self.workers.do(
                sign_file,
                source,
                target,
                media_type,
                claim,
                signature,
                paths,
                raises=(NotSigned, OSError),
            )
            if not is_signed:
                return None
            return await asyncio.to_thread(files.read, target, artifact.media_type)


def _with_warning(product: Product, words: str) -> Product:
    return replace(product, warnings=(*product.warnings, words))


def _ingredients(inputs: Sequence[Asset], folder: Path) -> list[tuple[Ingredient, Path | None]]:
    """What is said of inputs, and a copy of each that has a manifest of its own."""
    return [_ingredient(asset, folder / f"input-{number}") for number, asset in enumerate(inputs)]


def _ingredient(asset: Asset, copy: Path) -> tuple[Ingredient, Path | None]:
    digest, before, has_manifest = hashlib.sha256(), b"", False
    with asset.open() as file:
        media_type = sniff(head := file.read(HEAD))
        while head:
            digest.update(head)
            has_manifest = has_manifest or C2PA_STORE in before + head
            before, head = head[-len(C2PA_STORE) :], file.read(_PIECE)
    ingredient = Ingredient(media_type, digest.hexdigest())
    if not has_manifest or media_type not in SIGNED_TYPES:
        return ingredient, None
    files.write(asset, copy)
    return ingredient, copy
