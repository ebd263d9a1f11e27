"""What jobs have a runtime load, and what it has loaded: values without any I/O."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, Self

from queue_agent.wire.model_files import plain_model_name

OWN: Final = ""
"""In place of a name: the model that the runtime takes where a job names none."""

Lack = Literal["nothing", "loras", "model"]
"""What has to be loaded before a job's run begins."""


@dataclass(frozen=True)
class ModelUse:
    """What a job has its runtime load; empty where that is not known."""

    models: frozenset[str] = frozenset()
    """Names of checkpoints and the like; a model has the same one however jobs call it."""
    loras: frozenset[str] = frozenset()

    @classmethod
    def named(cls, models: Iterable[str], loras: Iterable[str] = ()) -> Self:
        """By names as jobs and servers have them: with folders, extensions and hashes, or not."""
        plain = (frozenset(map(plain_model_name, names)) for names in (models, loras))
        return cls(*plain)

    @property
    def is_known(self) -> bool:
        """Whether anything is known of it."""
        return bool(self.models or self.loras)


@dataclass(frozen=True)
class Loaded:
    """What a runtime has loaded, as far as is known: by what it was used for last."""

    uses: tuple[ModelUse, ...] = ()
    """The last one first; none where nothing is known."""
    most: int = 1
    """So many jobs' models it keeps."""

    def lacks(self, use: ModelUse) -> Lack:
        """What is to be loaded for such a job; of what is not known, nothing."""
        if not self.uses:
            return "nothing"
        if not use.models <= self.models:
            return "model"
        return "nothing" if use.loras <= self.loras else "loras"

    def after(self, use: ModelUse) -> "Loaded":
        """What it has loaded once it has begun with such a job."""
        if not use.is_known:
            return self
        others = tuple(one for one in self.uses if one.models != use.models)
        return replace(self, uses=(use, *others)[: self.most])

    @property
    def models(self) -> frozenset[str]:
        """All names."""
        return frozenset().union(*(use.models for use in self.uses))

    @property
    def loras(self) -> frozenset[str]:
        """All names."""
        return frozenset().union(*(use.loras for use in self.uses))
