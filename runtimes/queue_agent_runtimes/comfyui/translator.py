"""Portable jobs on their way to a workflow: what has to be asked of the server first."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from queue_agent.media.facts import UnreadableImage, facts_of
from queue_agent.runtime import Asset, Assets, Reference, is_url
from queue_agent.runtime.images import image_asset
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.portable import Lora, PortableContent
from queue_agent.wire.video_and_mesh import MeshContent, VideoContent
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.builder import (
    Ingredients,
    Recipe,
    build_generation,
    build_upscaling,
    needs_upscaling_model,
    split_lora_tags,
)
from queue_agent_runtimes.comfyui.names import match_file, match_upscaler
from queue_agent_runtimes.comfyui.operator_portable import MODEL, not_taken, portable_inputs
from queue_agent_runtimes.comfyui.operator_video import images_of, video_inputs
from queue_agent_runtimes.comfyui.operator_workflow import OperatorWorkflow
from queue_agent_runtimes.comfyui.uploads import Uploads
from queue_agent_runtimes.comfyui.workflow import Workflow, class_of, folder_of

UPSCALING: Final = "extra-single-image"
IMAGE_TO_IMAGE: Final = "image-to-image"
TEXT_TO_IMAGE: Final = "text-to-image"
PORTABLE_TASKS: Final = frozenset({UPSCALING, IMAGE_TO_IMAGE, TEXT_TO_IMAGE})

_USED_ONLY_BY: Final = {
    "init_images": IMAGE_TO_IMAGE,
    "mask": IMAGE_TO_IMAGE,
    "image": UPSCALING,
}
IMAGE_FIELDS: Final = frozenset(_USED_ONLY_BY)
"""Those of portable jobs; what they hold is fetched, decoded or not used, never sent."""


def find_portable_references(content: PortableContent, task_type: str) -> Iterator[Reference]:
    """The image fields of the task that hold a URL."""
    if task_type == UPSCALING and content.image and is_url(content.image):
        yield Reference(content.image, ("image",))
    if task_type == IMAGE_TO_IMAGE:
        if content.init_images and is_url(content.init_images[0]):
            yield Reference(content.init_images[0], ("init_images", 0))
        if content.mask and is_url(content.mask):
            yield Reference(content.mask, ("mask",))


class Translator:
    """Turns portable content into a workflow with the server's own file names."""

    def __init__(self, api: ComfyUIApi, *, switch_models: bool) -> None:
        self._api = api
        self._switch_models = switch_models
        self._known_files: dict[tuple[str, str], list[str]] = {}

    def forget_files(self) -> None:
        """Ask the server anew which it has."""
        self._known_files.clear()

    async def recipe(
        self,
        content: PortableContent,
        task_type: str,
        *,
        assets: Assets,
        uploads: Uploads,
        random_seed: int,
    ) -> Recipe:
        """The workflow for the job, its inputs uploaded.

        Raises:
            Rejected: an image that the task needs is missing or unreadable.
        """
        if task_type == UPSCALING:
            recipe = await self._upscaling(content, assets, uploads)
        else:
            recipe = await self._generation(content, task_type, assets, uploads, random_seed)
        recipe.warnings += [
            f"{name}: has no counterpart in ComfyUI" for name in content.unknown_fields
        ]
        recipe.warnings += _images_without_effect(content, task_type)
        return recipe

    async def filled(
        self,
        own: OperatorWorkflow,
        content: PortableContent | VideoContent | MeshContent,
        task_type: str,
        *,
        assets: Assets,
        uploads: Uploads,
        random_seed: int,
    ) -> Workflow:
        """The operator's workflow as the answer to the job, its files uploaded.

        Raises:
            Rejected: an image that the task needs is missing, or an input of the workflow.
        """
        if isinstance(content, PortableContent):
            portable, images = portable_inputs(own, content), [*_images(content, task_type)]
        else:
            portable, images = video_inputs(own, content), [*images_of(content)]
        given, warnings = dict(portable.inputs), list(portable.warnings)
        for name, value, field in images:
            if name in own.inputs:
                node_id, _ = own.inputs[name].targets[0]
                given[name] = await uploads.put(
                    image_asset(value, assets, field=field),
                    folder=folder_of(class_of(own.graph[node_id])),
                )
            else:
                warnings.append(not_taken(own, name))
        if isinstance(content, PortableContent):
            warnings += _images_without_effect(content, task_type)
        if task_type in {IMAGE_TO_IMAGE, UPSCALING} and "image" not in given:
            raise Rejected(f"The image that {task_type} needs is missing.", type="invalid_content")
        asked = given.get(MODEL)
        if isinstance(asked, str):
            if self._switch_models:
                node_id, input_name = own.inputs[MODEL].targets[0]
                node_class = class_of(own.graph[node_id])
                given[MODEL] = await self._file(node_class, input_name, asked, match_file)
            else:
                del given[MODEL]
                warnings.append(f"model: switching models is turned off; {own.name} has its own")
        workflow = own.filled(given, random_seed=random_seed)
        return replace(workflow, warnings=tuple(warnings))

    async def _generation(
        self,
        content: PortableContent,
        task_type: str,
        assets: Assets,
        uploads: Uploads,
        random_seed: int,
    ) -> Recipe:
        warnings: list[str] = []
        init_image = mask = None
        if task_type == IMAGE_TO_IMAGE:
            init_image = await _upload_needed(content, assets, uploads)
            if content.mask:
                mask = await uploads.put(image_asset(content.mask, assets, field="mask"))
        _, loras = split_lora_tags(content)
        ingredients = Ingredients(
            checkpoint=await self._checkpoint(content, warnings),
            loras=tuple([await self._lora(lora) for lora in loras]),
            seed=random_seed if content.seed < 0 else content.seed,
            init_image=init_image,
            mask=mask,
        )
        recipe = build_generation(content, ingredients)
        recipe.warnings += warnings
        return recipe

    async def _upscaling(
        self, content: PortableContent, assets: Assets, uploads: Uploads
    ) -> Recipe:
        if not content.image:
            raise Rejected("image: the image to upscale is missing.", type="invalid_content")
        asset = image_asset(content.image, assets, field="image")
        size = await asyncio.to_thread(_image_size, asset)
        upscaler = None
        if needs_upscaling_model(content):
            upscaler = await self._file(
                "UpscaleModelLoader", "model_name", content.upscaler_1, match_upscaler
            )
        image = await uploads.put(asset)
        return build_upscaling(
            content, Ingredients(upscaler=upscaler, image=image, image_size=size)
        )

    async def _checkpoint(self, content: PortableContent, warnings: list[str]) -> str:
        asked = content.checkpoint
        if asked and self._switch_models:
            return await self._file("CheckpointLoaderSimple", "ckpt_name", asked, match_file)
        checkpoints = await self._files("CheckpointLoaderSimple", "ckpt_name")
        if not checkpoints:
            checkpoints = await self._files("CheckpointLoaderSimple", "ckpt_name", fresh=True)
        if not checkpoints:
            raise Unavailable("ComfyUI has no checkpoint.", type="model_missing")
        if asked and match_file(asked, checkpoints[:1]) is None:
            warnings.append(
                f"model: switching models is turned off; {checkpoints[0]} was used, not {asked}"
            )
        return checkpoints[0]

    async def _lora(self, lora: Lora) -> Lora:
        file = await self._file("LoraLoader", "lora_name", lora.name, match_file)
        return Lora(name=file, weight=lora.weight)

    async def _file(
        self,
        node_class: str,
        input_name: str,
        name: str,
        match: Callable[[str, Sequence[str]], str | None],
    ) -> str:
        """The server's file of that name; the name itself where it has none, to be refused."""
        found = match(name, await self._files(node_class, input_name))
        if found is None:
            found = match(name, await self._files(node_class, input_name, fresh=True))
        return found or name

    async def _files(self, node_class: str, input_name: str, *, fresh: bool = False) -> list[str]:
        key = (node_class, input_name)
        if fresh or key not in self._known_files:
            self._known_files[key] = await self._api.choices(node_class, input_name)
        return self._known_files[key]


