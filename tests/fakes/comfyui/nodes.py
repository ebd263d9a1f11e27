"""The node classes that the fake knows: those of ComfyUI's core that the tests need.

Inputs, ranges and output types follow `nodes.py` and `comfy_extras` of ComfyUI;
`VHS_VideoCombine` stands for the custom nodes that report videos under the key ``gifs``,
`BlockedImage` for those that return an ExecutionBlocker, `ExpandingSampler` and `ExpandingSender`
for those that become several others: two samplers and one that inverts, or several that send.
"""

import io
import json
from typing import Final

from PIL import Image, ImageOps
from pydantic import JsonValue

from fakes.comfyui.files import input_record
from fakes.comfyui.media_nodes import MEDIA_NODE_CLASSES
from fakes.comfyui.model_lists import CHECKPOINTS, LORAS, UPSCALERS
from fakes.comfyui.node_class import Inner, InputSpec, NodeClass, Result, Ui, Work
from fakes.comfyui.recorder_nodes import RECORDER_NODE_CLASSES
from fakes.comfyui.values import (
    Blocker,
    Conditioning,
    Images,
    Inputs,
    Latent,
    Mask,
    Model,
    encode_animation,
    encode_png,
    paint,
    word_of,
    word_of_image,
)

SAMPLER_NAMES: Final[list[JsonValue]] = [
    *("euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast"),
    *("dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m", "dpmpp_2m_sde"),
    *("dpmpp_2m_sde_heun", "dpmpp_3m_sde", "ddpm", "lcm", "ipndm", "deis", "ddim", "uni_pc"),
]
SCHEDULER_NAMES: Final[list[JsonValue]] = [
    *("simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal"),
    *("linear_quadratic", "kl_optimal"),
]


def _integer(default: int, low: int, high: int) -> InputSpec:
    return "INT", {"default": default, "min": low, "max": high}


def _number(default: float, low: float, high: float) -> InputSpec:
    return "FLOAT", {"default": default, "min": low, "max": high}


def _link(kind: str) -> InputSpec:
    return kind, {}


_TEXT: Final[InputSpec] = ("STRING", {"multiline": True})
_PREFIX: Final[InputSpec] = ("STRING", {"default": "ComfyUI"})
_SIDE: Final = _integer(512, 16, 16384)
_SEED: Final = _integer(0, 0, 2**64 - 1)


async def _load_checkpoint(_work: Work, inputs: Inputs) -> Result:
    name = inputs.text("ckpt_name")
    return Result((Model((name,)), Model((name, "clip")), Model((name, "vae"))))


async def _load_lora(_work: Work, inputs: Inputs) -> Result:
    model, clip = inputs.model("model"), inputs.model("clip")
    name = inputs.text("lora_name")
    return Result(
        (
            Model((*model.words, name, str(inputs.number("strength_model")))),
            Model((*clip.words, name, str(inputs.number("strength_clip")))),
        )
    )


async def _load_lora_for_the_model(_work: Work, inputs: Inputs) -> Result:
    model, name = inputs.model("model"), inputs.text("lora_name")
    return Result((Model((*model.words, name, str(inputs.number("strength_model")))),))


async def _select_sampler(_work: Work, inputs: Inputs) -> Result:
    return Result((inputs.text("sampler_name"),))


async def _mask_to_image(_work: Work, inputs: Inputs) -> Result:
    return Result((Images((inputs.mask("mask").image.convert("RGB"),)),))


async def _encode_text(_work: Work, inputs: Inputs) -> Result:
    return Result((Conditioning(inputs.text("text"), inputs.model("clip")),))


async def _empty_latent(_work: Work, inputs: Inputs) -> Result:
    width, height = inputs.integer("width"), inputs.integer("height")
    return Result((Latent("empty", width, height, inputs.integer("batch_size")),))


async def _sample(work: Work, inputs: Inputs) -> Result:
    steps = inputs.integer("steps")
    for done in range(1, steps + 1):
        await work.step(done, steps)
    latent = inputs.latent("latent_image")
    word = word_of(
        *(inputs[name] for name in ("seed", "steps", "cfg", "sampler_name", "scheduler")),
        *(inputs[name] for name in ("denoise", "model", "positive", "negative", "latent_image")),
    )
    return Result((Latent(word, latent.width, latent.height, latent.batch_size),))


async def _decode(_work: Work, inputs: Inputs) -> Result:
    return Result((paint(inputs.latent("samples")),))


async def _encode(_work: Work, inputs: Inputs) -> Result:
    frames = inputs.images("pixels").frames
    word = word_of(*(word_of_image(frame) for frame in frames))
    return Result((Latent(word, *frames[0].size, len(frames)),))


