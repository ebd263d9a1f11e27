"""The end of a server that still works: it takes no more jobs, and answers until none is left."""

from types import FrameType

import uvicorn

from queue_agent_diffusers.engine.engine import Engine


class DrainingServer(uvicorn.Server):
    """Told to end, can be reached until no job is left: clients may fetch what was done of theirs.

    Told so twice, it only lets open connections end.
    """

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine
        self._told = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take note of a signal."""
        self._told += 1
        self._engine.drain()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now."""
        ends = await super().on_tick(counter)
        waits = self._told == 1 and self._engine.failure is None
        return ends and not (waits and self._engine.active_jobs())
