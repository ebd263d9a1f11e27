"""What a model that shares steps makes of requests in company, and its pipeline of each alone."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import pytest

from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import OutOfMemory

TOLERANCE = 1e-4
"""Of values from 0 to 1, before they are quantised."""


def alone(pipeline: Any, request: ImageRequest, control_nets: Any = None) -> list[Any]:
    """What the plain pipeline makes of the request, one seed at a time, from 0 to 1."""
    from queue_agent_diffusers.torch.pipeline_arguments import Family, pipeline_arguments  # noqa: PLC0415  loads torch

    family = Family(pipeline, control_nets)
    images = []
    for seed in request.seeds:
        chosen: Any = copy(family.choose(request))  # the next call finds the model's scheduler
        chosen.scheduler, _ = family.scheduler(request)
        arguments, _ = pipeline_arguments(chosen, request, [seed], control_nets)
        images.append(chosen(**arguments, output_type="pt").images[0])
    return images


def stepped_together(
    model: Any, requests: Sequence[ImageRequest], joining: Sequence[int] = ()
) -> list[list[Any]]:
    """Finished samples of all; request i joins before step `joining[i]`, or at once."""
    samples = [list(model.begin(request, lambda _, __: None)) for request in requests]
    when = [*joining, *([0] * (len(requests) - len(joining)))]
    running: list[Any] = []
    step = 0
    while running or any(moment >= step for moment in when):
        for moment, ones in zip(when, samples, strict=True):
            if moment == step:
                for sample in ones:
                    sample.start()
                running += ones
        if running:
            for move in model.predict(running):
                move()
            running = [sample for sample in running if not sample.done]
        step += 1
    return samples


def stepped_amid_failures(model: Any, request: ImageRequest, part: Any) -> Any:
    """The finished sample, each of whose passes first ran out of memory at that part."""
    failing = False

    def breaks(*_: Any) -> None:
        if failing:
            raise MemoryError

    hook = part.register_forward_hook(breaks)
    [sample] = model.begin(request, lambda *_: None)
    sample.start()
    while not sample.done:
        failing = True
        with pytest.raises(OutOfMemory):
            model.predict([sample])
        failing = False
        for move in model.predict([sample]):
            move()
    hook.remove()
    return sample
