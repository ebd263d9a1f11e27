"""Training of the tiny model, in about an hour of one CPU.

A latent is no secret of the VAE's here but the picture in small, so that decoder and UNet learn
apart. The text encoder first learns to tell what is wished for, then, together with the UNet, what
that looks like. The usual guidance would still tear the pictures apart, and in the end both learn
to be right under it.
"""

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import diffusers
import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d, cross_entropy, mse_loss

from tiny_model.drawings import COLOURS, SHAPES, SIZES, Placing, Wish, outline
from tiny_model.networks import FACTOR, new_pipeline

library: Any = diffusers
"""diffusers ships annotations for some of its names only."""

SIDES: Final = ((16, 16), (8, 8), (24, 16), (16, 24), (32, 32))
"""Height and width of the latents that are learnt."""
_SIDE_WEIGHTS: Final = (14, 2, 2, 2, 2)
_CELLS: Final = 16 * 16 * 16
"""Of a batch, whose half is without the prompts where guidance is learnt."""
_GUIDANCE: Final = (6.0, 9.0)
"""The least and the greatest that pictures are right under."""
_OUTLINES: Final = 60
"""Of each shape, size and picture's size."""
_ASPECTS: Final = ("shape", "colour", "background", "size")
_PARTS: Final = ((128, 4), (256, 1), (384, 1))
"""Pixels a side of what the VAE sees at once, and how many of them."""
_PART_WEIGHTS: Final = (16, 3, 1)
_MOST_SPREAD: Final = 0.25

Report = Callable[[str], None]
_Bank = Mapping[tuple[str, str, tuple[int, int]], Sequence[torch.Tensor]]
"""How much of each cell is covered, by shape, size and the latent's sides."""


@dataclass(frozen=True)
class TrainingPlan:
    """How long to train."""

    text_steps: int = 400
    decoder_steps: int = 2500
    unet_steps: int = 20500
    guided_steps: int = 20000
    seed: int = 0


def train(out_dir: Path, plan: TrainingPlan, report: Report = print) -> None:
    """Train a new model and write it to `out_dir` in half precision."""
    torch.manual_seed(plan.seed)
    torch.set_flush_denormal(True)
    pipeline = new_pipeline()
    train_text(pipeline, plan, report)
    train_unet(pipeline, plan, report)
    torch.manual_seed(plan.seed)
    train_decoder(pipeline.vae, plan, report)
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(out_dir)


def latents_of(pictures: torch.Tensor) -> torch.Tensor:
    """What the encoder shall make of pictures from -1 to 1."""
    small = avg_pool2d(pictures, FACTOR)
    return torch.cat([small, small.mean(1, keepdim=True)], 1)


def train_decoder(vae: Any, plan: TrainingPlan, report: Report) -> None:
    """Teach the decoder, which repeats cells so far, to draw smooth and sharp outlines."""
    chance = random.Random(plan.seed)
    bank = [
        _tensor(outline(shape, Placing.drawn(chance, size), side, side))
        for side in (384, 512)
        for shape in SHAPES
        for size in SIZES
        for _ in range(6)
    ]
    learner = _Learner([vae.decoder], plan.decoder_steps, rate=4e-4)
    for step in range(plan.decoder_steps):
        part, count = chance.choices(_PARTS, _PART_WEIGHTS)[0]
        pictures = torch.stack([_crop(chance, chance.choice(bank), part) for _ in range(count)])
        latents = latents_of(pictures)
        # what the UNet leaves of the noise shall not be seen
        spread = _MOST_SPREAD * torch.rand(count, 1, 1, 1).square()
        drawn = vae.decoder(latents + spread * torch.randn_like(latents))
        learner.step((drawn - pictures).abs().mean() + mse_loss(drawn, pictures))
        if step % 25 == 0:
            report(f"decoder {step}/{plan.decoder_steps}: {learner.average:.4f}")
    learner.finish()


