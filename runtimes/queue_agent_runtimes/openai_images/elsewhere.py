"""Images that an answer names instead of carrying them, though base64 was asked for.

Some servers of the dialect answer so whatever is asked: by a URL, of their own or of a store, or
by a path on a disk that the agent may share.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import JsonValue

from queue_agent.runtime import Asset, Spool, Spools
from queue_agent.runtime.http import OutputFetcher, RuntimeClient, SpooledText
from queue_agent.runtime.shared_folder import SharedFolder

_PATHS: Final = ("file_path", "path", "file")
"""What servers call the field that holds a path."""
_PIECE: Final = 2**20


@dataclass(frozen=True)
class Elsewhere:
    """Where the images of one server may lie."""

    client: RuntimeClient
    outputs: OutputFetcher
    files: Path | None
    """The folder that the server and the agent share."""

    async def brought(
        self, answer: Mapping[str, JsonValue], spools: Spools
    ) -> dict[str, JsonValue]:
        """The answer with the images in it that it only names.

        Raises:
            Unavailable: one of them does not come, as of `OutputFetcher.fetch`.
        """
        data = answer.get("data")
        if not isinstance(data, list):
            return dict(answer)
        return {**answer, "data": [await self._entry(entry, spools) for entry in data]}

    async def _entry(self, entry: JsonValue, spools: Spools) -> JsonValue:
        if not isinstance(entry, dict) or not _lacks_its_image(entry):
            return entry
        asset = await self._from_disk(entry, spools)
        url = entry.get("url")
        if asset is None and isinstance(url, str) and url:
            asset = await self.outputs.fetch(self.outputs.whole(url), spools.new())
        if asset is None:
            return entry
        text = SpooledText()
        text.asset = asset
        return {**entry, "b64_json": text}

    async def _from_disk(self, entry: Mapping[str, JsonValue], spools: Spools) -> Asset | None:
        if self.files is None:
            return None
        folder = SharedFolder(self.files)
        named = [entry[name] for name in _PATHS if isinstance(entry.get(name), str)]
        for path in (within for name in named for within in _within(str(name))):
            with suppress(OSError, ValueError):
                return await _read(await asyncio.to_thread(folder.open, path), spools.new())
        return None


async def _read(file: BinaryIO, spool: Spool) -> Asset:
    with file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            await spool.write(piece)
    return await spool.asset()


def _lacks_its_image(entry: Mapping[str, JsonValue]) -> bool:
    image = entry.get("b64_json")
    return not image and not isinstance(image, SpooledText)


def _within(path: str) -> Iterator[str]:
    """The path as it may be below the shared folder, which the server has at another place."""
    steps = [step for step in path.split("/") if step]
    for number in range(len(steps)):
        yield "/".join(steps[number:])
