"""A scheduler for each request, by any of the names that people use."""

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, Self

import diffusers
from pydantic import JsonValue

from queue_agent.wire import samplers
from queue_agent_diffusers.errors import InvalidRequest

library: Any = diffusers
"""diffusers ships annotations for some of its names only."""

_HOST: Final = "cpu"
_GENERATOR: Final = "generator"
_CHANGEABLE: Final = frozenset({"epsilon", "sample", "v_prediction", "flow_prediction"})
"""What a network may predict, that several classes know what to make of it."""
_FLOW: Final = "flow_prediction"
_KNOWS_FLOWS: Final = "use_flow_sigmas"
"""The option of classes that know what to make of a flow."""
_NOT_FOR_FLOWS: Final = frozenset(
    {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"}
)
"""Options that would put noise for an image in the place of a flow's."""
_OF_FLOWS: Final = {"EulerDiscreteScheduler": "FlowMatchEulerDiscreteScheduler"}
"""What the table's names stand for where a model was made for a class of flows alone."""


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
    if name is None or name == type(base).__name__:
        return type(base).from_config(base.config), []
    class_name, options = _scheduler_class(name)
    class_name = class_name if can_be_changed(base) else _OF_FLOWS.get(class_name, class_name)
    kind = getattr(library, class_name)
    known = inspect.signature(kind.__init__).parameters
    of_flows = base.config.get("prediction_type") == _FLOW
    refused = of_flows and _KNOWS_FLOWS not in known
    if refused or not (can_be_changed(base) or kind is type(base)):
        raise InvalidRequest(
            f"This model was made for {type(base).__name__}, and {name!r} cannot stand in for it.",
            param="scheduler",
        )
    usable = known.keys() - (_NOT_FOR_FLOWS if of_flows else ())
    unknown = [option for option in options if option not in usable]
    try:
        scheduler: Scheduler = kind.from_config(
            base.config, **{key: value for key, value in options.items() if key in usable}
        )
    except (ImportError, ValueError, NotImplementedError) as error:
        raise InvalidRequest(f"{name!r} cannot be used: {error}", param="scheduler") from error
    what = f"{class_name} of a flow" if of_flows else class_name
    return scheduler, [f"scheduler: {what} has no {option}." for option in unknown]


def can_be_changed(base: Scheduler) -> bool:
    """Whether schedulers of other classes can stand in for this one."""
    return base.config.get("prediction_type") in _CHANGEABLE


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


def tell_steps(scheduler: Scheduler, told: Callable[[Any], None], chance: object) -> None:
    """Have each step that the scheduler takes told, by what it made of the latents.

    Where a step draws noise and the pipeline does not say by which generator, it is by `chance`:
    the same seed then makes the same image.
    """
    scheduler.step = _ToldStep(scheduler, told, chance)


class _ToldStep:
    """In place of a scheduler's method; copies of the scheduler have their own, and tell nobody."""

    def __init__(self, scheduler: Scheduler, told: Callable[[Any], None], chance: object) -> None:
        self._scheduler = scheduler
        self._told = told
        self._chance = chance
        self._step = scheduler.step
        named = list(inspect.signature(scheduler.step).parameters)
        self._place = named.index(_GENERATOR) if _GENERATOR in named else None
        functools.update_wrapper(self, scheduler.step)  # pipelines look at its parameters

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        draws = self._place is not None and len(arguments) <= self._place
        if draws and options.get(_GENERATOR) is None:
            options[_GENERATOR] = self._chance
        made = self._step(*arguments, **options)
        self._told(made[0])
        return made

    def __deepcopy__(self, known: Mapping[int, Any]) -> Any:
        copied = known[id(self._scheduler)]
        return types.MethodType(type(copied).step, copied)


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