async def _encode_for_inpainting(work: Work, inputs: Inputs) -> Result:
    encoded = await _encode(work, inputs)
    return _masked(encoded.outputs[0], inputs.mask("mask"))


async def _set_noise_mask(_work: Work, inputs: Inputs) -> Result:
    return _masked(inputs.latent("samples"), inputs.mask("mask"))


def _masked(latent: object, mask: Mask) -> Result:
    assert isinstance(latent, Latent)
    word = word_of(latent.word, word_of_image(mask.image))
    return Result((Latent(word, latent.width, latent.height, latent.batch_size),))


async def _repeat_latent(_work: Work, inputs: Inputs) -> Result:
    latent = inputs.latent("samples")
    batch_size = latent.batch_size * inputs.integer("amount")
    return Result((Latent(latent.word, latent.width, latent.height, batch_size),))


def _open(work: Work, name: str) -> Image.Image:
    record = input_record(name)
    image = Image.open(io.BytesIO(work.files.read(record) or b""))
    image.load()
    return image


async def _load_image(work: Work, inputs: Inputs) -> Result:
    image = _open(work, inputs.text("image"))
    mask = ImageOps.invert(image.convert("RGBA").getchannel("A"))
    return Result((Images((image.convert("RGB"),)), Mask(mask)))


async def _load_mask(work: Work, inputs: Inputs) -> Result:
    channel = {"alpha": "A", "red": "R", "green": "G", "blue": "B"}[inputs.text("channel")]
    image = _open(work, inputs.text("image")).convert("RGBA").getchannel(channel)
    return Result((Mask(ImageOps.invert(image) if channel == "A" else image),))


async def _empty_image(_work: Work, inputs: Inputs) -> Result:
    size = (inputs.integer("width"), inputs.integer("height"))
    color = inputs.integer("color")
    image = Image.new("RGB", size, (color >> 16 & 255, color >> 8 & 255, color & 255))
    return Result((Images((image,) * inputs.integer("batch_size")),))


async def _invert(_work: Work, inputs: Inputs) -> Result:
    frames = inputs.images("image").frames
    return Result((Images(tuple(ImageOps.invert(frame) for frame in frames)),))


async def _scale_by(_work: Work, inputs: Inputs) -> Result:
    frames = inputs.images("image").frames
    factor = inputs.number("scale_by")
    return Result((Images(tuple(_scaled(frame, factor) for frame in frames)),))


async def _scale(_work: Work, inputs: Inputs) -> Result:
    size = (inputs.integer("width"), inputs.integer("height"))
    return Result((Images(tuple(frame.resize(size) for frame in inputs.images("image").frames)),))


async def _load_upscaler(_work: Work, inputs: Inputs) -> Result:
    return Result((Model((inputs.text("model_name"),)),))


async def _upscale_with_model(_work: Work, inputs: Inputs) -> Result:
    frames = inputs.images("image").frames
    return Result((Images(tuple(_scaled(frame, 4) for frame in frames)),))


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


async def _save_image(work: Work, inputs: Inputs) -> Result:
    return _saved(work, inputs, "output", inputs.text("filename_prefix"))


async def _preview_image(work: Work, inputs: Inputs) -> Result:
    return _saved(work, inputs, "temp", f"ComfyUI_temp_{work.temp_word}")


def _saved(work: Work, inputs: Inputs, folder: str, prefix: str) -> Result:
    notes = {} if work.disable_metadata else {"prompt": json.dumps(work.graph)}
    records: list[JsonValue] = [
        {**work.files.save(prefix, folder, "png", encode_png(frame, notes)).as_json()}
        for frame in inputs.images("images").frames
    ]
    return Result((inputs.images("images"),), {"images": records})


async def _save_webp(work: Work, inputs: Inputs) -> Result:
    data = encode_animation(inputs.images("images").frames, "WEBP")
    record = work.files.save(inputs.text("filename_prefix"), "output", "webp", data)
    told: Ui = {"images": [{**record.as_json()}], "animated": [True]}
    return Result((inputs.images("images"),), told)


async def _save_apng(work: Work, inputs: Inputs) -> Result:
    data = encode_animation(inputs.images("images").frames, "PNG")
    record = work.files.save(inputs.text("filename_prefix"), "output", "png", data)
    told: Ui = {"images": [{**record.as_json()}], "animated": [True]}
    return Result((inputs.images("images"),), told)