def train_text(pipeline: Any, plan: TrainingPlan, report: Report) -> None:
    """Teach the text encoder to gather what is wished for in each token after the prompt.

    UNets take long to listen to an encoder that does not speak yet.
    """
    chance = random.Random(plan.seed)
    ways = (SHAPES, tuple(COLOURS), tuple(COLOURS), tuple(SIZES))
    head = torch.nn.Linear(pipeline.text_encoder.config.hidden_size, sum(map(len, ways)))
    learner = _Learner([pipeline.text_encoder, head], plan.text_steps, rate=3e-3)
    for step in range(plan.text_steps):
        wishes = [Wish.drawn(chance) for _ in range(64)]
        tokens = _tokens(pipeline, [wish.prompt for wish in wishes])
        states = pipeline.text_encoder(tokens.input_ids).last_hidden_state
        after = tokens.attention_mask == 0
        guesses = head(states[after]).split([len(way) for way in ways], 1)
        loss = torch.zeros(())
        for way, guess, name in zip(ways, guesses, _ASPECTS, strict=True):
            truth = torch.tensor([way.index(getattr(wish, name)) for wish in wishes])
            loss = loss + cross_entropy(guess, truth[:, None].expand(after.shape)[after])
        learner.step(loss)
        if step % 50 == 0:
            report(f"text {step}/{plan.text_steps}: {learner.average:.4f}")
    learner.finish()


