"""Input files of one job, uploaded to the server."""

from typing import Final

from queue_agent.runtime import Asset
from queue_agent.wire.media_types import extension
from queue_agent_runtimes.comfyui.api import ComfyUIApi

_ROOT: Final = "queue-agent"


class Uploads:
    """Uploads under names that belong to the job alone."""

    def __init__(self, api: ComfyUIApi, job_tag: str) -> None:
        self._api = api
        self._subfolder = f"{_ROOT}/{job_tag}"
        self._count = 0

    async def put(self, asset: Asset, *, folder: str = "input") -> str:
        """Upload one file; the name by which a loading node of that folder finds it.

        Raises:
            Rejected: the server does not take the file.
        """
        self._count += 1
        return await self._api.upload(
            asset,
            filename=f"{self._count}.{extension(asset.media_type)}",
            subfolder=self._subfolder,
            folder=folder,
        )