async def _combine_video(work: Work, inputs: Inputs) -> Result:
    data = encode_animation(inputs.images("images").frames, "GIF")
    record = work.files.save(inputs.text("filename_prefix"), "output", "gif", data)
    return Result(ui={"gifs": [{**record.as_json(), "format": "image/gif", "frame_rate": 8.0}]})


async def _send_images(work: Work, inputs: Inputs) -> Result:
    frames = inputs.images("images").frames
    for done, frame in enumerate(frames):
        await work.step(done, len(frames))
        work.send_image(encode_png(frame, {}))
    return Result()


async def _block(_work: Work, inputs: Inputs) -> Result:
    return Result((Blocker(inputs.text("message")),))


async def _expand(_work: Work, inputs: Inputs) -> Result:
    image, steps = inputs.images("image"), inputs.integer("steps")
    size, batch = image.frames[0].size[0], len(image.frames)
    sampler: dict[str, object] = {"steps": steps, "seconds": 0.0, "size": size, "batch": batch}
    return Result(
        (["3", 0],),
        becomes={
            "1": ("QASteps", {**sampler, "seed": 1}),
            "2": ("QASteps", {**sampler, "seed": 2}),
            "3": ("ImageInvert", {"image": image}),
        },
    )


async def _expand_into_senders(_work: Work, inputs: Inputs) -> Result:
    image = inputs.images("image")
    colors = {str(number): number for number in range(1, inputs.integer("senders") + 1)}
    size: dict[str, object] = {"width": 16, "height": 16, "batch_size": 1}
    made: Inner = {f"c{name}": ("EmptyImage", {**size, "color": n}) for name, n in colors.items()}
    sent: Inner = {
        name: ("SaveImageWebsocket", {"images": [f"c{name}", 0]}) for name in reversed(colors)
    }
    return Result((image,), becomes={**made, "preview": ("PngPreviews", {"image": image}), **sent})


async def _preview_as_png(work: Work, inputs: Inputs) -> Result:
    image = inputs.images("image")
    await work.step(1, 1)
    work.send_image(encode_png(image.frames[0], {}))
    return Result((image,))


async def _preview_any(_work: Work, inputs: Inputs) -> Result:
    return Result((inputs.text("source"),), {"text": [inputs.text("source")]})


_IMAGE_FILE: Final[InputSpec] = ([], {"image_upload": True})
_CHANNELS: Final[list[JsonValue]] = ["alpha", "red", "green", "blue"]
_METHODS: Final[list[JsonValue]] = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]

