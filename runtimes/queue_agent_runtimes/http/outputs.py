"""From an answer to a run's files."""

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import Artifact, Asset, Spools
from queue_agent.runtime.http import ANSWER_LIMIT, DOWNLOAD, OutputFetcher, StreamedResponse
from queue_agent.runtime.images import decode_images
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.media_types import UNKNOWN
from queue_agent_runtimes.http.bodies import request_of
from queue_agent_runtimes.http.declaration import Outputs
from queue_agent_runtimes.http.exchange import HttpExchange
from queue_agent_runtimes.http.json_paths import found_at
from queue_agent_runtimes.http.template import Rendered

__all__ = ["OutputReader"]

_MOST: Final = 1000
"""Files of a run."""
_LONGEST: Final = 4000


class OutputReader:
    """Finds, fetches and names the files of one kind of job."""

    def __init__(self, outputs: Outputs, exchange: HttpExchange, fetcher: OutputFetcher) -> None:
        self.outputs = outputs
        self._exchange = exchange
        self._fetcher = fetcher

    async def of_body(
        self, answer: StreamedResponse, spools: Spools, *, seed: int | None
    ) -> tuple[Artifact, ...]:
        """The answer itself."""
        return self._artifacts([await answer.into(spools.new())], [], seed)

    async def of_answer(
        self,
        value: JsonValue,
        values: Mapping[str, Rendered],
        spools: Spools,
        *,
        seed: int | None,
    ) -> tuple[Artifact, ...]:
        """The files that an answer holds or names.

        Raises:
            Unavailable: there are none, or they cannot be had (type ``invalid_answer``).
        """
        path = self.outputs.path or "$"
        found = list(_flat(found_at(path, value)))
        self._exchange.tell("outputs", f"{path}: {len(found)} found")
        if not found:
            raise _odd(f"The runtime's answer has no outputs at {path}.")
        if len(found) > _MOST:
            raise _odd(f"The runtime's answer has {len(found)} outputs.")
        if self.outputs.source == "base64":
            files = await decode_images(found)
        else:
            files = [await self._fetched(text, values, spools) for text in found]
        seeds = found_at(self.outputs.seed, value) if self.outputs.seed else []
        return self._artifacts(files, list(_flat(seeds)), seed)

    def _artifacts(
        self, files: Sequence[Asset], seeds: Sequence[JsonValue], asked: int | None
    ) -> tuple[Artifact, ...]:
        artifacts = []
        for number, file in enumerate(files):
            if file.media_type == UNKNOWN:
                raise _odd(f"Output {number + 1} of the answer is of no known kind.")
            seed = asked if len(files) == 1 else None
            if len(seeds) == len(files):
                seed = _seed(seeds[number], seed)
            artifacts.append(Artifact(file.content, file.media_type, seed=seed))
        return tuple(artifacts)

    async def _fetched(
        self, text: JsonValue, values: Mapping[str, Rendered], spools: Spools
    ) -> Asset:
        """The file at an address, or of a name; what an answer says is no template."""
        if not isinstance(text, str) or not text.isprintable() or not 0 < len(text) <= _LONGEST:
            raise _odd("An output of the runtime's answer is no address.")
        if self.outputs.request is None:
            base = str(self._exchange.client.url("/")).rstrip("/")
            url = f"{base}{text}" if text.startswith("/") else text
            self._exchange.tell("file", url.partition("?")[0])
            return await self._fetcher.fetch(url, spools.new())
        request = request_of(self.outputs.request, {**values, "value": text})
        try:
            async with self._exchange.answered(
                request, step="file", timeout=DOWNLOAD, limit=ANSWER_LIMIT
            ) as answer:
                return await answer.into(spools.new())
        except Rejected as error:  # the job was fine: its file is not there
            raise Unavailable(error.message, type=error.type, details=error.details) from error


def _flat(values: Sequence[JsonValue]) -> Sequence[JsonValue]:
    """The values, lists among them opened."""
    flat: list[JsonValue] = []
    for value in values:
        flat += value if isinstance(value, list) else [value]
    return flat


def _seed(value: JsonValue, other: int | None) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 25:
        return int(value)
    return other


def _odd(words: str) -> Unavailable:
    return Unavailable(words, type="invalid_answer")
