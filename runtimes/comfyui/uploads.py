"""Input files of one job, uploaded to the server."""

from typing import Final

import filetype

from runtimes.comfyui.api import ComfyUIApi

_ROOT: Final = "queue-agent"


class Uploads:
    """Uploads under names that belong to the job alone."""

    def __init__(self, api: ComfyUIApi, job_tag: str) -> None:
        self._api = api
        self._subfolder = f"{_ROOT}/{job_tag}"
        self._count = 0

    async def put(self, data: bytes, *, folder: str = "input") -> str:
        """Upload one file; the name by which a loading node of that folder finds it.

        Raises:
            Rejected: the server does not take the file.
        """
        self._count += 1
        extension = filetype.guess_extension(data) or "bin"
        return await self._api.upload(
            data=data,
            filename=f"{self._count}.{extension}",
            subfolder=self._subfolder,
            folder=folder,
        )
