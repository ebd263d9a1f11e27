"""The fake ComfyUI, held against what a real one answered.

`tests/recordings` says where the recordings come from. Every exchange is asked of the fake, in the
recorded order, except those that are named here with the reason why nobody asks.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from comfyui_facts import by_node, class_facts, facts_of, heard, without_steps
from comfyui_recording import Exchange, recorded, recorded_object_info, topics
from fakes import fake_runtime
from fakes.comfyui.files import Files
from fakes.comfyui.nodes import NODE_CLASSES
from fakes.comfyui.recorder_nodes import RECORDER_NODE_CLASSES
from harness import PATIENCE
from queue_agent.testing import ServerProcess, sample_png

WALKS: Final = (
    ("prompt", "websocket", "errors", "history"),
    ("queue", "view", "jobs"),
    ("upload",),
    ("server", "multi_user"),
    ("websocket_connections",),
    ("process_ends",),
    ("worker_dead",),
    ("startup",),
)
"""Topics that follow each other on one server."""
_OLDER: Final = "servers that are older have no such route, and queue and history tell the same"
_EDITOR: Final = "asked by the page of the editor only"
_MODELS: Final = "which models there are is asked by the inputs that take them, in /object_info"
ROUTES_NOT_ASKED: Final = {
    r"/api/jobs.*": _OLDER,
    r"/jobs": _OLDER,
    r"/history_v2/.*": _OLDER,
    r"/(features|extensions|users|settings|userdata)?": _EDITOR,
    r"/(workflow_templates|node_replacements)": _EDITOR,
    r"/internal/.*": "for people who look into the server",
    r"/(experiment/.*|embeddings|view_metadata/.*)": _MODELS,
    r"/models/custom_nodes": "what lies there is run, and is no model",
    r"/(api/)?nope": "a route that nobody has",
}
_WHOLE_FILES: Final = "files are fetched as they are, and whole"
_NO_PAGES: Final = "the history is asked for one prompt at a time"
_NO_FLAGS: Final = "previews come without it, too, so the agent sends no first message"
_OWN_MODELS: Final = "the fake has models of its own"
_NO_BROWSER: Final = "only browsers send an Origin, or ask before they send"
EXCHANGES_NOT_ASKED: Final = {
    "preview as webp": _WHOLE_FILES,
    "preview as jpeg": _WHOLE_FILES,
    "channel=rgb": _WHOLE_FILES,
    "channel=a": _WHOLE_FILES,
    "range request": _WHOLE_FILES,
    "HEAD": _WHOLE_FILES,
    "newest entry only (max_items=1)": _NO_PAGES,
    "max_items=1 with offset=1": _NO_PAGES,
    "max_items is no number": _NO_PAGES,
    "GET on the upload route": "nobody gets from there",
    "wrong method": "nobody posts there",
    "OPTIONS": _NO_BROWSER,
    "foreign Origin header with loopback Host: refused": _NO_BROWSER,
    "CORS (server started with --enable-cors-header '*'): preflight": _NO_BROWSER,
    "CORS: simple": _NO_BROWSER,
    "no checkpoints here: a checkpoint is refused with an empty list": _OWN_MODELS,
    "no checkpoints here: models/checkpoints": _OWN_MODELS,
    "models of the folder checkpoints": _OWN_MODELS,
    "models of the folder loras": _OWN_MODELS,
    "models of the folder upscale_models": _OWN_MODELS,
    "feature_flags as first message: the server answers its own": _NO_FLAGS,
    "with supports_preview_metadata: previews come as binary event 4": _NO_FLAGS,
    "first message is no JSON": _NO_FLAGS,
    "all classes": "held against the fake's class by class",
}
PAUSED_BEFORE: Final = {
    "first prompt (recorder's node, 6 s)": True,
    "a job after that interrupt is not hit by it": False,
    "a node that cannot be interrupted (recorder's node sleeps 4 s)": True,
    "its history: interrupted after the node ended": False,
    "a prompt of 4 s": True,
    "a prompt (8 s)": True,
    "a job that fails (recorder's node)": False,
}
"""Where the recorded prompts take so long that they are under way still when the next is asked."""
MODEL: Final = "tiny.safetensors"
"""The real server's only checkpoint."""


def reason_not_to_ask(exchange: Exchange) -> str | None:
    if exchange["what"] in EXCHANGES_NOT_ASKED:
        return EXCHANGES_NOT_ASKED[exchange["what"]]
    path = exchange["request"].get("path", "")
    return next((why for route, why in ROUTES_NOT_ASKED.items() if re.fullmatch(route, path)), None)


