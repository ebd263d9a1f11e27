"""The routes of each server: method, path, and what it answers."""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fakes.http_apis.engine import Engine, Work, encoded, whole

LARGEST = 2048


@dataclass(frozen=True)
class Asked:
    """A request."""

    engine: Engine
    path: re.Match[str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"null")


@dataclass(frozen=True)
class Answer:
    value: Any
    status: int = 200
    media_type: str = "application/json"

    @property
    def body(self) -> bytes:
        return self.value if isinstance(self.value, bytes) else json.dumps(self.value).encode()


Handler = Callable[[Asked], Answer]
Table = list[tuple[str, str, Handler]]


def work_of(fields: Mapping[str, Any], *, steps: str = "num_inference_steps") -> Work:
    return Work(
        prompt=fields.get("prompt", ""),
        steps=whole(fields.get(steps), 4),
        seed=whole(fields.get("seed"), 0),
        width=whole(fields.get("width"), 64),
        height=whole(fields.get("height"), 64),
    )


# TorchServe: a handler's own refusal carries its status; whatever else it raises is a 503.


def torchserve_predict(asked: Asked) -> Answer:
    fields = asked.json
    if asked.path[1] != "sd":
        return torchserve_error(404, "ModelNotFoundException", f"Model not found: {asked.path[1]}")
    if not isinstance(fields.get("prompt"), str):
        return torchserve_error(503, "InternalServerException", "Prediction failed")
    work = work_of(fields)
    if work.width > LARGEST:
        return torchserve_error(422, "InternalServerException", f"width: at most {LARGEST}")
    done = asked.engine.perform(work)
    return Answer([{"image": encoded(done.picture())}])


def torchserve_error(status: int, kind: str, message: str) -> Answer:
    return Answer({"code": status, "type": kind, "message": message}, status)


TORCHSERVE: Table = [
    ("GET", "/ping", lambda _: Answer({"status": "Healthy"})),
    ("POST", "/predictions/([^/]+)", torchserve_predict),
]


# Hugging Face's toolkit: whatever was raised is a 400.


def toolkit_predict(asked: Asked) -> Answer:
    body = asked.json
    fields = body.get("parameters", {})
    if "inputs" not in body:
        return Answer({"error": "Body needs to provide a inputs key"}, 400)
    if fields.get("width") != fields.get("height"):
        width, height = fields.get("width"), fields.get("height")
        return Answer({"error": f"Provided `height={height}` and `width={width}`, but either"}, 400)
    if "out of memory" in body["inputs"]:
        return Answer({"error": "CUDA out of memory. Tried to allocate 20 GiB"}, 400)
    done = asked.engine.perform(work_of({**fields, "prompt": body["inputs"]}))
    if asked.headers.get("accept") != "image/png":
        return Answer(encoded(done.picture()))
    return Answer(done.picture(), media_type="image/png")


HUGGINGFACE: Table = [
    ("GET", "/health", lambda _: Answer(b"Ok", media_type="text/plain")),
    ("POST", "/predict", toolkit_predict),
]


# xDiT: blocks its own event loop while it works.


def xdit_generate(asked: Asked) -> Answer:
    fields = asked.json
    if not fields.get("prompt"):
        return Answer({"detail": "Prompt cannot be empty"}, 400)
    done = asked.engine.perform(work_of(fields))
    return Answer(
        {
            "message": "Image generated successfully",
            "elapsed_time": "0.10 sec",
            "output": encoded(done.picture()),
            "save_to_disk": bool(fields.get("save_disk_path")),
        }
    )


def xdit_described(asked: Asked) -> Answer:
    with asked.engine.turn:
        return Answer({"openapi": "3.1.0"})


XDIT: Table = [
    ("GET", "/openapi.json", xdit_described),
    ("POST", "/generate", xdit_generate),
]


# Fooocus-API: accepted runs, one stop for whatever runs.


def fooocus_generate(asked: Asked) -> Answer:
    fields = asked.json
    styles = fields.get("style_selections", [])
    if not isinstance(styles, list):
        wrong = {"loc": ["body", "style_selections"], "msg": "Input should be a valid list"}
        return Answer({"detail": [wrong]}, 422)
    if asked.path[1] == "image-upscale-vary" and not fields.get("input_image"):
        return Answer({"detail": [{"loc": ["body", "input_image"], "msg": "Field required"}]}, 422)
    width, _, height = fields["aspect_ratios_selection"].partition("*")
    work = Work(
        prompt=fields["prompt"],
        steps=whole(fields["advanced_params"].get("overwrite_step"), 4),
        seed=fields["image_seed"],
        width=int(width),
        height=int(height),
        image=base64.b64decode(fields.get("input_image", "")),
        count=whole(fields.get("image_number"), 1),
    )
    return Answer(fooocus_state(asked.engine.accept(work)))


