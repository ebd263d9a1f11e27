"""Which slots stand at which stage."""

from queue_agent.worker.slot import Slot, Stage


class Standing:
    """The slots of one agent by their stages, so that nobody looks through all of them."""

    def __init__(self) -> None:
        self._slots: dict[Stage, dict[Slot, None]] = {stage: {} for stage in Stage}
        """In the order in which they came there."""

    def add(self, slot: Slot) -> None:
        """One more, where it says that it stands."""
        self._slots[slot.stage][slot] = None

    def remove(self, slot: Slot) -> None:
        """One that was added is no more."""
        del self._slots[slot.stage][slot]

    def move(self, slot: Slot, stage: Stage) -> None:
        """It goes from where it says that it stands to another stage, unless it is no more."""
        here = self._slots[slot.stage]
        if slot in here:
            del here[slot]
            self._slots[stage][slot] = None

    def count(self, *stages: Stage) -> int:
        """How many stand at these stages."""
        return sum(len(self._slots[stage]) for stage in stages)

    def at(self, *stages: Stage) -> list[Slot]:
        """Those that stand at these stages, by the order in which they became ready.

        Of those that did so at the same moment, first those of the stage that is named first.
        """
        found = [slot for stage in stages for slot in self._slots[stage]]
        if len(found) > 1:
            found.sort(key=lambda slot: slot.entered(Stage.WAITING))
        return found
