"""What the fake does with a generation request, under the GPU's lock."""

import asyncio
import hashlib
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastapi import HTTPException
from PIL import Image
from pydantic import JsonValue

from fakes import end_of_process
from fakes.webui import images
from fakes.webui.engine import Engine
from fakes.webui.models import Extras, Generation, ImageToImage

SAMPLERS: Final = ("Euler", "Euler a", "DPM++ 2M", "DPM++ SDE", "DDIM", "LMS", "Heun")
UPSCALERS: Final = ("None", "Lanczos", "Nearest", "R-ESRGAN 4x+", "ESRGAN_4x")
ALWAYS_ON_SCRIPTS: Final = frozenset({"controlnet", "seed", "refiner", "sampler"})


class OutOfMemoryError(Exception):
    """As torch names it."""


@dataclass(frozen=True)
class Behaviour:
    """How this server is set up and how fast its GPU is."""

    auth: dict[str, str] = field(default_factory=dict)
    api: bool = True
    internal_progress: bool = True
    names_current_task: bool = True
    ignores_unknown_checkpoints: bool = True
    step_seconds: float = 0.01
    job_seconds: float | None = None
    load_seconds: float = 0.05
    noise: float = 0.1
    max_pixels: int = 2048 * 2048
    deadly: str | None = None
    """A generation whose prompt holds this text ends the process."""
    models: str | None = None
    """A real folder of models, which is looked into when the lists are refreshed."""


@dataclass
class Checkpoint:
    """A file in the folder of models."""

    name: str
    sha256: str

    @property
    def short(self) -> str:
        return self.sha256[:10]

    def listing(self) -> dict[str, JsonValue]:
        return {
            "title": f"{self.name} [{self.short}]",
            "model_name": self.name.rpartition(".")[0],
            "hash": self.short,
            "sha256": self.sha256,
            "filename": f"/models/Stable-diffusion/{self.name}",
            "config": None,
        }

    @property
    def aliases(self) -> set[JsonValue]:
        listing = self.listing()
        return {self.name, *(listing[key] for key in ("title", "model_name", "hash", "sha256"))}


def checkpoint_file(name: str) -> Checkpoint:
    return Checkpoint(name, hashlib.sha256(name.encode()).hexdigest())


@dataclass
class Models:
    """The checkpoints: those on the disk, those listed, and the one in memory."""

    on_disk: list[Checkpoint]
    listed: list[Checkpoint]
    loaded: Checkpoint

    folder: Path | None = None
    loras: list[Path] = field(default_factory=list)
    vaes: list[Path] = field(default_factory=list)

    def refresh_checkpoints(self) -> None:
        found = (checkpoint_file(path.name) for path in self._files("Stable-diffusion"))
        self.listed = [*self.on_disk, *found]

    def refresh_loras(self) -> None:
        self.loras = self._files("Lora")

    def refresh_vaes(self) -> None:
        self.vaes = self._files("VAE")

    def _files(self, kind: str) -> list[Path]:
        return sorted((self.folder / kind).rglob("*.safetensors")) if self.folder else []

    def find(self, name: JsonValue) -> Checkpoint | None:
        return next((found for found in self.listed if name in found.aliases), None)


