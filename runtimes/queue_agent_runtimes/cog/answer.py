"""From a finished prediction to artifacts: the files in its output, wherever they stand."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from pydantic import JsonValue

from queue_agent.media.facts import kind_of
from queue_agent.runtime import Artifact, Asset, Output, Prepared, Spools
from queue_agent.runtime.http import OutputFetcher, SpooledText
from queue_agent.runtime.images import decode_images
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.media_types import UNKNOWN
from queue_agent.wire.video_and_mesh import VIDEO_TASKS
from queue_agent_runtimes.cog.failures import failure_of
from queue_agent_runtimes.cog.names import NAMES
from queue_agent_runtimes.cog.translation import IMAGE_TO_IMAGE, PIPELINE, TEXT_TO_IMAGE

LOG_LETTERS: Final = 2000
"""Of the logs' end, in the manifest."""
_URL: Final = re.compile(r"https?://\S+")
_BASE64: Final = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,")
_MOVING: Final = frozenset({"image/gif", "image/webp", "image/apng"})

Json = Mapping[str, JsonValue]


async def read_output(
    answer: Json, prepared: Prepared, fetcher: OutputFetcher, spools: Spools, *, gives_files: bool
) -> Output:
    """The artifacts of a prediction, and all else that it says as the response.

    In the response, ``{"artifact": 1}`` stands for the first of the files.

    Raises:
        QueueAgentError: it did not succeed; see `failures`.
        Unavailable: a file is broken or does not come, or none is of the kind that was asked for.
    """
    logs = answer.get("logs")
    tail = logs[-LOG_LETTERS:] if isinstance(logs, str) else ""
    if answer.get("status") != "succeeded":
        raise failure_of(answer, tail)
    files = _Files(fetcher, spools, gives_files=gives_files)
    told = await files.taken_out(answer.get("output"))
    artifacts = _with_seed(files.artifacts, prepared)
    _check_kind(prepared.job.task_type, artifacts)
    response: dict[str, JsonValue] = {
        "output": told,
        "metrics": answer.get("metrics"),
        "logs": tail,
    }
    return Output(artifacts, response, (*prepared.warnings, *_shortfall(prepared, artifacts)))


class _Files:
    """Takes the files out of an output, in the order in which they stand."""

    def __init__(self, fetcher: OutputFetcher, spools: Spools, *, gives_files: bool) -> None:
        self._fetcher, self._spools = fetcher, spools
        self._gives_files = gives_files
        self.artifacts: list[Artifact] = []

    async def taken_out(self, value: JsonValue) -> JsonValue:
        """The value with a mark in the place of each file."""
        if isinstance(value, list):
            return [await self.taken_out(entry) for entry in value]
        if isinstance(value, dict):
            return {name: await self.taken_out(entry) for name, entry in value.items()}
        if not isinstance(value, str) or (found := await self._file(value)) is None:
            return value
        self.artifacts.append(found)
        return {"artifact": len(self.artifacts)}

    async def _file(self, text: str) -> Artifact | None:
        """What a text stands for; None where it is only words."""
        declared = _BASE64.match(text)
        if declared or isinstance(text, SpooledText):
            (asset,) = await decode_images([text])
            return _artifact(asset, declared=declared[1] if declared else "")
        if self._gives_files and _URL.fullmatch(text):
            asset = await self._fetcher.fetch(text, self._spools.new())
            path = PurePosixPath(urlsplit(text).path)  # of an address that was understood
            return _artifact(asset, extension=path.suffix.removeprefix("."))
        return None


def _artifact(asset: Asset, *, declared: str = "", extension: str = "") -> Artifact:
    if not asset.size:
        raise _no_file("a file is empty")
    media_type = declared if asset.media_type == UNKNOWN and declared else asset.media_type
    return Artifact(asset.content, media_type, extension=extension)


def _with_seed(artifacts: list[Artifact], prepared: Prepared) -> tuple[Artifact, ...]:
    """The first with the seed that was sent: how a model goes on from there is its own matter."""
    given = prepared.request.get("input")
    seed = given.get("seed") if isinstance(given, dict) else None
    if not artifacts or not isinstance(seed, int):
        return tuple(artifacts)
    first, *others = artifacts
    seeded = Artifact(first.content, first.media_type, seed=seed, extension=first.extension)
    return (seeded, *others)


def _check_kind(task_type: str, artifacts: tuple[Artifact, ...]) -> None:
    """See to it that a portable job gets what it is called for."""
    kinds = {kind_of(artifact.media_type) for artifact in artifacts}
    moving = any(artifact.media_type in _MOVING for artifact in artifacts)
    if task_type == PIPELINE:
        return
    if task_type in {TEXT_TO_IMAGE, IMAGE_TO_IMAGE} and "image" not in kinds:
        raise _no_file("it holds no image")
    if task_type in VIDEO_TASKS and "video" not in kinds and not moving:
        raise _no_file("it holds no video")
    if not artifacts:
        raise _no_file("it holds no file")


def _shortfall(prepared: Prepared, artifacts: tuple[Artifact, ...]) -> list[str]:
    given = prepared.request.get("input")
    counts = [given.get(name) for name in NAMES["images"]] if isinstance(given, dict) else []
    asked = next((count for count in counts if isinstance(count, int)), 0)
    if prepared.job.task_type == PIPELINE or len(artifacts) >= asked:
        return []
    return [f"The model made {len(artifacts)} of {asked} images."]


def _no_file(reason: str) -> Unavailable:
    return Unavailable(f"The model's output makes no sense: {reason}.", type="invalid_answer")
