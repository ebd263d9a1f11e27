"""The fake's node classes for what is no image: audio, latents, and whatever a node may write.

`LoadAnything` stands for custom nodes whose class says that the editor uploads their file.
`Save3DAdvanced` and the nodes that preview 3D report no record of their file, but its name.
`SaveAudio` writes FLAC and `SaveLatent` safetensors, as ComfyUI's own do. `SaveBytes` stands for
custom nodes that write files of any format, and reports them under a key of its own.
"""

import json
from typing import Final

from pydantic import JsonValue

from fakes.comfyui.files import input_record
from fakes.comfyui.node_class import InputSpec, NodeClass, Result, Work
from fakes.comfyui.values import Audio, Inputs, Latent, Mesh, Video, encode_animation, word_of
from queue_agent.media.facts import kind_of, media_type_of

_PREFIX: Final[InputSpec] = ("STRING", {"default": "ComfyUI"})
_DYNAMIC: Final[InputSpec] = ("COMFY_DYNAMICCOMBO_V3", {"options": []})
_IMAGE: Final[InputSpec] = ("IMAGE", {})
_FLAC_HEADER: Final = b"fLaC\x80\0\0\x22"
"""The signature, and the header of a last metadata block: STREAMINFO of 34 bytes."""
_MP3_HEADER: Final = b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + b"\xff\xfb\x90\x64"
_OPUS_HEADER: Final = b"OggS\0\2" + bytes(20) + b"\1\x13OpusHead" + bytes(11)
_MP4_HEADER: Final = b"\0\0\0\x18ftypisom\0\0\2\0isommp41\0\0\1\0mdat"
_WEBM_HEADER: Final = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\x18\x53\x80\x67"


async def _empty_audio(_work: Work, inputs: Inputs) -> Result:
    asked = (inputs.number("duration"), inputs.integer("sample_rate"), inputs.integer("channels"))
    return Result((Audio(word_of(*asked)),))


async def _save_audio(work: Work, inputs: Inputs) -> Result:
    return _saved_audio(work, inputs, "flac", _FLAC_HEADER)


async def _save_mp3(work: Work, inputs: Inputs) -> Result:
    return _saved_audio(work, inputs, "mp3", _MP3_HEADER)


async def _save_opus(work: Work, inputs: Inputs) -> Result:
    return _saved_audio(work, inputs, "opus", _OPUS_HEADER)


async def _preview_audio(work: Work, inputs: Inputs) -> Result:
    data = _FLAC_HEADER + inputs.audio("audio").word.encode()[:34] + bytes(64)
    record = work.files.save(f"ComfyUI_temp_{work.temp_word}", "temp", "flac", data)
    return Result((inputs.audio("audio"),), {"audio": [{**record.as_json()}]})


def _saved_audio(work: Work, inputs: Inputs, extension: str, header: bytes) -> Result:
    data = header + inputs.audio("audio").word.encode()[:34] + bytes(64)
    record = work.files.save(inputs.text("filename_prefix"), "output", extension, data)
    return Result((inputs.audio("audio"),), {"audio": [{**record.as_json()}]})


async def _create_video(_work: Work, inputs: Inputs) -> Result:
    return Result((Video(encode_animation(inputs.images("images").frames, "GIF")),))


async def _save_video(work: Work, inputs: Inputs) -> Result:
    video = inputs["video"]
    assert isinstance(video, Video)
    return _saved_video(work, inputs, "mp4", _MP4_HEADER + video.data, of=video)


async def _save_webm(work: Work, inputs: Inputs) -> Result:
    images = inputs.images("images")
    data = _WEBM_HEADER + encode_animation(images.frames, "GIF")
    return _saved_video(work, inputs, "webm", data, of=images)


def _saved_video(work: Work, inputs: Inputs, extension: str, data: bytes, of: object) -> Result:
    record = work.files.save(inputs.text("filename_prefix"), "output", extension, data)
    return Result((of,), {"images": [{**record.as_json()}], "animated": [True]})


async def _load_audio(work: Work, inputs: Inputs) -> Result:
    data = work.files.read(input_record(inputs.text("audio"))) or b""
    if kind_of(media_type_of(data)) not in {"audio", "video"}:
        raise ValueError("Invalid data found when processing input")
    return Result((Audio(word_of(data)),))


async def _load_latent(work: Work, inputs: Inputs) -> Result:
    data = work.files.read(input_record(inputs.text("latent"))) or b""
    return Result((Latent(word_of(data), 64, 64, 1),))


async def _load_3d(work: Work, inputs: Inputs) -> Result:
    data = work.files.read(input_record(inputs.text("model_file"))) or b""
    return Result((Mesh(data),))


async def _save_glb(work: Work, inputs: Inputs) -> Result:
    mesh = inputs["mesh"]
    assert isinstance(mesh, Mesh)
    record = work.files.save(inputs.text("filename_prefix"), "output", "glb", mesh.data)
    return Result(ui={"3d": [{**record.as_json()}]})


async def _save_3d_advanced(work: Work, inputs: Inputs) -> Result:
    mesh = inputs["model_3d"]
    assert isinstance(mesh, Mesh)
    record = work.files.save(inputs.text("filename_prefix"), "output", "glb", mesh.data)
    return _shown(f"{record.subfolder}/{record.filename}".lstrip("/"))


