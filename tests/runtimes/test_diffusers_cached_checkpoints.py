"""Jobs whose steps reuse earlier ones are gone on with to the same pictures, too.

What a First-Block-Cache keeps is as large as dozens of predictions. It is not in a checkpoint: the
one pass that it came by is made again, and answered by the prediction that was kept.
"""

import json
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from diffusers_servers import engine_with
from harness import PATIENCE
from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.checkpoint import CheckpointUnusable, read_head
from queue_agent_diffusers.engine.jobs import Preview, Step
from queue_agent_diffusers.engine.quality import QualityPolicy
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import RequestCancelled
from step_batches import TOLERANCE

SIMPLE = ImageRequest("a cat", seed=7, width=32, height=32, steps=8)
THRESHOLDS = {"Flux": 0.3, "Flux.2": 1.1, "Qwen-Image": 0.4, "PixArt": 0.2}
"""At which tiny transformers of random weights leave out some steps and take some."""
GUIDED = replace(SIMPLE, negative_prompt="a dog", true_cfg_scale=4.0)
"""Two questions in each step, each with a cache of its own."""


def caching_model(name: str, policy: QualityPolicy | None = None) -> Any:
    from queue_agent_diffusers.torch.architectures import architecture_of  # noqa: PLC0415
    from queue_agent_diffusers.torch.transformer import TransformerModel  # noqa: PLC0415
    from tiny_transformers import tiny_transformer  # noqa: PLC0415  loads torch

    pipeline = tiny_transformer(name)
    found = architecture_of(pipeline)
    assert found is not None
    found = replace(found, blocks=replace(found.blocks, threshold=THRESHOLDS[name]))
    return TransformerModel(pipeline, found, max_batch=8, quality=policy)


class Run:
    """One image of a model, pass by pass."""

    def __init__(self, model: Any, request: ImageRequest, checkpoint: bytes | None = None) -> None:
        self.model, self.request = model, request
        self.samples = model.begin(request, lambda _, __: None)
        self.passes = 0
        if checkpoint is not None:
            model.restore(request, self.samples, checkpoint)

    @property
    def sample(self) -> Any:
        return self.samples[0]

    def start(self) -> "Run":
        self.sample.start()
        return self

    def go_on(self, passes: int = 1000, company: Sequence["Run"] = ()) -> "Run":
        for _ in range(passes):
            if self.sample.done:
                break
            together = [run.sample for run in (self, *company) if not run.sample.done]
            for move in self.model.predict(together):
                move()
            self.passes += 1
        return self

    def checkpoint(self, limit: int = sys.maxsize) -> bytes:
        make = self.model.checkpoint(self.request, self.samples, limit)
        data: bytes = make()
        return data

    def picture(self) -> Any:
        return self.model.tensor(self.sample)


def made_again(checkpoint: bytes) -> list[int]:
    """The numbers of the calls whose passes are made again."""
    [passes] = json.loads(read_head(checkpoint).passes)
    return [call for _, _, call in passes]


CASES = [*((name, SIMPLE) for name in THRESHOLDS), ("Qwen-Image", GUIDED), ("Flux", GUIDED)]


@pytest.mark.parametrize(("name", "request_"), CASES)
def test_a_balanced_job_ended_anywhere_goes_on_to_the_same_picture(
    name: str, request_: ImageRequest
) -> None:
    model, wanted = caching_model(name), replace(request_, quality="balanced")
    whole = Run(model, wanted).start().go_on()
    again = set()
    for passes in range(1, whole.passes + 1):
        checkpoint = Run(model, wanted).start().go_on(passes).checkpoint()
        assert read_head(checkpoint).predictions == passes
        kept = made_again(checkpoint)
        again |= {passes - call for call in kept}
        assert 1 <= len(kept) <= 2, "as many as there are questions in a step"
        resumed = Run(model, wanted, checkpoint).start().go_on()
        assert resumed.passes == whole.passes - passes + len(kept)
        assert (resumed.picture() == whole.picture()).all()
    assert len(again) > 2, "some were ended right after all blocks were computed, others later"


def test_a_balanced_job_can_be_ended_again_before_and_after_its_pass_is_made_again() -> None:
    model, wanted = caching_model("Flux"), replace(SIMPLE, quality="balanced")
    whole = Run(model, wanted).start().go_on()
    first = Run(model, wanted).start().go_on(5).checkpoint()
    waiting, started = Run(model, wanted, first), Run(model, wanted, first).start()
    further = Run(model, wanted, first).start().go_on(3)
    for run in (waiting, started, further):
        resumed = Run(model, wanted, run.checkpoint()).start().go_on()
        assert (resumed.picture() == whole.picture()).all()
    assert read_head(waiting.checkpoint()) == read_head(first) == read_head(started.checkpoint())
    assert read_head(further.checkpoint()).predictions == 7