def train_unet(pipeline: Any, plan: TrainingPlan, report: Report) -> None:
    """Teach UNet and text encoder together."""
    chance = random.Random(plan.seed)
    bank = _drawn(chance, SIDES)
    scheduler = library.DDPMScheduler.from_config(pipeline.scheduler.config)
    for guided, steps in ((False, plan.unet_steps), (True, plan.guided_steps)):
        learner = _Learner(
            [pipeline.unet, pipeline.text_encoder], steps, rate=1e-3 if guided else 2e-3
        )
        name = "guided" if guided else "unet"
        for step in range(steps):
            side = chance.choices(SIDES, _SIDE_WEIGHTS)[0]
            cells = side[0] * side[1] * (2 if guided else 1)
            prompts, latents = _batch(chance, bank, side, max(1, _CELLS // cells))
            noise = torch.randn_like(latents)
            times = torch.randint(0, scheduler.config.num_train_timesteps, (len(latents),))
            noisy = scheduler.add_noise(latents, noise, times)
            predict = _guided if guided else _plain
            truth = scheduler.get_velocity(latents, noise, times)
            learner.step(mse_loss(predict(pipeline, noisy, times, prompts), truth))
            if step % 50 == 0:
                report(f"{name} {step}/{steps}: {learner.average:.4f}")
        learner.finish()


def _plain(
    pipeline: Any, noisy: torch.Tensor, times: torch.Tensor, prompts: list[str]
) -> torch.Tensor:
    guess: torch.Tensor = pipeline.unet(noisy, times, _encoded(pipeline, prompts)).sample
    return guess


def _guided(
    pipeline: Any, noisy: torch.Tensor, times: torch.Tensor, prompts: list[str]
) -> torch.Tensor:
    """As pipelines do: the empty prompt's guess, and so many times the way to the prompt's."""
    text = _encoded(pipeline, [*prompts, ""])
    text = torch.cat([text[:-1], text[-1:].expand(len(prompts), -1, -1)])
    both = pipeline.unet(noisy.repeat(2, 1, 1, 1), times.repeat(2), text).sample
    asked, empty = both.chunk(2)
    guidance = torch.empty(len(prompts), 1, 1, 1).uniform_(*_GUIDANCE)
    return torch.as_tensor(empty + guidance * (asked - empty))


class _Learner:
    """Takes the steps; in the end the networks have the running mean of their weights."""

    def __init__(self, networks: Sequence[torch.nn.Module], steps: int, *, rate: float) -> None:
        self._networks = networks
        self._means = [copy.deepcopy(network).requires_grad_(False) for network in networks]
        self._weights = _weights_of(networks)
        self._mean_weights = _weights_of(self._means)
        self._optimizer = torch.optim.AdamW(self._weights, lr=rate, weight_decay=1e-3, fused=True)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: min(1.0, (step + 1) / 50, 2 * (1 - step / steps))
        )
        self._done = 0
        self.average = 0.0
        """Of the loss."""
        for network in networks:
            network.train()

    def step(self, loss: torch.Tensor) -> None:
        """Learn from the loss."""
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimizer.step()
        self._schedule.step()
        self._done += 1
        self.average += (loss.item() - self.average) * max(0.02, 1 / self._done)
        share = 1 - min(0.99, self._done / (self._done + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self._mean_weights, self._weights, share)

    def finish(self) -> None:
        """Give the networks their mean weights."""
        with torch.no_grad():
            for mean, weight in zip(self._mean_weights, self._weights, strict=True):
                weight.copy_(mean)
        for network in self._networks:
            network.eval()


def _weights_of(networks: Sequence[torch.nn.Module]) -> list[torch.Tensor]:
    return [weight for network in networks for weight in network.parameters()]


def drawn_batches(
    chance: random.Random, count: int, side: tuple[int, int] = SIDES[0]
) -> Iterator[tuple[list[str], torch.Tensor]]:
    """So many prompts at a time, and the latents of a picture for each, without end."""
    bank = _drawn(chance, [side])
    while True:
        yield _batch(chance, bank, side, count)


def _drawn(chance: random.Random, sides: Sequence[tuple[int, int]]) -> _Bank:
    return {
        (shape, size, side): [
            _cells(shape, Placing.drawn(chance, size), side) for _ in range(_OUTLINES)
        ]
        for side in sides
        for shape in SHAPES
        for size in SIZES
    }


def _batch(
    chance: random.Random,
    bank: _Bank,
    side: tuple[int, int],
    count: int,
) -> tuple[list[str], torch.Tensor]:
    """Prompts, and the latents of a picture for each."""
    wishes = [Wish.drawn(chance) for _ in range(count)]
    latents = []
    for wish in wishes:
        cells = chance.choice(bank[wish.shape, wish.size, side])
        small = _coloured(cells, wish.colour, wish.background)
        latents.append(torch.cat([small, small.mean(0, keepdim=True)]))
    return [wish.prompt for wish in wishes], torch.stack(latents)


def _encoded(pipeline: Any, prompts: list[str]) -> torch.Tensor:
    states: torch.Tensor = pipeline.text_encoder(_tokens(pipeline, prompts).input_ids)[0]
    return states


def _tokens(pipeline: Any, prompts: list[str]) -> Any:
    return pipeline.tokenizer(
        prompts,
        padding="max_length",
        max_length=pipeline.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )


def _crop(chance: random.Random, mask: torch.Tensor, part: int) -> torch.Tensor:
    """A part of a picture in any two colours, its corner on a cell's."""
    left, top = (FACTOR * chance.randrange((len(mask) - part) // FACTOR + 1) for _ in "xy")
    colour, background = chance.sample(tuple(COLOURS), 2)
    return _coloured(mask[top : top + part, left : left + part], colour, background)


def _cells(shape: str, place: Placing, side: tuple[int, int]) -> torch.Tensor:
    """How much of each cell the shape covers."""
    height, width = side
    full = outline(shape, place, 2 * width, 2 * height)
    return _tensor(full.resize((width, height), Image.Resampling.BOX))


def _coloured(mask: torch.Tensor, colour: str, background: str) -> torch.Tensor:
    front, back = (
        torch.tensor(COLOURS[name]).view(3, 1, 1) / 127.5 - 1 for name in (colour, background)
    )
    return back + mask * (front - back)


def _tensor(mask: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(mask, dtype=np.float32) / 255)
