"""What a real Web UI answered; see tests/recordings."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from pydantic import JsonValue

from queue_agent.runtime import Capabilities
from queue_agent.runtime.http import Response, RuntimeClient
from queue_agent_runtimes.webui.offered import capabilities_of

_FOLDER: Final = Path(__file__).parent / "recordings" / "webui-1.10.1"
_FREE: Final = frozenset({"metadata", "options", "extra_generation_params"})
"""Fields whose own fields may be any."""


@cache
def recorded(topic: str) -> dict[str, JsonValue]:
    """The last answer to each GET route under `/sdapi/v1/` of one recording; not to be changed."""
    recording = json.loads((_FOLDER / f"{topic}.json").read_text())
    return {
        exchange["request"]["path"].removeprefix("/sdapi/v1/"): exchange["response"]["json"]
        for exchange in recording["exchanges"]
        if exchange["request"]["method"] == "GET" and "json" in exchange["response"]
    }


@cache
def exchanges(topic: str) -> list[dict[str, Any]]:
    """All requests of a recording with their answers; not to be changed."""
    recording = json.loads((_FOLDER / f"{topic}.json").read_text())
    found: list[dict[str, Any]] = recording["exchanges"]
    return found


def exchange(topic: str, what: str) -> dict[str, Any]:
    """One request with its answer, by what the recording calls it."""
    return next(entry for entry in exchanges(topic) if entry["what"] == what)


def same_shape(value: Any, real: Any) -> bool:
    """Whether a value has the fields and types of the real server's; null may stand for any."""
    if value is None or real is None:
        return True
    if isinstance(real, dict):
        return isinstance(value, dict) and all(
            name in value and (name in _FREE or same_shape(value[name], part))
            for name, part in real.items()
        )
    if isinstance(real, list):
        return isinstance(value, list) and all(
            not real or any(same_shape(part, one) for one in real) for part in value
        )
    if isinstance(real, bool) or isinstance(value, bool):
        return isinstance(real, bool) and isinstance(value, bool)
    numbers = isinstance(real, int | float) and isinstance(value, int | float)
    return numbers or isinstance(value, type(real))


class Answering:
    """A Web UI that answers as it was recorded, and 404 otherwise."""

    def __init__(self, answers: Mapping[str, JsonValue]) -> None:
        self.answers = answers

    async def send(self, method: str, path: str, **_: Any) -> Response:
        assert method == "GET", "nothing is changed by asking"
        name = path.removeprefix("/sdapi/v1/")
        if name not in self.answers:
            return Response(404, b'{"detail": "Not Found"}', {})
        return Response(200, json.dumps(self.answers[name]).encode(), {})


def recorded_webui(answers: Mapping[str, JsonValue]) -> RuntimeClient:
    return cast("RuntimeClient", Answering(answers))


async def recorded_capabilities() -> Capabilities:
    """What the adapter says of that server."""
    answers = {**recorded("lists"), **recorded("lists_filled"), **recorded("script_info")}
    return await capabilities_of(recorded_webui({**answers, **recorded("options")}))
