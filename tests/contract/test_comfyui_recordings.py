"""The fake ComfyUI, held against what a real one answered.

`tests/recordings` says where the recordings come from. What they ask of node classes and models
that the fake does not have is left out.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import fake_runtime
from fakes.comfyui.nodes import NODE_CLASSES
from queue_agent.testing import ServerProcess

RECORDINGS = Path(__file__).parents[1] / "recordings" / "comfyui-0.33.0"
UNKNOWN = "NoSuchNode"
MODEL = "tiny.safetensors"
"""The real server's checkpoint."""
Exchange = dict[str, Any]


def exchanges(name: str) -> list[Exchange]:
    found: list[Exchange] = json.loads((RECORDINGS / f"{name}.json").read_text())["exchanges"]
    return [
        exchange
        for exchange in found
        if classes_of(exchange) <= {*NODE_CLASSES, UNKNOWN} and MODEL not in json.dumps(exchange)
    ]


def classes_of(exchange: Exchange) -> set[str]:
    """The node classes that a recorded request names."""
    prompt = exchange["request"].get("json", {}).get("prompt")
    nodes = prompt.values() if isinstance(prompt, dict) else ()
    named = (node.get("class_type") for node in nodes if isinstance(node, dict))
    return {str(name) for name in named if name is not None}


def asked(server: ServerProcess, request: dict[str, Any]) -> httpx.Response:
    body = {"json": request["json"]} if "json" in request else {"content": request.get("body")}
    return httpx.request(
        request["method"],
        server.url + request["path"],
        params=request.get("query"),
        headers=request.get("headers"),
        **body,
    )


def errors_of(answer: Any) -> Any:
    """What the adapter reads of a refusal: types and places, and the words about them."""
    error = answer.get("error") or {}
    nodes = {
        node_id: [
            [one["type"], one["message"], str((one.get("extra_info") or {}).get("input_name"))]
            for one in report["errors"]
        ]
        for node_id, report in (answer.get("node_errors") or {}).items()
    }
    # the real server looks at inputs in no order
    return error.get("type"), error.get("message"), {node: sorted(nodes[node]) for node in nodes}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with fake_runtime("comfyui") as server:
        yield server


PROMPTS = exchanges("prompt")


@pytest.mark.parametrize("exchange", PROMPTS, ids=[one["what"] for one in PROMPTS])
def test_prompts_are_taken_and_refused_as_by_the_real_server(
    server: ServerProcess, exchange: Exchange
) -> None:
    recorded = exchange["response"]
    answer = asked(server, exchange["request"])
    assert answer.status_code == recorded["status"]
    if "json" in recorded:
        assert answer.json().keys() == recorded["json"].keys()
        assert errors_of(answer.json()) == errors_of(recorded["json"])
    else:
        assert answer.text == recorded["text"]


def test_the_recordings_are_asked() -> None:
    assert len(PROMPTS) > 40
