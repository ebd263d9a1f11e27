"""Prompts of cancelled runs, until the server is rid of them."""

import asyncio
from typing import Final

from queue_agent_runtimes.comfyui.api import ComfyUIApi

_LOOK: Final = 0.1
"""Seconds between looks for a prompt whose job is to be run again."""
_INTERRUPT_AGAIN: Final = 2.0
"""Seconds after which a prompt that runs on is interrupted once more."""


class AbandonedPrompts:
    """By the id that the prompt of a job is to have; older servers give it another."""

    def __init__(self, api: ComfyUIApi) -> None:
        self._api = api
        self._prompts: dict[str, tuple[str, float]] = {}
        """The server's own id, and when to interrupt it again."""

    def add(self, job_prompt_id: str, prompt_id: str) -> None:
        self._prompts[job_prompt_id] = (prompt_id, _now() + _INTERRUPT_AGAIN)

    async def gone(self, job_prompt_id: str) -> None:
        """Wait until the prompt is, if it was abandoned."""
        while await self.lingers(job_prompt_id):  # noqa: ASYNC110  a server tells nobody
            await asyncio.sleep(_LOOK)

    async def lingers(self, job_prompt_id: str) -> bool:
        """Whether it is there still; interrupted once more if it is, now and then.

        Not each time, since older servers interrupt whatever has begun meanwhile.
        """
        if job_prompt_id not in self._prompts:
            return False
        prompt_id, due = self._prompts[job_prompt_id]
        now = _now()
        if await self._api.whereabouts(prompt_id) == "running":
            if now < due:
                return True
            self._prompts[job_prompt_id] = (prompt_id, now + _INTERRUPT_AGAIN)
        if await self._api.stop(prompt_id):
            return True
        self._prompts.pop(job_prompt_id, None)
        return False


def _now() -> float:
    return asyncio.get_running_loop().time()