def fooocus_query(asked: Asked) -> Answer:
    work = asked.engine.works.get(asked.query["job_id"])
    if work is None:
        lost = {
            "job_id": "",
            "job_stage": "ERROR",
            "job_progress": 0,
            "job_status": "Job not found",
        }
        return Answer(lost, 404)
    return Answer(fooocus_state(work))


def fooocus_state(work: Work) -> dict[str, Any]:
    stages = {"waiting": "WAITING", "running": "RUNNING", "done": "SUCCESS", "stopped": "SUCCESS"}
    results = [
        {
            "base64": None if work.state == "stopped" else encoded(work.picture(number)),
            "url": None,
            "seed": str(work.seed + number),
            "finish_reason": "USER_CANCEL" if work.state == "stopped" else "SUCCESS",
        }
        for number in range(work.count)
    ]
    return {
        "job_id": work.id,
        "job_type": "Text to Image",
        "job_stage": stages[work.state],
        "job_progress": 100 * work.step // work.steps,
        "job_status": None,
        "job_step_preview": None,
        "job_result": results if work.over else None,
    }


def fooocus_stop(asked: Asked) -> Answer:
    for work in asked.engine.running():
        asked.engine.stop(work)
    return Answer({"msg": "success"})


FOOOCUS: Table = [
    ("GET", "/ping", lambda _: Answer("pong")),
    ("POST", "/v2/generation/(text-to-image-with-ip|image-upscale-vary)", fooocus_generate),
    ("GET", "/v1/generation/query-job", fooocus_query),
    ("POST", "/v1/generation/stop", fooocus_stop),
]


# InvokeAI: graphs in a queue, images by their names.


def invokeai_enqueue(asked: Asked) -> Answer:
    nodes = asked.json["batch"]["graph"]["nodes"]
    if nodes["denoise"]["scheduler"] not in {"euler", "ddim", "dpmpp_2m"}:
        place = ["body", "batch", "graph", "nodes", "denoise", "scheduler"]
        return Answer({"detail": [{"loc": place, "msg": "Input should be 'ddim', 'euler'"}]}, 422)
    work = work_of({**nodes["noise"], **nodes["denoise"], **nodes["positive"]}, steps="steps")
    work.id = str(len(asked.engine.works) + 1)
    asked.engine.accept(work)
    batch = {"queue_id": "default", "enqueued": 1, "requested": 1, "item_ids": [int(work.id)]}
    return Answer(batch, 201)


def invokeai_item(asked: Asked) -> Answer:
    work = asked.engine.works.get(asked.path[1])
    if work is None:
        return Answer({"detail": f"Queue item with id {asked.path[1]} not found"}, 404)
    states = {"waiting": "pending", "running": "in_progress", "done": "completed"}
    image = {"type": "image_output", "image": {"image_name": f"{work.id}.png"}}
    results = {"loader": {"type": "model_loader_output"}, "image": image}
    return Answer(
        {
            "item_id": int(work.id),
            "batch_id": f"batch-{work.id}",
            "status": states.get(work.state, "canceled"),
            "error_message": None,
            "session": {"results": results if work.state == "done" else {}},
        }
    )


def invokeai_cancel(asked: Asked) -> Answer:
    asked.engine.stop(asked.engine.works[asked.path[1]])
    return invokeai_item(asked)


def invokeai_image(asked: Asked) -> Answer:
    return Answer(asked.engine.works[asked.path[1]].picture(), media_type="image/png")


INVOKEAI: Table = [
    ("GET", "/api/v1/app/version", lambda _: Answer({"version": "6.9.0"})),
    ("POST", "/api/v1/queue/default/enqueue_batch", invokeai_enqueue),
    ("GET", "/api/v1/queue/default/i/([0-9]+)", invokeai_item),
    ("PUT", "/api/v1/queue/default/i/([0-9]+)/cancel", invokeai_cancel),
    ("GET", r"/api/v1/images/i/([0-9]+)\.png/full", invokeai_image),
]


TABLES = {
    "fooocus": FOOOCUS,
    "huggingface": HUGGINGFACE,
    "invokeai": INVOKEAI,
    "torchserve": TORCHSERVE,
    "xdit": XDIT,
}