async def _preview_3d(work: Work, inputs: Inputs) -> Result:
    model = inputs["model_file"]
    if not isinstance(model, Mesh):
        return _shown(str(model))
    return _shown(work.files.save("preview3d", "output", "glb", model.data).filename)


async def _preview_3d_advanced(work: Work, inputs: Inputs) -> Result:
    mesh = inputs["model_3d"]
    assert isinstance(mesh, Mesh)
    return _shown(work.files.save("preview3d_advanced", "temp", "glb", mesh.data).filename)


def _shown(name: str) -> Result:
    """With the camera, and what stands behind the model or what is known of it."""
    return Result(ui={"result": [name, None, []]})


async def _save_latent(work: Work, inputs: Inputs) -> Result:
    header = json.dumps({"__metadata__": {"word": inputs.latent("samples").word}}).encode()
    data = len(header).to_bytes(8, "little") + header
    record = work.files.save(inputs.text("filename_prefix"), "output", "latent", data)
    return Result((inputs.latent("samples"),), {"latents": [{**record.as_json()}]})


async def _save_bytes(work: Work, inputs: Inputs) -> Result:
    data = bytes.fromhex(inputs.text("data"))
    prefix, extension = inputs.text("filename_prefix"), inputs.text("extension")
    record = work.files.save(prefix, "output", extension, data)
    files: list[JsonValue] = [{**record.as_json()}]
    return Result(ui={"files": files})


MEDIA_NODE_CLASSES: Final[dict[str, NodeClass]] = {
    "EmptyAudio": NodeClass(
        _empty_audio,
        ("AUDIO",),
        {
            "duration": ("FLOAT", {"default": 60.0, "min": 0.0, "max": 2**63}),
            "sample_rate": ("INT", {"default": 44100, "min": 1, "max": 192000}),
            "channels": ("INT", {"default": 2, "min": 1, "max": 2}),
        },
    ),
    "LoadAudio": NodeClass(
        _load_audio,
        ("AUDIO",),
        {"audio": ("COMBO", {"audio_upload": True})},
        file_input="audio",
    ),
    "LoadLatent": NodeClass(
        _load_latent, ("LATENT",), {"latent": ("COMBO", {})}, file_input="latent"
    ),
    "Load3D": NodeClass(
        _load_3d,
        ("MESH",),
        {"model_file": ("COMBO", {"file_upload": True})},
        file_input="model_file",
        file_folder="3d/",
    ),
    "LoadAnything": NodeClass(
        _load_3d,
        ("MESH",),
        {"model_file": ("COMBO", {"file_upload": True})},
        file_input="model_file",
    ),
    "SaveGLB": NodeClass(
        _save_glb,
        required={"mesh": ("MESH", {}), "filename_prefix": _PREFIX},
        output_node=True,
    ),
    "Save3DAdvanced": NodeClass(
        _save_3d_advanced,
        required={"model_3d": ("MESH", {}), "filename_prefix": _PREFIX},
        output_node=True,
    ),
    "Preview3D": NodeClass(
        _preview_3d, required={"model_file": ("STRING,MESH", {"default": ""})}, output_node=True
    ),
    "Preview3DAdvanced": NodeClass(
        _preview_3d_advanced, required={"model_3d": ("MESH", {})}, output_node=True
    ),
    "SaveAudio": NodeClass(
        _save_audio,
        ("AUDIO",),
        required={"audio": ("AUDIO", {}), "filename_prefix": _PREFIX},
        output_node=True,
    ),
    "SaveAudioMP3": NodeClass(
        _save_mp3,
        ("AUDIO",),
        required={
            "audio": ("AUDIO", {}),
            "filename_prefix": _PREFIX,
            "quality": (["V0", "128k", "320k"], {}),
        },
        output_node=True,
    ),
    "SaveAudioOpus": NodeClass(
        _save_opus,
        ("AUDIO",),
        required={
            "audio": ("AUDIO", {}),
            "filename_prefix": _PREFIX,
            "quality": (["64k", "96k", "128k", "192k", "320k"], {}),
        },
        output_node=True,
    ),
    "PreviewAudio": NodeClass(
        _preview_audio, ("AUDIO",), required={"audio": ("AUDIO", {})}, output_node=True
    ),
    "CreateVideo": NodeClass(
        _create_video, ("VIDEO",), {"images": _IMAGE, "fps": ("FLOAT", {"min": 1, "max": 120})}
    ),
    "SaveVideo": NodeClass(
        _save_video,
        ("VIDEO",),
        required={
            "video": ("VIDEO", {}),
            "filename_prefix": _PREFIX,
            "format": _DYNAMIC,
            "codec": _DYNAMIC,
        },
        output_node=True,
    ),
    "SaveWEBM": NodeClass(
        _save_webm,
        ("IMAGE",),
        required={
            "images": _IMAGE,
            "filename_prefix": _PREFIX,
            "codec": (["vp9", "av1"], {}),
            "fps": ("FLOAT", {"min": 0.01, "max": 1000.0}),
            "crf": ("FLOAT", {"min": 0, "max": 63.0}),
        },
        output_node=True,
    ),
    "SaveLatent": NodeClass(
        _save_latent,
        ("LATENT",),
        required={"samples": ("LATENT", {}), "filename_prefix": _PREFIX},
        output_node=True,
    ),
    "SaveBytes": NodeClass(
        _save_bytes,
        required={
            "data": ("STRING", {}),
            "extension": ("STRING", {}),
            "filename_prefix": _PREFIX,
        },
        output_node=True,
    ),
}