@pytest.mark.parametrize(("name", "request_"), [("Flux", SIMPLE), ("Qwen-Image", GUIDED)])
def test_a_balanced_job_goes_on_from_as_many_steps_as_were_asked_for(
    name: str, request_: ImageRequest
) -> None:
    model, wanted = caching_model(name), replace(request_, quality="balanced")
    whole = Run(model, wanted).start().go_on()
    size = len(whole.checkpoint())
    handed = set()
    for limit in range(size // 8, size + 5000, size // 8):
        make = model.checkpoint(wanted, whole.samples, limit)
        if (data := make()) is None:
            continue
        assert len(data) <= limit
        handed.add(read_head(data).predictions)
        assert (Run(model, wanted, data).start().go_on().picture() == whole.picture()).all()
    assert len(handed) > 2


def test_a_balanced_job_gone_on_with_hands_out_nothing_that_its_cache_is_not_known_of() -> None:
    model, wanted = caching_model("Flux"), replace(SIMPLE, quality="balanced")
    first = Run(model, wanted).start().go_on(5)
    again = Run(model, wanted, first.checkpoint()).start()
    [last] = made_again(first.checkpoint())
    [size] = {len(first.sample.kept[call].numpy().tobytes()) for call in range(5)}
    for calls in range(1, 6):
        data = model.checkpoint(wanted, again.samples, 4096 + calls * (size + 160))()
        assert (data is None) == (calls <= last)
        if data is not None:
            assert read_head(data).predictions == calls


def test_a_balanced_job_goes_on_among_others() -> None:
    model, wanted = caching_model("Flux"), replace(SIMPLE, quality="balanced")
    whole = Run(model, wanted).start().go_on()
    checkpoint = Run(model, wanted).start().go_on(5).checkpoint()
    qualities: Sequence[Quality] = ("exact", "fast", "balanced")
    others = [
        Run(model, replace(SIMPLE, seed=seed, quality=quality)).start()
        for seed, quality in enumerate(qualities)
    ]
    resumed = Run(model, wanted, checkpoint).start().go_on(company=others)
    assert (resumed.picture() - whole.picture()).abs().max() <= TOLERANCE


def test_a_server_of_another_quality_does_not_go_on_with_a_job() -> None:
    quick = caching_model("Flux", QualityPolicy(default="balanced"))
    exact = caching_model("Flux")
    checkpoint = Run(quick, SIMPLE).start().go_on(3).checkpoint()
    with pytest.raises(CheckpointUnusable):
        Run(exact, SIMPLE, checkpoint)
    Run(quick, SIMPLE, checkpoint)


@pytest.mark.parametrize("told", ["[[[0]]]", "[[]", "[]", '[[["transformer", 0, 7]]]', "7"])
def test_a_checkpoint_that_names_passes_which_it_has_not_is_not_used(told: str) -> None:
    model, wanted = caching_model("Flux"), replace(SIMPLE, quality="balanced")
    checkpoint = Run(model, wanted).start().go_on(3).checkpoint()
    size = int.from_bytes(checkpoint[:8], "little")
    head = json.loads(checkpoint[8 : 8 + size])
    head["__metadata__"]["passes"] = told
    written = json.dumps(head).encode()
    forged = len(written).to_bytes(8, "little") + written + checkpoint[8 + size :]
    with pytest.raises(CheckpointUnusable):
        Run(model, wanted, forged)


def suspended(model: Any, request: ImageRequest, step: int) -> bytes:
    made: list[Future[bytes | None]] = []
    with engine_with(model) as engine:

        def suspend(news: Step | Preview) -> None:
            if isinstance(news, Step) and news.step >= step and not made:
                made.append(engine.checkpoint("job", stop=True))

        job = engine.submit("job", request, suspend)
        with pytest.raises(RequestCancelled):
            job.result.result(PATIENCE)
        data = made[0].result(PATIENCE)
    assert data is not None
    return data


@pytest.mark.parametrize("quality", ["balanced", "fast"])
def test_the_engine_tells_the_steps_that_it_did_not_take(quality: Quality) -> None:
    model, wanted = caching_model("Flux"), replace(SIMPLE, quality=quality)
    checkpoint = suspended(model, wanted, 6)
    again = len(made_again(checkpoint))
    assert again == (quality == "balanced")
    with engine_with(model) as engine:
        job = engine.submit("job", wanted, checkpoint=checkpoint)
        pictures = job.result.result(PATIENCE)
        assert job.resumed_steps == 6 - again
        undisturbed = engine.submit("whole", wanted).result.result(PATIENCE)
    assert [one.tobytes() for one in pictures.images] == [
        one.tobytes() for one in undisturbed.images
    ]