class Walk:
    """One server, and what was asked of it so far."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.differences: list[str] = []
        self._names: dict[str, str] = {}
        """Of files, by their recorded names."""

    def step(self, exchange: Exchange) -> None:
        what = exchange["what"]
        if what in PAUSED_BEFORE:
            httpx.post(
                f"{self.server.url}/fake/faults",
                json={"paused": PAUSED_BEFORE[what]},
                timeout=PATIENCE,
            )
        if what.startswith("after a restart"):
            self.server.kill()
        if not self.server.lives and "connection" not in exchange.get("response", {}):
            self.server.start()
        for expected, found in self._asked(exchange):
            if expected != found:
                self.differences.append(f"{what}:\n  real {expected}\n  fake {found}")

    def _asked(self, exchange: Exchange) -> Iterator[tuple[Any, Any]]:
        """Pairs of what the real server told and what the fake does."""
        request, response = exchange["request"], exchange.get("response", {})
        if "sequence" in exchange:
            yield from self._start(exchange["sequence"])
        elif "frames_after" in exchange:
            yield from self._reconnect()
        elif "websocket" in request:
            yield from self._listened(exchange)
        elif "connection" in response:
            self.server.wait(PATIENCE)
            with pytest.raises(httpx.ConnectError):
                self._answer(request)
        else:
            yield from self._compared(request, response)

    def _compared(self, request: Any, recorded: Any) -> Iterator[tuple[Any, Any]]:
        """What can change by itself is asked again until it is as it was recorded."""
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._answer(request)
            pairs = list(self._pairs(request, recorded, answer))
            same = all(expected == found for expected, found in pairs)
            if same or request["method"] != "GET" or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        if request["path"].startswith("/history/") and "json" in recorded:
            self._learn_names(recorded["json"], answer.json())
        yield from pairs

    def _pairs(
        self, request: Any, recorded: Any, answer: httpx.Response
    ) -> Iterator[tuple[Any, Any]]:
        yield recorded["status"], answer.status_code
        if answer.status_code != recorded["status"]:
            return
        if "json" in recorded:
            path = request["path"]
            yield facts_of(path, recorded["json"]), facts_of(path, answer.json())
        elif "bytes_sha256" in recorded:
            yield recorded["headers"]["content-type"], answer.headers["content-type"]
            yield True, bool(answer.content)
        elif "text" in recorded:
            yield recorded["text"], answer.text

    def _answer(self, request: Any) -> httpx.Response:
        body: dict[str, Any] = {"content": request.get("body")}
        if "json" in request:
            text = json.dumps(request["json"]).replace(MODEL, "v1-5-pruned-emaonly.safetensors")
            body = {"json": json.loads(text)}
        elif "form" in request:
            body = {"files": [(name, _part(value)) for name, value in request["form"].items()]}
        query = {name: self._names.get(v, v) for name, v in (request.get("query") or {}).items()}
        return httpx.request(
            request["method"],
            self.server.url + request["path"],
            params=query,
            headers=request.get("headers"),
            timeout=PATIENCE,
            **body,
        )

    def _learn_names(self, recorded: Any, answered: Any) -> None:
        for prompt_id, entry in recorded.items():
            ours = answered.get(prompt_id, {}).get("outputs", {})
            for node, ui in entry["outputs"].items():
                for key, records in ui.items():
                    for record, own in zip(records, ours.get(node, {}).get(key, ()), strict=False):
                        if isinstance(record, dict) and isinstance(own, dict):
                            self._names[record["filename"]] = own["filename"]

    def _listened(self, exchange: Exchange) -> Iterator[tuple[Any, Any]]:
        """A socket is opened, a prompt posted, and what the socket tells is compared."""
        request = exchange["request"]
        prompt = request.get("then_post_prompt", request.get("json"))
        with self._socket(request["websocket"]) as socket:
            first = _received(socket)
            yield sorted(exchange["frames"][0]["text"]["data"]), sorted(first["text"]["data"])
            if sid := request["websocket"]["query"].get("clientId"):
                yield sid, first["text"]["data"]["sid"]
            if prompt is None:
                return
            posted = {"method": "POST", "path": "/prompt", "json": prompt}
            yield from self._compared(posted, exchange.get("response", {"status": 200}))
            told = [first, *self._told(socket, exchange)]
        expected, found = heard(exchange["frames"]), heard(told)
        if "meanwhile" in exchange:
            expected, found = without_steps(expected), without_steps(found)
        expected, found = by_node(expected), by_node(found)
        if exchange.get("ended", True) and "socket_closed_3_s_later" not in exchange:
            yield expected, found
        else:  # independent nodes come in any order, so the end may come after more of them
            yield [], [group for group in expected if group not in found]

    def _told(self, socket: ClientConnection, exchange: Exchange) -> Iterator[Any]:
        """All frames up to the end of the prompt, or of the connection, or to the last recorded."""
        meanwhile = list(exchange.get("meanwhile", ()))
        last = exchange["frames"][-1].get("text")
        missing = heard(exchange["frames"])
        with suppress(ConnectionClosed):
            while missing or "then_post_prompt" in exchange["request"]:
                frame = _received(socket)
                yield frame
                missing = [one for one in missing if one not in heard([frame])]
                event = frame.get("text", {"type": "", "data": {}})
                if event["type"] == "progress" and meanwhile:
                    asked = meanwhile.pop()
                    assert self._answer(asked["request"]).status_code == asked["response"]["status"]
                if event == last or event["data"].get("node", "") is None:
                    return

    def _start(self, sequence: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """It is refused until it is answered, with nothing in between."""
        asked = {"method": "GET", "path": "/system_stats"}
        self.server.kill()
        found: list[Any] = []
        self.server.spawn()
        while found[-1:] != [200]:
            try:
                answer: Any = self._answer(asked).status_code
            except httpx.ConnectError:
                answer = "ClientConnectorError"
            if found[-1:] != [answer]:
                found.append(answer)
        yield [one["answer"] for one in sequence], found

    def _reconnect(self) -> Iterator[tuple[Any, Any]]:
        (exchange,) = [one for one in recorded("websocket_connections") if "frames_after" in one]
        websocket = exchange["request"]["websocket"]
        steps = {"steps": 30, "seconds": 0.1, "seed": 1, "size": 64, "batch": 1}
        prompt = {
            "1": {"class_type": "QASteps", "inputs": steps},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }
        posted = {"prompt": prompt, "client_id": websocket["query"]["clientId"]}
        with self._socket(websocket) as socket:
            httpx.post(f"{self.server.url}/prompt", json=posted, timeout=PATIENCE)
            while _received(socket).get("text", {}).get("type") != "progress":
                pass
            httpx.post(f"{self.server.url}/fake/faults", json={"paused": True}, timeout=PATIENCE)
        with self._socket(websocket) as socket:
            frames = [_received(socket), _received(socket)]
        httpx.post(f"{self.server.url}/fake/faults", json={}, timeout=PATIENCE)
        yield heard(exchange["frames_after"])[0], heard(frames)[0]

    def _socket(self, websocket: Any) -> ClientConnection:
        url = f"ws{self.server.url.removeprefix('http')}{websocket['path']}"
        return connect(
            f"{url}?{urlencode(websocket['query'])}",
            compression=None,
            proxy=None,
            max_size=None,
            open_timeout=PATIENCE,
        )


def _part(value: Any) -> Any:
    """Of a form: a file of so many bytes, or a text."""
    if isinstance(value, str):
        return None, value
    data = sample_png(8, 8).ljust(value["bytes"], b"\0")[: value["bytes"]]
    return value["file"], data, value["content_type"]


def _received(socket: ClientConnection) -> dict[str, Any]:
    """A frame as recordings have it."""
    frame = socket.recv(timeout=PATIENCE)
    if isinstance(frame, str):
        return {"text": json.loads(frame)}
    event, form = int.from_bytes(frame[:4]), int.from_bytes(frame[4:8])
    return {"binary": {"event": event, "format": form}}


@pytest.mark.parametrize("walk", WALKS, ids=["+".join(walk) for walk in WALKS])
def test_the_fake_answers_as_the_real_server(walk: Sequence[str]) -> None:
    with fake_runtime("comfyui") as server:
        walked = Walk(server)
        for topic in walk:
            for exchange in recorded(topic):
                if reason_not_to_ask(exchange) is None:
                    walked.step(exchange)
        assert not walked.differences, "\n".join(walked.differences)


def test_each_recording_is_walked() -> None:
    assert sorted(topic for walk in WALKS for topic in walk) == sorted(
        {*topics()} - {"object_info"}
    )


def test_what_is_not_asked_was_recorded() -> None:
    every = [exchange for topic in topics() for exchange in recorded(topic)]
    assert EXCHANGES_NOT_ASKED.keys() <= {exchange["what"] for exchange in every}
    paths = {exchange["request"].get("path", "") for exchange in every}
    for route in ROUTES_NOT_ASKED:
        assert any(re.fullmatch(route, path) for path in paths), route


ONE_KIND_OF_MODEL: Final = frozenset(
    {"Load3D", "Save3DAdvanced", "SaveGLB", "Preview3D", "Preview3DAdvanced"}
)
"""Classes of the fake that tell no kind of 3D model from another."""


@pytest.mark.parametrize(
    "name", sorted(NODE_CLASSES.keys() & recorded_object_info().keys() - RECORDER_NODE_CLASSES)
)
def test_classes_of_the_fake_are_those_of_the_real_server(name: str) -> None:
    """It may know fewer of a class's inputs, none that it does not have."""
    real = recorded_object_info()[name]
    assert isinstance(real, dict)
    inputs, outputs, is_output = class_facts(NODE_CLASSES[name].info(name, Files()))
    real_inputs, real_outputs, really_output = class_facts(real)
    assert is_output == really_output
    if name in ONE_KIND_OF_MODEL:
        assert inputs.keys() <= real_inputs.keys()
    else:
        assert outputs == real_outputs
        assert inputs == {name: real_inputs.get(name) for name in inputs}
