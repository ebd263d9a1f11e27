"""The stage between run and store: steps from what a runtime made to what is delivered.

Each step is given one product and returns it changed, or another. What a step makes is there until
the order's files are closed.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal, Protocol

from queue_agent.media.asset import Asset
from queue_agent.runtime import Artifact
from queue_agent.tasks import together
from queue_agent.wire.job import Job
from queue_agent.wire.output import OutputOptions

VariantRole = Literal["original", "thumbnail", "animated_thumbnail"]


@dataclass(frozen=True)
class Variant:
    """Another file of the same picture."""

    role: VariantRole
    asset: Asset
    is_kept: bool = True
    """Whether it is stored; of the others the size and the hash are told."""


@dataclass(frozen=True)
class Product:
    """One artifact on its way to the bucket, and what else there is of it."""

    number: int
    """Of the artifact, counted from 1."""
    artifact: Artifact
    """What is delivered."""
    variants: tuple[Variant, ...] = ()
    placeholder: str | None = None
    """What it looks like from afar (https://blurha.sh)."""
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Of all its files, in bytes."""
        return self.artifact.size + sum(variant.asset.size for variant in self.variants)


@dataclass(frozen=True)
class Order:
    """What a job's products are made for."""

    job: Job
    wanted: OutputOptions | None = None
    """How the job's own body asks for its files, in its runtime's words; `metadata.output` wins."""
    files: ExitStack = field(default_factory=ExitStack)
    inputs: Sequence[Asset] = ()
    """The references' assets, where the stage wants them."""


class OutputStep(Protocol):
    """Something that is done with each product. Uses no GPU."""

    async def __call__(self, product: Product, order: Order) -> Product:
        """The product after it.

        Raises:
            Rejected: it may not be delivered, and no other attempt would change that.
            Unavailable: it is broken, or what the step needs is.
        """


@dataclass(frozen=True)
class OutputStage:
    """Its steps, in order."""

    steps: Sequence[OutputStep] = ()
    wants_inputs: bool = False
    """Whether a job's assets are kept until its products are made."""

    async def products(self, order: Order, artifacts: Sequence[Artifact]) -> list[Product]:
        """What is delivered of the artifacts; raises as the steps do."""
        return await together(
            self._product(Product(number, artifact), order)
            for number, artifact in enumerate(artifacts, start=1)
        )

    async def _product(self, product: Product, order: Order) -> Product:
        for step in self.steps:
            product = await step(product, order)
        return product
