"""What the fake does with a generation request, under the GPU's lock."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from fastapi import HTTPException
from PIL import Image

from fakes import end_of_process
from fakes.webui import faults_of_jobs, images, naming
from fakes.webui.answers import Json, Made, Used, answer, infotext
from fakes.webui.disk import Checkpoint, Disk, Models
from fakes.webui.engine import Engine
from fakes.webui.models import Extras, ExtraSingleImage, Generation, ImageToImage, TextToImage
from fakes.webui.options import Options
from fakes.webui.recorded import names_in, recorded_scripts

FORGE: Final = "f2.0.1v1.10.1-1.10.1"
KNOWN_TO_EXTENSIONS: Final = frozenset({"controlnet"})
"""Always-on scripts beside those that 1.10.1 brings."""


class OutOfMemoryError(Exception):
    """As torch names it."""


@dataclass(frozen=True)
class Behaviour:
    """How this server is set up and how fast its GPU is."""

    auth: dict[str, str] = field(default_factory=dict)
    api: bool = True
    internal_progress: bool = True
    knows_tasks: bool = True
    """Whether `force_task_id` is heard of; not before 1.8, nor in some forks."""
    ignores_unknown_checkpoints: bool = True
    forge: bool = False
    """Whether it is Forge: with modules in the place of VAEs, and with faults of its own."""
    saved_options: bool = False
    """Whether it once saved its `config.json`, so that all options are set."""
    recorded_disk: bool = False
    step_seconds: float = 0.01
    job_seconds: float | None = None
    load_seconds: float = 0.05
    encode_seconds: float = 0.0
    """Between the end of an extras job and its answer."""
    noise: float = 0.1
    max_pixels: int = 2048 * 2048
    deadly: str | None = None
    """A generation whose prompt holds this text ends the process."""
    models: str | None = None
    """A real folder of models, which is looked into when the lists are refreshed."""


class Generator:
    """Serves generation requests one at a time."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.engine = Engine(behaviour.step_seconds)
        disk = Disk.recorded() if behaviour.recorded_disk else Disk.usual()
        disk.folder = Path(behaviour.models) if behaviour.models else None
        self.models = Models(disk)
        self.options = Options(
            self.models.loaded.title,
            saved=behaviour.saved_options,
            modules=[str(one["model_name"]) for one in self.models.vaes]
            if behaviour.forge
            else None,
        )

    async def generate(self, asked: Generation, route: str) -> Json:
        if isinstance(asked, ImageToImage):
            if asked.init_images is None:
                raise HTTPException(404, "Init image not found")
            if asked.mask:
                images.decode(asked.mask)
        if self.behaviour.forge:
            faults_of_jobs.check_by_forge(asked)
        self._apply_infotext(asked)
        _check_scripts(asked)
        maps = _detected_maps(asked)
        task = asked.force_task_id if self.behaviour.knows_tasks else None
        task = task or f"task({route}-{random.getrandbits(60):x})"
        async with self.engine.turn(task, route, str(asked.prompt)) as run:
            sources = _sources(asked)
            with self.engine.job(run, f"scripts_{route}", _job_count(asked)):
                await self._suffer()
                if self.behaviour.deadly is not None and self.behaviour.deadly in str(asked.prompt):
                    end_of_process()
                async with self._overridden(asked):
                    run.checkpoint = self.models.loaded.name
                    used, made = await self._process(asked, sources)
                    grid = self._grid(asked, made)
                run.images = sum(one.image is not None for one in made)
        extra = [images.encode(image, str(self.options["samples_format"])) for image in maps]
        return await asyncio.to_thread(self._answer, asked, used, made, grid, extra)

    async def extras(self, asked: Extras, sources: list[str]) -> tuple[list[str], str]:
        """The upscaled images, as base64, and words about them."""
        for name in (asked.upscaler_1, asked.upscaler_2):
            assert name in names_in("lists", "upscalers"), f"could not find upscaler named {name}"
        opened = [images.decode(source) for source in sources]
        results, text = [], ""
        async with self.engine.turn(None, "extras", "") as run:
            with self.engine.job(run, "extras", len(opened)):
                self.engine.state.job = "Upscale"
                await self._suffer()
                for image in opened:
                    self.engine.next_job()
                    self.engine.textinfo = None if isinstance(asked, ExtraSingleImage) else ""
                    if self.engine.state.interrupted:
                        break
                    await self._upscaling()
                    made, text = _upscaled(image, asked)
                    results.append(made)
                run.images = len(results)
        await asyncio.sleep(self.behaviour.encode_seconds)  # the lock is free, the state idle
        form = str(self.options["samples_format"])
        return [images.encode(one, form, text, key="postprocessing") for one in results], text

    async def load(self, checkpoint: Checkpoint | None) -> None:
        """Put the checkpoint into memory, if it is not there."""
        if checkpoint is not None and checkpoint is not self.models.loaded:
            await asyncio.sleep(self.behaviour.load_seconds)
            self.models.loaded = checkpoint

    def _steps(self, asked: int) -> int:
        if self.behaviour.job_seconds is None:
            return asked
        return max(1, round(self.behaviour.job_seconds / self.behaviour.step_seconds))

    async def _upscaling(self) -> None:
        """Without steps that the state would show; `sampling_steps` stays the last job's."""
        state = self.engine.state
        before, number = state.sampling_steps, state.job_no
        await self.engine.sample(self._steps(4))
        state.sampling_steps, state.sampling_step, state.job_no = before, 0, number

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

    @asynccontextmanager
    async def _overridden(self, asked: Generation) -> AsyncIterator[None]:
        """`process_images`: what is set is restored, what was not set stays as the job left it."""
        settings = dict(asked.override_settings or {})
        options = self.options
        wanted = settings.get("sd_model_checkpoint")
        if wanted is not None and self.models.find(wanted) is None:
            if not self.behaviour.ignores_unknown_checkpoints:
                raise RuntimeError(f"model {wanted!r} not found")
            del settings["sd_model_checkpoint"]
        stored = {name: options.data[name] for name in settings if name in options.data}
        try:
            for name, value in settings.items():
                options.set(name, value)
            await self.load(self.models.find(options["sd_model_checkpoint"]))
            yield
        finally:
            if asked.override_settings_restore_afterwards:
                options.data.update(stored)

    async def _process(self, asked: Generation, sources: list[str]) -> tuple[Used, list[Made]]:
        faults_of_jobs.check_numbers(asked)
        faults_of_jobs.check_options(self.options)
        size = (asked.width or 0) // 8 * 8, (asked.height or 0) // 8 * 8
        if size[0] * size[1] * (asked.batch_size or 1) > self.behaviour.max_pixels:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        used = self._used(asked)
        if isinstance(asked, TextToImage) and asked.enable_hr:
            size = _hires_size(asked)
        made: list[Made] = []
        for prompts in _prompts(asked, used):
            made += await self._sample(asked, used, prompts, size, sources)
        return used, made

    def _used(self, asked: Generation) -> Used:
        sampler, schedule = naming.sampler_and_schedule(
            asked.sampler_name or asked.sampler_index, asked.scheduler
        )
        prompt, negative = naming.styled(
            str(asked.prompt), str(asked.negative_prompt), asked.styles or [], self.models
        )
        _, hashes = naming.networks(prompt, self.models)
        extra: Json = {}
        if schedule != "Automatic":
            extra["Schedule type"] = schedule
        if asked.refiner_checkpoint not in (None, "", "None", "none") and asked.refiner_switch_at:
            found = naming.refiner(str(asked.refiner_checkpoint), self.models)
            extra["Refiner"] = f"{found.model_name} [{found.short}]"
            extra["Refiner switch at"] = asked.refiner_switch_at
        extra |= _extra_of_route(asked)
        if hashes:
            extra["Lora hashes"] = hashes
        embeddings = self.models.disk.embeddings.get("loaded")
        if isinstance(embeddings, dict) and any(word in prompt for word in embeddings):
            extra["TI hashes"] = "tiny-word: f568ea900cb6"
        vae = self.options["sd_vae"]
        known = {one["model_name"] for one in self.models.vaes}
        return Used(
            prompt,
            negative,
            sampler,
            schedule,
            self.models.loaded,
            int(str(self.options["CLIP_stop_at_last_layers"]).partition(".")[0]),
            bool(self.options["tiling"] if asked.tiling is None else asked.tiling),
            bool(asked.restore_faces),
            self.options["face_restoration_model"],
            str(vae) if vae in known and not self.behaviour.forge else None,
            extra,
            FORGE if self.behaviour.forge else "1.10.1",
        )

    async def _sample(
        self,
        asked: Generation,
        used: Used,
        prompt: str,
        size: tuple[int, int],
        sources: list[str],
    ) -> list[Made]:
        """An interrupted batch comes half-done, and the others not at all."""
        engine = self.engine
        drawn = asked.seed is None or asked.seed < 0
        seed = random.getrandbits(32) if drawn else int(asked.seed or 0)
        subseed = asked.subseed if asked.subseed not in (None, -1) else random.getrandbits(32)
        batch_size, n_iter = int(asked.batch_size or 1), int(asked.n_iter or 1)
        made = []
        for batch in range(n_iter):
            engine.state.skipped = False
            ended = engine.state.interrupted or engine.state.stopping_generation
            if n_iter > 1 and not ended:
                engine.state.job = f"Batch {batch + 1} out of {n_iter}"
            steps = self._steps(int(asked.steps or 1))
            done = 0 if ended else await self._passes(asked, steps)
            for place in range(batch_size):
                own = seed + batch * batch_size + place
                under = int(subseed or 0) + batch * batch_size + place
                subject = self._subject(asked, used, prompt, own, sources)
                subject += f"|{done}/{steps}" if done < steps else ""
                text = infotext(asked, used, prompt, own, under)
                made.append(Made(own, under, text, prompt))
                if not ended:
                    noise = self.behaviour.noise
                    made[-1].image = images.render(subject, *size, noise=noise)
            if not ended:
                engine.next_job()
        return made

    async def _passes(self, asked: Generation, steps: int) -> int:
        """How many steps were done of the last pass, of one or two."""
        if isinstance(asked, TextToImage) and asked.enable_hr:
            await self.engine.sample(steps)
            self.engine.next_job()
        return await self.engine.sample(steps)

    def _subject(
        self, asked: Generation, used: Used, prompt: str, seed: int, sources: list[str]
    ) -> str:
        """All that changes the image, and nothing else."""
        files, _ = naming.networks(prompt, self.models)
        parts: list[Any] = [prompt, used.negative_prompt, seed, used.checkpoint.name, sources]
        parts += [asked.steps, asked.cfg_scale, used.sampler, used.schedule, used.tiling, used.vae]
        parts += [asked.denoising_strength, asked.subseed_strength, files, used.extra]
        parts += [self.options.that_change_images()]
        return "|".join(map(str, parts))

    def _grid(self, asked: Generation, made: list[Made]) -> Image.Image | None:
        there = [one.image for one in made if one.image is not None]
        if asked.script_name is not None:
            return images.grid_of(there, margin=(48, 8))
        if len(made) > 1 and asked.save_images and self.options["return_grid"]:
            return images.grid_of(there)
        return None

    def _answer(
        self,
        asked: Generation,
        used: Used,
        made: list[Made],
        grid: Image.Image | None,
        maps: list[str],
    ) -> Json:
        found = answer(asked, used, made, grid, self.options)
        shown = found["images"]
        assert isinstance(shown, list)
        shown += maps
        return found

    def _apply_infotext(self, asked: Generation) -> None:
        """`Api.apply_infotext`: it fills what is absent, and overrides settings."""
        if not asked.infotext:
            return
        fields = naming.infotext_fields(asked.infotext)
        named = {
            "Negative prompt": ("negative_prompt", str),
            "Sampler": ("sampler_name", str),
            "CFG scale": ("cfg_scale", float),
            "Steps": ("steps", int),
            "Seed": ("seed", int),
        }
        for label, (name, kind) in named.items():
            if label in fields and name not in asked.model_fields_set:
                setattr(asked, name, kind(fields[label]))
        asked.scheduler = asked.scheduler or "Automatic"
        if isinstance(asked, TextToImage):
            asked.hr_checkpoint_name = asked.hr_checkpoint_name or "Use same checkpoint"
            asked.hr_sampler_name = asked.hr_sampler_name or "Use same sampler"
            asked.hr_scheduler = asked.hr_scheduler or "Use same scheduler"
        settings = dict(asked.override_settings or {})
        layers = int(fields.get("Clip skip", 1))
        if layers != self.options["CLIP_stop_at_last_layers"]:  # as it is now, whoever runs
            settings.setdefault("CLIP_stop_at_last_layers", layers)
        asked.override_settings = settings