NODE_CLASSES: Final[dict[str, NodeClass]] = {
    **MEDIA_NODE_CLASSES,
    **RECORDER_NODE_CLASSES,
    "CheckpointLoaderSimple": NodeClass(
        _load_checkpoint, ("MODEL", "CLIP", "VAE"), {"ckpt_name": (CHECKPOINTS, {})}
    ),
    "LoraLoaderModelOnly": NodeClass(
        _load_lora_for_the_model,
        ("MODEL",),
        {
            "model": _link("MODEL"),
            "lora_name": (LORAS, {}),
            "strength_model": _number(1.0, -100.0, 100.0),
        },
    ),
    "KSamplerSelect": NodeClass(
        _select_sampler, ("SAMPLER",), {"sampler_name": (SAMPLER_NAMES, {})}
    ),
    "LoraLoader": NodeClass(
        _load_lora,
        ("MODEL", "CLIP"),
        {
            "model": _link("MODEL"),
            "clip": _link("CLIP"),
            "lora_name": (LORAS, {}),
            "strength_model": _number(1.0, -100.0, 100.0),
            "strength_clip": _number(1.0, -100.0, 100.0),
        },
    ),
    "CLIPTextEncode": NodeClass(
        _encode_text, ("CONDITIONING",), {"text": _TEXT, "clip": _link("CLIP")}
    ),
    "EmptyLatentImage": NodeClass(
        _empty_latent,
        ("LATENT",),
        {"width": _SIDE, "height": _SIDE, "batch_size": _integer(1, 1, 4096)},
    ),
    "KSampler": NodeClass(
        _sample,
        ("LATENT",),
        {
            "model": _link("MODEL"),
            "seed": _SEED,
            "steps": _integer(20, 1, 10000),
            "cfg": _number(8.0, 0.0, 100.0),
            "sampler_name": (SAMPLER_NAMES, {}),
            "scheduler": (SCHEDULER_NAMES, {}),
            "positive": _link("CONDITIONING"),
            "negative": _link("CONDITIONING"),
            "latent_image": _link("LATENT"),
            "denoise": _number(1.0, 0.0, 1.0),
        },
    ),
    "VAEDecode": NodeClass(_decode, ("IMAGE",), {"samples": _link("LATENT"), "vae": _link("VAE")}),
    "VAEEncode": NodeClass(_encode, ("LATENT",), {"pixels": _link("IMAGE"), "vae": _link("VAE")}),
    "VAEEncodeForInpaint": NodeClass(
        _encode_for_inpainting,
        ("LATENT",),
        {
            "pixels": _link("IMAGE"),
            "vae": _link("VAE"),
            "mask": _link("MASK"),
            "grow_mask_by": _integer(6, 0, 64),
        },
    ),
    "SetLatentNoiseMask": NodeClass(
        _set_noise_mask, ("LATENT",), {"samples": _link("LATENT"), "mask": _link("MASK")}
    ),
    "RepeatLatentBatch": NodeClass(
        _repeat_latent, ("LATENT",), {"samples": _link("LATENT"), "amount": _integer(1, 1, 64)}
    ),
    "LoadImage": NodeClass(
        _load_image, ("IMAGE", "MASK"), {"image": _IMAGE_FILE}, file_input="image"
    ),
    "LoadImageMask": NodeClass(
        _load_mask,
        ("MASK",),
        {"image": _IMAGE_FILE, "channel": (_CHANNELS, {})},
        file_input="image",
    ),
    "MaskToImage": NodeClass(_mask_to_image, ("IMAGE",), {"mask": _link("MASK")}),
    "EmptyImage": NodeClass(
        _empty_image,
        ("IMAGE",),
        {
            "width": _integer(512, 1, 16384),
            "height": _integer(512, 1, 16384),
            "batch_size": _integer(1, 1, 4096),
            "color": _integer(0, 0, 0xFFFFFF),
        },
    ),
    "ImageInvert": NodeClass(_invert, ("IMAGE",), {"image": _link("IMAGE")}),
    "ImageScaleBy": NodeClass(
        _scale_by,
        ("IMAGE",),
        {
            "image": _link("IMAGE"),
            "upscale_method": (_METHODS, {}),
            "scale_by": _number(1.0, 0.01, 8.0),
        },
    ),
    "ImageScale": NodeClass(
        _scale,
        ("IMAGE",),
        {
            "image": _link("IMAGE"),
            "upscale_method": (_METHODS, {}),
            "width": _integer(512, 0, 16384),
            "height": _integer(512, 0, 16384),
            "crop": (["disabled", "center"], {}),
        },
    ),
    "UpscaleModelLoader": NodeClass(
        _load_upscaler, ("UPSCALE_MODEL",), {"model_name": (UPSCALERS, {})}
    ),
    "ImageUpscaleWithModel": NodeClass(
        _upscale_with_model,
        ("IMAGE",),
        {"upscale_model": _link("UPSCALE_MODEL"), "image": _link("IMAGE")},
    ),
    "SaveImage": NodeClass(
        _save_image,
        ("IMAGE",),
        required={"images": _link("IMAGE"), "filename_prefix": _PREFIX},
        output_node=True,
    ),
    "SaveImageWebsocket": NodeClass(
        _send_images, required={"images": _link("IMAGE")}, output_node=True, changes_always=True
    ),
    "BlockedImage": NodeClass(
        _block, ("IMAGE",), {"image": _link("IMAGE"), "message": ("STRING", {})}
    ),
    "ExpandingSampler": NodeClass(
        _expand, ("IMAGE",), {"image": _link("IMAGE"), "steps": _integer(4, 1, 100)}
    ),
    "ExpandingSender": NodeClass(
        _expand_into_senders,
        ("IMAGE",),
        {"image": _link("IMAGE"), "senders": _integer(2, 1, 100)},
        output_node=True,
    ),
    "PngPreviews": NodeClass(_preview_as_png, ("IMAGE",), {"image": _link("IMAGE")}),
    "PreviewImage": NodeClass(
        _preview_image, ("IMAGE",), required={"images": _link("IMAGE")}, output_node=True
    ),
    "SaveAnimatedWEBP": NodeClass(
        _save_webp,
        ("IMAGE",),
        required={"images": _link("IMAGE"), "filename_prefix": _PREFIX},
        output_node=True,
    ),
    "SaveAnimatedPNG": NodeClass(
        _save_apng,
        ("IMAGE",),
        required={"images": _link("IMAGE"), "filename_prefix": _PREFIX},
        output_node=True,
    ),
    "VHS_VideoCombine": NodeClass(
        _combine_video,
        required={"images": _link("IMAGE"), "filename_prefix": _PREFIX},
        output_node=True,
    ),
    "PreviewAny": NodeClass(
        _preview_any, ("STRING",), required={"source": _link("*")}, output_node=True
    ),
}
