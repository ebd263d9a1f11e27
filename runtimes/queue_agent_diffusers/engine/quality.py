"""What the operator allows of jobs that ask for less than exact pictures."""

from dataclasses import dataclass

from queue_agent.wire.quality import QUALITIES, Quality


@dataclass(frozen=True)
class QualityPolicy:
    """Which quality a job gets."""

    default: Quality = "exact"
    """Where the job names none."""
    lowest: Quality = "fast"

    def __post_init__(self) -> None:
        if QUALITIES.index(self.default) > QUALITIES.index(self.lowest):
            raise ValueError(f"{self.default} is a lower quality than {self.lowest}")

    def choose(self, asked: Quality | None) -> Quality:
        """What is asked for, or the lowest that is allowed."""
        wanted = asked or self.default
        return QUALITIES[min(QUALITIES.index(wanted), QUALITIES.index(self.lowest))]

    def warnings(self, asked: Quality | None) -> list[str]:
        """One sentence where the job does not get what it asks for."""
        chosen = self.choose(asked)
        if asked is None or chosen == asked:
            return []
        return [f"quality: {asked} is not allowed here; {chosen} was made."]


def unheeded(asked: Quality | None) -> list[str]:
    """What a model says that computes each step, whatever is asked for."""
    if asked in {None, "exact"}:
        return []
    return ["quality: this model computes each step; exact was made."]