def _job_count(asked: Generation) -> int:
    passes = 2 if isinstance(asked, TextToImage) and asked.enable_hr else 1
    return passes * (asked.n_iter or 1)


def _extra_of_route(asked: Generation) -> Json:
    if isinstance(asked, ImageToImage):
        extra: Json = {"Denoising strength": asked.denoising_strength}
        if asked.mask:
            extra |= {"Mask blur": asked.mask_blur if asked.mask_blur is not None else 4}
            if asked.inpaint_full_res:
                extra |= {
                    "Inpaint area": "Only masked",
                    "Masked area padding": asked.inpaint_full_res_padding,
                }
            if asked.inpainting_fill != 1:
                names = {0: "fill", 2: "latent noise", 3: "latent nothing"}
                extra |= {"Masked content": names[asked.inpainting_fill or 0]}
        return extra
    if isinstance(asked, TextToImage) and asked.enable_hr:
        return {
            "Denoising strength": asked.denoising_strength,
            "Hires prompt": None,
            "Hires negative prompt": None,
            "Hires schedule type": None,
            "Hires upscale": asked.hr_scale,
            "Hires upscaler": asked.hr_upscaler,
        }
    return {}


def _hires_size(asked: TextToImage) -> tuple[int, int]:
    if asked.hr_resize_x and asked.hr_resize_y:
        return asked.hr_resize_x // 8 * 8, asked.hr_resize_y // 8 * 8
    scale = asked.hr_scale or 1
    return int((asked.width or 0) * scale) // 8 * 8, int((asked.height or 0) * scale) // 8 * 8


