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
from fakes.comfyui.values import Audio, Inputs, Latent, Mesh, word_of
from queue_agent.media.facts import kind_of, media_type_of

_PREFIX: Final[InputSpec] = ("STRING", {"default": "ComfyUI"})
_FLAC_HEADER: Final = b"fLaC\x80\0\0\x22"
"""The signature, and the header of a last metadata block: STREAMINFO of 34 bytes."""


async def _empty_audio(_work: Work, inputs: Inputs) -> Result:
    asked = (inputs.number("duration"), inputs.integer("sample_rate"), inputs.integer("channels"))
    return Result((Audio(word_of(*asked)),))


async def _save_audio(work: Work, inputs: Inputs) -> Result:
    data = _FLAC_HEADER + inputs.audio("audio").word.encode()[:34] + bytes(64)
    record = work.files.save(inputs.text("filename_prefix"), "output", "flac", data)
    return Result(ui={"audio": [{**record.as_json()}]})


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
    return Result(ui={"latents": [{**record.as_json()}]})


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
        required={"audio": ("AUDIO", {}), "filename_prefix": _PREFIX},
        output_node=True,
    ),
    "SaveLatent": NodeClass(
        _save_latent,
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
