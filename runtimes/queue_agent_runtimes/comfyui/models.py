"""The models that workflows name: with their URLs, as templates have them, or by name only. Pure.

Kinds of models and their folders: `folder_paths.py` of https://github.com/comfyanonymous/ComfyUI;
what templates say of models: the properties of nodes in its workflow format.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import ModelFile, ModelUse, is_model_name, read_model_files
from queue_agent.wire.errors import Rejected
from queue_agent.wire.portable import PortableContent
from queue_agent_runtimes.comfyui.builder import split_lora_tags
from queue_agent_runtimes.comfyui.conversion.document import Document, as_list
from queue_agent_runtimes.comfyui.conversion.instances import take_apart
from queue_agent_runtimes.comfyui.editor import SavedWorkflow, held_values
from queue_agent_runtimes.comfyui.link_checks import needed_by
from queue_agent_runtimes.comfyui.names import without_hash
from queue_agent_runtimes.comfyui.workflow import TEXT_INPUTS, Graph, class_of, inputs_of

MODEL_FOLDERS: Final = frozenset(
    {
        "audio_encoders",
        "background_removal",
        "checkpoints",
        "classifiers",
        "clip_vision",
        "controlnet",
        "detection",
        "diffusion_models",
        "embeddings",
        "frame_interpolation",
        "geometry_estimation",
        "gligen",
        "hypernetworks",
        "latent_upscale_models",
        "loras",
        "model_patches",
        "optical_flow",
        "photomaker",
        "style_models",
        "text_encoders",
        "upscale_models",
        "vae",
        "vae_approx",
    }
)
"""Those of version 0.33 in which a model is a file: not `custom_nodes`, which are run, nor
`configs`, `datasets` and `diffusers`."""
_OTHERS: Final[Mapping[str, str]] = {
    "clip": "text_encoders",
    "t2i_adapter": "controlnet",
    "unet": "diffusion_models",
    "Lora": "loras",
    "Stable-diffusion": "checkpoints",
    "VAE": "vae",
}
"""Names of folders in older workflows, and in the words of portable jobs for the Web UI."""


_LOADED: Final = ("ckpt_name", "unet_name", "clip_name")
_LORA: Final = "lora_name"
"""How the inputs of loading nodes begin, of what is large: checkpoints, diffusion models and text
encoders."""


def canonical(models: Iterable[ModelFile]) -> Iterator[ModelFile]:
    """The same with the present names of their folders."""
    for model in models:
        yield replace(model, folder=_OTHERS.get(model.folder, model.folder))


def models_in(graph: Graph) -> Iterator[ModelFile]:
    """By their names, the files that a workflow in the API format loads."""
    for node in graph.values():
        for name, value in inputs_of(node).items():
            if isinstance(value, str) and name not in TEXT_INPUTS and is_model_name(value):
                yield ModelFile(value.replace("\\", "/"))


def use_of(
    graph: Graph, outputs: Collection[str] = frozenset(), targets: Collection[str] | None = None
) -> ModelUse:
    """What a workflow in the API format has the server load, by its core nodes and such as have
    inputs of the same names.

    Of the nodes that one of the `targets` needs, or a node of one of the classes `outputs`: the
    server runs no others. Where neither tells, of all.
    """
    ends = targets or [key for key, node in graph.items() if class_of(node) in outputs]
    models, loras = [], []
    for node_id in needed_by(graph, ends) or graph:
        for name, value in inputs_of(graph[node_id]).items():
            if isinstance(value, str) and is_model_name(value):
                if name.startswith(_LOADED):
                    models.append(value)
                elif name.startswith(_LORA):
                    loras.append(value)
    return ModelUse.named(models, loras)


def models_of_saved(saved: SavedWorkflow) -> Iterator[ModelFile]:
    """What the nodes that run load, with the URLs that their properties say.

    A node may tell of more models than it loads, since its widgets were changed meanwhile; lists
    that cannot be read are passed over, as the editor does.

    Raises:
        Rejected: the workflow cannot be read, or the list beside it.
    """
    named: dict[str, None] = {}
    told = list(_readable(saved.document.get("models")))
    for scope, node in take_apart(Document.read(dict(saved.document))).nodes():
        own = _names_among(held_values(scope, node)) | _names_among(scope.inputs)
        named |= dict.fromkeys(sorted(own))
        told += [model for model in _readable(node.models) if model.name in own]
    yield from (model for model in told if model.name in named)
    yield from read_model_files(saved.others.get("models"), "models")
    yield from map(ModelFile, named)


def models_of_portable(content: PortableContent) -> Iterator[ModelFile]:
    """What a portable job names, which may lack extensions."""
    if content.checkpoint:
        yield ModelFile(without_hash(content.checkpoint), "checkpoints")
    for lora in split_lora_tags(content)[1]:
        yield ModelFile(lora.name.replace("\\", "/"), "loras")


def _names_among(values: Mapping[str, JsonValue]) -> set[str]:
    return {
        value.replace("\\", "/")
        for value in values.values()
        if isinstance(value, str) and is_model_name(value)
    }


def _readable(told: JsonValue) -> Iterator[ModelFile]:
    for entry in as_list(told):
        with suppress(Rejected):
            yield from read_model_files([entry], "models")
