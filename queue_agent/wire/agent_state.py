"""What one agent says of itself in the bucket: which models its runtime has loaded."""

from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

__all__ = ["FRESH", "LARGEST_STATE", "TOLD_EVERY", "AgentState"]

TOLD_EVERY: Final = 120.0
"""Seconds after which an agent tells it again, though nothing has changed."""
FRESH: Final = 3 * TOLD_EVERY
"""Seconds for which it counts."""
LARGEST_STATE: Final = 2**16
"""Bytes of it that are read."""


class AgentState(BaseModel):
    """One agent that is at work, with a runtime that has models to load."""

    model_config = ConfigDict(frozen=True)

    runtime: str
    agent: str = Field(description="Another one for each process.")
    at: AwareDatetime
    models: tuple[str, ...] = Field(
        default=(), description="Loaded ones, without folders, extensions and hashes."
    )
    loras: tuple[str, ...] = ()
    switch_seconds: float | None = Field(
        default=None, description="What loading another model takes; not there until it is known."
    )