def _prompts(asked: Generation, used: Used) -> list[str]:
    """One, or those of the script Prompt matrix."""
    if asked.script_name is None:
        return [used.prompt]
    first, *others = (part.strip() for part in used.prompt.split("|"))
    chosen = [few for size in range(len(others) + 1) for few in combinations(others, size)]
    order = {text: number for number, text in enumerate(others)}
    chosen.sort(key=lambda few: sum(1 << order[text] for text in few))
    return [", ".join((first, *few)) for few in chosen]


def _upscaled(image: Image.Image, asked: Extras) -> tuple[Image.Image, str]:
    words = []
    size = image.size
    if asked.upscaler_1 != "None":
        if asked.resize_mode == 1:
            wanted = asked.upscaling_resize_w, asked.upscaling_resize_h
            scale = max(wanted[0] / size[0], wanted[1] / size[1])
            words.append(f"Postprocess upscale to: {wanted[0]}x{wanted[1]}")
            size = round(size[0] * scale), round(size[1] * scale)
            if asked.upscaling_crop:
                size = wanted
                words.append(f"Postprocess crop to: {wanted[0]}x{wanted[1]}")
        else:
            words.append(f"Postprocess upscale by: {float(asked.upscaling_resize)}")
            size = int(size[0] * asked.upscaling_resize), int(size[1] * asked.upscaling_resize)
        words.append(f"Postprocess upscaler: {asked.upscaler_1}")
        if asked.upscaler_2 != "None":
            words.append(f"Postprocess upscaler 2: {asked.upscaler_2}")
    if asked.gfpgan_visibility:
        words.append(f"GFPGAN visibility: {float(asked.gfpgan_visibility)}")
    return image.resize((max(1, size[0]), max(1, size[1]))), ", ".join(words)


def _check_scripts(asked: Generation) -> None:
    img2img = isinstance(asked, ImageToImage)
    known = {entry["name"]: entry for entry in recorded_scripts() if entry["is_img2img"] == img2img}
    if asked.script_name is not None:
        script = known.get(asked.script_name.lower())
        if script is None or script["is_alwayson"]:
            raise HTTPException(422, f"Script '{asked.script_name}' not found")
        if not asked.script_args:
            raise ValueError("Unknown prompt type start")
    for name in asked.alwayson_scripts:
        if name.lower() in KNOWN_TO_EXTENSIONS:
            continue
        if name.lower() not in known:
            raise HTTPException(422, f"Script '{name}' not found")
        if not known[name.lower()]["is_alwayson"]:
            words = "Cannot have a selectable script in the always on scripts params"
            raise HTTPException(422, words)


def _sources(asked: Generation) -> list[str]:
    """Digests of the input images, after looking at them as the real server does."""
    if not isinstance(asked, ImageToImage):
        return []
    given = [str(one) for one in asked.init_images or []] + [asked.mask] * bool(asked.mask)
    opened = [images.decode(str(image)) for image in given]
    faults_of_jobs.check_init_images(asked)
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in opened]


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