class Generator:
    """Serves generation requests one at a time."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.engine = Engine(behaviour.step_seconds)
        files = [checkpoint_file("v1-5.safetensors"), checkpoint_file("dreamy.safetensors")]
        folder = Path(behaviour.models) if behaviour.models else None
        self.models = Models(files, list(files), files[0], folder)
        self.options: dict[str, JsonValue] = {
            "samples_format": "png",
            "return_grid": True,
            "control_net_no_detectmap": False,
            "sd_model_checkpoint": files[0].listing()["title"],
            "sd_vae": "Automatic",
        }

    async def generate(self, asked: Generation, route: str) -> dict[str, JsonValue]:
        sampler = asked.sampler_name or asked.sampler_index
        if sampler not in SAMPLERS:
            raise HTTPException(404, "Sampler not found")
        _check_scripts(asked)
        sources = _sources(asked)
        maps = _detected_maps(asked)
        task = asked.force_task_id or f"task({route}-{random.getrandbits(60):x})"
        async with self.engine.turn(task, route, asked.prompt) as run:
            await self._suffer()
            if self.behaviour.deadly is not None and self.behaviour.deadly in asked.prompt:
                end_of_process()
            if asked.width * asked.height * asked.batch_size > self.behaviour.max_pixels:
                raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            await self._override(asked)
            made = await self._sample(asked, sampler, sources)
            run.images = len(made)
        return await asyncio.to_thread(self._answer, asked, made, maps)

    async def extras(self, asked: Extras, route: str, sources: list[str]) -> list[str]:
        """The upscaled images, as base64."""
        if {asked.upscaler_1, asked.upscaler_2} - set(UPSCALERS):
            raise HTTPException(500, f"could not find upscaler named {asked.upscaler_1}")
        opened = [images.decode(source) for source in sources]
        async with self.engine.turn(None, route, "") as run:
            await self._suffer()
            results = []
            for image in opened:
                await self.engine.sample(self._steps(4))
                size = [max(1, round(side * asked.upscaling_resize)) for side in image.size]
                results.append(image.resize((size[0], size[1])))
            run.images = len(results)
            return [images.encode(image, self._format) for image in results]

    @property
    def _format(self) -> str:
        return str(self.options["samples_format"])

    def _steps(self, asked: int) -> int:
        if self.behaviour.job_seconds is None:
            return asked
        return max(1, round(self.behaviour.job_seconds / self.behaviour.step_seconds))

    async def _suffer(self) -> None:
        fault = self.engine.take_fault("status", "out_of_memory", "hang", "cuda")
        if self.engine.broken or (fault is not None and fault.kind == "cuda"):
            self.engine.broken = True
            raise RuntimeError("CUDA error: device-side assert triggered\n")
        if fault is None:
            return
        if fault.kind == "hang":
            await asyncio.Event().wait()
        if fault.kind == "out_of_memory":
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        raise HTTPException(fault.status, fault.body)

    async def _override(self, asked: Generation) -> None:
        settings = dict(asked.override_settings or {})
        wanted = settings.pop("sd_model_checkpoint", None)
        found = self.models.find(wanted) if wanted else None
        if wanted and found is None and not self.behaviour.ignores_unknown_checkpoints:
            raise RuntimeError(f"model {wanted!r} not found")
        await self.load(found or self.models.find(self.options["sd_model_checkpoint"]))
        if not asked.override_settings_restore_afterwards:
            self.options.update(settings)
            self.options["sd_model_checkpoint"] = self.models.loaded.listing()["title"]

    async def load(self, checkpoint: Checkpoint | None) -> None:
        """Put the checkpoint into memory, if it is not there."""
        if checkpoint is not None and checkpoint is not self.models.loaded:
            await asyncio.sleep(self.behaviour.load_seconds)
            self.models.loaded = checkpoint

    async def _sample(
        self, asked: Generation, sampler: str, sources: list[str]
    ) -> list[tuple[Image.Image, int, str]]:
        """Image, seed and infotext of each; an interrupted batch comes half-done."""
        seed = asked.seed if asked.seed >= 0 else random.getrandbits(32)
        made = []
        self.engine.state.job_count = asked.n_iter
        for batch in range(asked.n_iter):
            if self.engine.state.interrupted and batch:
                break
            self.engine.state.job_no = batch
            steps = self._steps(asked.steps)
            done = await self.engine.sample(steps)
            for place in range(asked.batch_size):
                own = seed + batch * asked.batch_size + place
                model = self.models.loaded
                subject = f"{asked.prompt}|{asked.negative_prompt}|{own}|{model.name}|{sources}"
                subject += f"|{asked.steps}|{done}/{steps}"
                infotext = (
                    f"{asked.prompt}\nSteps: {asked.steps}, Sampler: {sampler}, "
                    f"CFG scale: {asked.cfg_scale}, Seed: {own}, "
                    f"Size: {asked.width}x{asked.height}, Model hash: {model.short}"
                )
                image = images.render(
                    subject, asked.width, asked.height, noise=self.behaviour.noise
                )
                made.append((image, own, infotext))
        return made

    def _answer(
        self,
        asked: Generation,
        made: list[tuple[Image.Image, int, str]],
        maps: list[Image.Image],
    ) -> dict[str, JsonValue]:
        infotexts = [infotext for _, _, infotext in made]
        encoded = [images.encode(image, self._format, text) for image, _, text in made]
        first = 0
        if len(made) > 1 and asked.save_images and self.options["return_grid"]:
            first = 1
            grid = images.grid_of([image for image, _, _ in made])
            encoded.insert(0, images.encode(grid, self._format, infotexts[0]))
            infotexts.insert(0, infotexts[0])
        if not self.options["control_net_no_detectmap"]:
            encoded += [images.encode(image, self._format) for image in maps]
        seeds = [seed for _, seed, _ in made]
        info = {
            "prompt": asked.prompt,
            "all_prompts": [asked.prompt] * len(made),
            "negative_prompt": asked.negative_prompt,
            "seed": seeds[0] if seeds else asked.seed,
            "all_seeds": seeds,
            "subseed": asked.subseed,
            "all_subseeds": [asked.subseed] * len(made),
            "width": asked.width,
            "height": asked.height,
            "steps": asked.steps,
            "batch_size": asked.batch_size,
            "sd_model_name": self.models.loaded.listing()["model_name"],
            "sd_model_hash": self.models.loaded.short,
            "index_of_first_image": first,
            "infotexts": infotexts,
        }
        parameters = asked.model_dump(mode="json")
        if isinstance(asked, ImageToImage) and not asked.include_init_images:
            parameters.update(init_images=None, mask=None)
        shown: list[JsonValue] = [*encoded] if asked.send_images else []
        return {"images": shown, "parameters": parameters, "info": json.dumps(info)}


def _check_scripts(asked: Generation) -> None:
    if asked.script_name:
        raise HTTPException(422, f"Script '{asked.script_name}' not found")
    for name in asked.alwayson_scripts:
        if name.lower() not in ALWAYS_ON_SCRIPTS:
            raise HTTPException(422, f"always on script {name} not found")


def _sources(asked: Generation) -> list[str]:
    """Digests of the input images, after looking at them as the real server does."""
    if not isinstance(asked, ImageToImage):
        return []
    if not asked.init_images:
        raise HTTPException(404, "Init image not found")
    given = [*asked.init_images, *([asked.mask] if asked.mask else [])]
    return [hashlib.sha256(images.decode(image).tobytes()).hexdigest() for image in given]


def _detected_maps(asked: Generation) -> list[Image.Image]:
    found = []
    for name, script in asked.alwayson_scripts.items():
        units = script.get("args") if isinstance(script, dict) else None
        if name.lower() != "controlnet" or not isinstance(units, list):
            continue
        for unit in units:
            if not isinstance(unit, dict) or not unit.get("enabled", True):
                continue
            for key in ("image", "input_image"):
                source = unit.get(key)
                if isinstance(source, dict):
                    source = source.get("image")
                if isinstance(source, str):
                    found.append(images.decode(source).convert("L").convert("RGB"))
    return found