async def _upload_needed(content: PortableContent, assets: Assets, uploads: Uploads) -> str:
    if not content.init_images:
        raise Rejected("init_images: an image to start from is missing.", type="invalid_content")
    return await uploads.put(image_asset(content.init_images[0], assets, field="init_images.0"))


def _image_size(asset: Asset) -> tuple[int, int]:
    try:
        found = facts_of(asset)
    except UnreadableImage as error:
        raise Rejected(f"image: {error}.", type="invalid_content") from error
    if found.width is None or found.height is None:
        raise Rejected(
            f"image: is no image that is read ({found.media_type}).", type="invalid_content"
        )
    return found.width, found.height


def _images(content: PortableContent, task_type: str) -> Iterator[tuple[str, str, str]]:
    """The images of the task: the input of a workflow, what is given, and the field's name."""
    if task_type == UPSCALING and content.image:
        yield "image", content.image, "image"
    if task_type == IMAGE_TO_IMAGE:
        if content.init_images:
            yield "image", content.init_images[0], "init_images.0"
        if content.mask:
            yield "mask", content.mask, "mask"


def _images_without_effect(content: PortableContent, task_type: str) -> list[str]:
    warnings = []
    for name, task in _USED_ONLY_BY.items():
        if getattr(content, name) and task != task_type:
            warnings.append(f"{name}: has no effect on {task_type}")
    if task_type == IMAGE_TO_IMAGE and len(content.init_images) > 1:
        warnings.append("init_images: only the first image was used")
    return warnings
