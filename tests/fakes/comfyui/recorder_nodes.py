"""The node classes that were written for the recordings of the real server, see `tests/recordings`.

What they raise or return is made up, and the same here; what a server makes of it is held against
the recordings.
"""

from typing import Final

from PIL import Image
from pydantic import JsonValue

from fakes import end_of_process
from fakes.comfyui.node_class import InputSpec, NodeClass, Result, Work
from fakes.comfyui.values import Blocker, Images, Inputs, NodeFailure, encode_animation

_ANY_INTEGER: Final[InputSpec] = ("INT", {})
_ANY_NUMBER: Final[InputSpec] = ("FLOAT", {})
_ANY_TEXT: Final[InputSpec] = ("STRING", {})
_IMAGE: Final[InputSpec] = ("IMAGE", {})
_OUT_OF_MEMORY: Final = (
    "torch.OutOfMemoryError",
    "CUDA out of memory. Tried to allocate 20.00 GiB",
)
_RAISED: Final = {
    "value": ("ValueError", "the value is wrong"),
    "oom": _OUT_OF_MEMORY,
    "oomtext": ("RuntimeError", "MPS backend out of memory (MPS allocated: 1 GB)"),
    "cudaassert": ("RuntimeError", "CUDA error: device-side assert triggered"),
    "unicode": ("ValueError", "gru\u00df \U0001f600 \0 end"),
    "huge": ("ValueError", "x" * 2_000_000),
}
_UI_VALUES: Final[dict[str, JsonValue]] = {
    "backslash": {"filename": "a.png", "subfolder": "x\\y", "type": "output"},
    "absolute": {"filename": "/etc/hostname", "subfolder": "", "type": "output"},
    "missing": {"filename": "nope.png", "subfolder": "", "type": "output"},
    "none": None,
    "tuple": [1, 2],
    "nan": float("nan"),
}


async def _take_steps(work: Work, inputs: Inputs) -> Result:
    """Each of the server's own length, not of the `seconds` that are asked for."""
    steps, side = inputs.integer("steps"), inputs.integer("size")
    for done in range(1, steps + 1):
        await work.step(done, steps)
        work.send_preview()
    shade = inputs.integer("seed") % 256
    image = Image.new("RGB", (side, side), (shade, shade, shade))
    return Result((Images((image,) * inputs.integer("batch")),))


async def _raise(work: Work, inputs: Inputs) -> Result:
    kind = inputs.text("kind")
    if kind == "exit":
        end_of_process()
        await work.end_worker()
    raise NodeFailure(*_RAISED[kind])


async def _block(_work: Work, inputs: Inputs) -> Result:
    return Result((Blocker(inputs.text("message")),))


async def _become_others(_work: Work, inputs: Inputs) -> Result:
    sampler = {"steps": inputs.integer("steps"), "seconds": 0.1, "seed": inputs.integer("seed")}
    return Result(
        (["2", 0],),
        becomes={
            "1": ("QASteps", {**sampler, "size": 64, "batch": 1}),
            "2": ("ImageInvert", {"image": ["1", 0]}),
            "3": ("PreviewImage", {"images": ["2", 0]}),
            "4": ("SaveImage", {"images": ["2", 0], "filename_prefix": "inner/fixed"}),
        },
    )


async def _save_gif(work: Work, inputs: Inputs) -> Result:
    data = encode_animation(inputs.images("images").frames, "GIF")
    record = work.files.save(inputs.text("filename_prefix"), "output", "gif", data)
    told: dict[str, JsonValue] = {"format": "image/gif", "frame_rate": 8.0}
    told |= {"workflow": record.filename.replace("gif", "png"), "fullpath": "/srv/v.gif"}
    return Result(ui={"gifs": [{**record.as_json(), **told}]})


async def _tell_text(_work: Work, inputs: Inputs) -> Result:
    return Result((inputs.text("text"),), {"text": [inputs.text("text")]})


async def _tell_an_odd_value(work: Work, inputs: Inputs) -> Result:
    if inputs.text("how") == "bytes":  # no JSON is made of them: the real server's process ends
        end_of_process()
        await work.end_worker()
    return Result(ui={"images": [_UI_VALUES[inputs.text("how")]]})


async def _heed_nothing(work: Work, _inputs: Inputs) -> Result:
    await work.held()
    return Result((Images((Image.new("RGB", (64, 64)),)),))


async def _die(work: Work, inputs: Inputs) -> Result:
    await work.end_worker()
    return Result((inputs.images("image"),))


RECORDER_NODE_CLASSES: Final[dict[str, NodeClass]] = {
    "QASteps": NodeClass(
        _take_steps,
        ("IMAGE",),
        {
            "steps": _ANY_INTEGER,
            "seconds": _ANY_NUMBER,
            "seed": _ANY_INTEGER,
            "size": _ANY_INTEGER,
            "batch": _ANY_INTEGER,
        },
    ),
    "QARaise": NodeClass(_raise, ("IMAGE",), {"kind": _ANY_TEXT, "image": _IMAGE}),
    "QABlocker": NodeClass(_block, ("IMAGE",), {"image": _IMAGE, "message": _ANY_TEXT}),
    "QASubgraph": NodeClass(
        _become_others, ("IMAGE",), {"steps": _ANY_INTEGER, "seed": _ANY_INTEGER}
    ),
    "QAGifs": NodeClass(
        _save_gif,
        required={
            "images": _IMAGE,
            "filename_prefix": _ANY_TEXT,
            "format": _ANY_TEXT,
            "save_output": ("BOOLEAN", {}),
        },
        output_node=True,
    ),
    "QAText": NodeClass(_tell_text, ("STRING",), {"text": _ANY_TEXT}, output_node=True),
    "QAWinPath": NodeClass(
        _tell_an_odd_value, required={"images": _IMAGE, "how": _ANY_TEXT}, output_node=True
    ),
    "QABlock": NodeClass(_heed_nothing, ("IMAGE",), {"seconds": _ANY_NUMBER, "seed": _ANY_INTEGER}),
    "QADie": NodeClass(_die, ("IMAGE",), {"image": _IMAGE}),
}
