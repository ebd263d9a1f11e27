"""A scheduler for each request, by any of the names that people use."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, Self

import diffusers
from pydantic import JsonValue

from queue_agent.wire import samplers
from queue_agent_diffusers.errors import InvalidRequest

library: Any = diffusers
"""diffusers ships annotations for some of its names only."""

_HOST: Final = "cpu"


class Scheduler(Protocol):
    """What is used of diffusers' schedulers."""

    config: Mapping[str, JsonValue]
    step: Callable[..., Any]

    @classmethod
    def from_config(cls, config: Mapping[str, JsonValue], **options: JsonValue) -> Self: ...


def make_scheduler(base: Scheduler, name: str | None) -> tuple[Scheduler, list[str]]:
    """A scheduler of the request's own, since schedulers have state; and what was ignored.

    Raises:
        InvalidRequest: no scheduler is known by that name, or it cannot be used here.
    """
    if name is None:
        return type(base).from_config(base.config), []
    if not can_be_changed(base):
        raise InvalidRequest("The scheduler of this model cannot be changed.", param="scheduler")
    class_name, options = _scheduler_class(name)
    kind = getattr(library, class_name)
    known = inspect.signature(kind.__init__).parameters
    unknown = [option for option in options if option not in known]
    try:
        scheduler: Scheduler = kind.from_config(
            base.config, **{key: value for key, value in options.items() if key in known}
        )
    except (ImportError, ValueError, NotImplementedError) as error:
        raise InvalidRequest(f"{name!r} cannot be used: {error}", param="scheduler") from error
    return scheduler, [f"scheduler: {class_name} has no {option}." for option in unknown]


def can_be_changed(base: Scheduler) -> bool:
    """Whether another scheduler can stand in for this one."""
    return bool(getattr(base, "compatibles", None))


def keep_timesteps_on_host(scheduler: Any) -> None:
    """Make the scheduler keep its timesteps in the host's memory.

    Its arithmetic on single numbers then needs no answer from the device, so that a step never
    waits for the device to catch up; the latents stay where they are.
    """
    set_timesteps = scheduler.set_timesteps

    @functools.wraps(set_timesteps)  # pipelines look at its parameters
    def set_on_host(*arguments: Any, **options: Any) -> None:
        set_timesteps(*arguments, **{**options, "device": _HOST})

    scheduler.set_timesteps = set_on_host


def _scheduler_class(name: str) -> tuple[str, Mapping[str, JsonValue]]:
    choice = samplers.choose(name, None)
    if choice.sampler is None or choice.sampler.diffusers is None:
        known = ", ".join(
            sampler.webui or sampler.diffusers for sampler in samplers.SAMPLERS if sampler.diffusers
        )
        raise InvalidRequest(f"Unknown scheduler {name!r}; known: {known}.", param="scheduler")
    options = dict(choice.sampler.diffusers_options)
    if name != choice.sampler.diffusers and choice.schedule:
        if choice.schedule.diffusers is None:
            raise InvalidRequest(
                f"The schedule {choice.schedule.webui!r} is not known to diffusers.",
                param="scheduler",
            )
        options.update(choice.schedule.diffusers)
    return choice.sampler.diffusers, options
