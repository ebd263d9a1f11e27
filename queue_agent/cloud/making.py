"""How `queue-agent setup` goes about one thing: makes it, or says how it differs."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from queue_agent.cloud.resources import SetupStep, Tell


@dataclass(frozen=True)
class Difference:
    """How something that is there is not as it is wanted."""

    detail: str
    change: Callable[[], Awaitable[object]] | None
    """Makes it as wanted; None: that cannot be done, and `detail` says why."""


@dataclass(frozen=True)
class Making:
    """Does what is to be done, or in a dry run only tells of it."""

    tell: Tell
    dry: bool
    change: bool
    """Whether what is there may be changed."""

    async def make(self, what: str, action: Callable[[], Awaitable[object]]) -> None:
        """Make what is missing."""
        if not self.dry:
            await action()
        self.tell(SetupStep(what, "made"))

    async def adjust(self, what: str, differences: Iterable[Difference]) -> None:
        """Change what is there, as far as that may be and can be."""
        for difference in differences:
            changed = self.change and difference.change is not None
            if changed and difference.change and not self.dry:
                await difference.change()
            self.tell(SetupStep(what, "changed" if changed else "differs", difference.detail))


def dead_letters_told(max_receives: object, place: object) -> str:
    """Where messages go that were received too often."""
    return f"dead letters after {max_receives}, in {place}"


NO_DEAD_LETTERS = "there are no dead letters"
