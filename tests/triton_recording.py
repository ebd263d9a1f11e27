"""What a real Triton was asked, and how answers are written down and compared."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx

RECORDING: Final = Path(__file__).parent / "recordings" / "triton-2.51.0" / "exchanges.json"
HEADER: Final = "inference-header-content-length"
Exchange = dict[str, Any]
BINARY: Final = [{"name": "image", "parameters": {"binary_data": True}}]


def _tensor(name: str, datatype: str, *values: Any, shape: list[int] | None = None) -> Exchange:
    return {"name": name, "shape": shape or [1, 1], "datatype": datatype, "data": [*values]}


def _prompt(text: str, **more: Any) -> Exchange:
    return _tensor("prompt", "BYTES", text, **more)


def _infer(what: str, model: str, *inputs: Exchange, **more: Any) -> Exchange:
    body = {"inputs": [*inputs], "outputs": BINARY, **more}
    return {"what": what, "method": "POST", "path": f"/v2/models/{model}/infer", "json": body}


def _binary(what: str, data: bytes, *, said: int, header: bool = True) -> Exchange:
    tensor: Exchange = {"name": "prompt", "shape": [1, 1], "datatype": "BYTES"}
    tensor["parameters"] = {"binary_data_size": said}
    asked = _infer(what, "painter", tensor)
    return {**asked, "data": base64.b64encode(data).decode(), "header": header}


def _ask(path: str, method: str = "GET", **more: Any) -> Exchange:
    return {"what": f"{method} {path}", "method": method, "path": path, **more}


def requests() -> Iterator[Exchange]:
    """In their order; none of them leaves anything behind."""
    yield _ask("/v2")
    yield _ask("/v2/health/live")
    yield _ask("/v2/health/ready")
    yield _ask("/v2/nonsense")
    yield _ask("/v2/repository/index", "POST", json={})
    for name in ("painter", "files", "floats", "echo", "broken", "nobody"):
        yield _ask(f"/v2/models/{name}")
        yield _ask(f"/v2/models/{name}/ready")
        yield _ask(f"/v2/models/{name}/config")
    steps, small = _tensor("steps", "INT32", 1), _tensor("width", "INT32", 4)
    low = _tensor("height", "INT32", 2)
    yield _infer("pixels", "painter", _prompt("a cat"), small, low, id="job-1.0")
    yield _infer("pixels in JSON", "painter", _prompt("a cat"), small, low, outputs=[])
    every = {"outputs": [], "parameters": {"binary_data_output": True}}
    yield _infer("all binary", "painter", _prompt("a cat"), small, low, **every)
    yield _infer("a seed", "painter", _prompt("a cat"), small, low, _tensor("seed", "INT64", 7))
    start = _tensor("image", "UINT8", *range(6), shape=[1, 1, 2, 3])
    yield _infer("a start image", "painter", _prompt("a cat"), small, low, start)
    flat = {"shape": [1]}
    once = _tensor("steps", "INT32", 1, **flat)
    yield _infer("files", "files", _prompt("a cat", **flat), once)
    broken = _tensor("image", "BYTES", "no image", **flat)
    yield _infer("a start image that is none", "files", _prompt("a cat", **flat), once, broken)
    floats = [{"name": "GENERATED_IMAGE", "parameters": {"binary_data": True}}]
    shout = _tensor("PROMPT", "BYTES", "a cat", **flat)
    yield _infer("floats", "floats", shout, outputs=floats)
    yield _infer("too many steps", "painter", _prompt("a cat"), _tensor("steps", "INT32", 501))
    yield _infer("memory that ran out", "painter", _prompt("memory"))
    yield _infer("no inputs", "painter")
    yield _infer("nothing but what is optional", "painter", steps)
    yield _infer("an input too few", "files", _prompt("a cat", **flat))
    yield _infer("an unknown input", "painter", _prompt("a cat"), _tensor("x", "BYTES", "a"))
    yield _infer("another datatype", "painter", _prompt("x"), _tensor("steps", "INT64", 2))
    yield _infer("no number", "painter", _prompt("a cat"), _tensor("steps", "INT32", "many"))
    yield _infer("no batch dimension", "painter", _prompt("a cat", shape=[1]))
    yield _infer("another shape", "files", _prompt("a cat"), once)
    five = {**_prompt("a cat", shape=[5, 1]), "data": ["a cat"] * 5}
    yield _infer("too large a batch", "painter", five)
    yield _infer("an unknown output", "painter", _prompt("a cat"), outputs=[{"name": "nothing"}])
    yield _infer("an unknown model", "nobody", _prompt("a cat"))
    yield _infer("a model that did not load", "broken", _prompt("a cat"))
    yield _binary("a binary input", b"\x05\0\0\0a cat", said=9)
    yield _binary("a binary input that is too short", b"\x05\0\0\0a ca", said=9)
    yield _binary("a binary input without the header", b"\x05\0\0\0a cat", said=9, header=False)
    yield {**_ask("/v2/models/painter/infer", "POST"), "what": "no JSON", "text": "no JSON"}
    yield _infer("a process that ends", "painter", _prompt("exit"))
    yield _infer("after it", "painter", _prompt("a cat"))
    yield {**_ask("/v2/models/painter/ready"), "what": "called ready all the same"}


def ask(client: httpx.Client, asked: Exchange) -> Exchange:
    """What comes of it, as it is written down."""
    head = json.dumps(asked["json"]).encode() if "json" in asked else asked.get("text", "").encode()
    data, headers = base64.b64decode(asked.get("data", "")), {"accept-encoding": "identity"}
    if asked.get("header"):
        headers[HEADER] = str(len(head))
    answer = client.request(asked["method"], asked["path"], content=head + data, headers=headers)
    return {"request": asked, "response": written(answer)}


def written(answer: httpx.Response) -> Exchange:
    found: Exchange = {"status": answer.status_code}
    body, length = answer.content, answer.headers.get(HEADER)
    if length is not None:
        found["data"] = base64.b64encode(body[int(length) :]).decode()
        body = body[: int(length)]
    try:
        found["json"] = json.loads(body)
    except ValueError:
        found["text"] = body.decode("latin-1")
    return found


def essence(answered: Exchange) -> Exchange:
    """Without what only one server can say: traces, and what of a configuration nobody reads."""
    response = json.loads(json.dumps(answered["response"]))
    found = response.get("json")
    if isinstance(found, dict) and "error" in found:
        found["error"] = found["error"].partition("\n")[0]
    for entry in found if isinstance(found, list) else []:
        entry["reason"] = str(entry.get("reason", "")).partition("\n")[0]
    if answered["request"]["path"].endswith("/config") and isinstance(found, dict):
        response["json"] = _of_config(found) if "error" not in found else found
    return dict(response)


def _of_config(config: Exchange) -> Exchange:
    tensors = {
        kind: [
            {name: one.get(name, False) for name in ("name", "data_type", "dims", "optional")}
            for one in config[kind]
        ]
        for kind in ("input", "output")
    }
    groups = [(group["count"], group["gpus"]) for group in config["instance_group"]]
    batching = "dynamic_batching" in config
    return {"batch": config["max_batch_size"], "groups": groups, "dynamic": batching, **tensors}
