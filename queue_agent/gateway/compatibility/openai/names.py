"""What clients call a model: a runtime, one of its checkpoints, or an alias of either."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from queue_agent.gateway.dependencies import Gateway
from queue_agent.gateway.problems import UNKNOWN_MODEL
from queue_agent.wire.offer import Offer, OfferedModel
from queue_agent.wire.problems import Problem


@dataclass(frozen=True)
class Chosen:
    """Who is to make the images, and with which checkpoint; None: the one it has."""

    runtime: str
    checkpoint: str | None = None


@dataclass(frozen=True)
class NamedModel:
    """A model that can be asked for."""

    id: str
    runtime: str


async def choose(gateway: Gateway, name: str | None, runtime: str | None) -> Chosen:
    """What a request means that names this model, and by its header this runtime.

    A name that nobody knows is a checkpoint's, for the runtime to refuse or to find.

    Raises:
        Problem: the header names another runtime than the model is of, or one that is not there.
    """
    queues = gateway.settings.queues
    if runtime is not None and runtime not in queues:
        words = f"X-Runtime: {runtime!r} is none of: {', '.join(queues)}"
        raise Problem(400, "unknown_runtime", words)
    if not name:
        return Chosen(runtime or next(iter(queues)))
    chosen = _by_name(gateway, name)
    if chosen is not None:
        if runtime not in {None, chosen.runtime}:
            words = f"model: {name!r} is of {chosen.runtime}, and X-Runtime asks for {runtime}."
            raise Problem(400, "invalid_value", words, param="model")
        return chosen
    for candidate in [runtime] if runtime else queues:
        if _among(await gateway.offers.of(candidate), name):
            return Chosen(candidate, name)
    return Chosen(runtime or next(iter(queues)), name)


async def models(gateway: Gateway) -> AsyncIterator[NamedModel]:
    """All that can be named: runtimes, aliases, and the checkpoints that agents tell of."""
    known = set()
    queues = gateway.settings.queues
    aliases = gateway.settings.model_names
    for name, runtime in [*zip(queues, queues, strict=True), *_runtimes_of(aliases)]:
        if name not in known:
            known.add(name)
            yield NamedModel(name, runtime)
    for runtime in queues:
        for model in (await gateway.offers.of(runtime)).models or ():
            if model.name not in known:
                known.add(model.name)
                yield NamedModel(model.name, runtime)


async def model(gateway: Gateway, name: str) -> NamedModel:
    """The one of that name, which may be any that requests can use.

    Raises:
        Problem: 404, there is none.
    """
    chosen = _by_name(gateway, name)
    if chosen is not None:
        return NamedModel(name, chosen.runtime)
    for runtime in gateway.settings.queues:
        if _among(await gateway.offers.of(runtime), name):
            return NamedModel(name, runtime)
    raise Problem(404, UNKNOWN_MODEL, f"There is no model {name!r}.", param="model")


def _by_name(gateway: Gateway, name: str) -> Chosen | None:
    if name in gateway.settings.model_names:
        return Chosen(*gateway.settings.model_names[name])
    return Chosen(name) if name in gateway.settings.queues else None


def _runtimes_of(aliases: dict[str, tuple[str, str | None]]) -> list[tuple[str, str]]:
    return [(alias, runtime) for alias, (runtime, _) in aliases.items()]


def _among(offer: Offer, name: str) -> bool:
    return any(name in _names(model) for model in offer.models or ())


def _names(model: OfferedModel) -> set[str | None]:
    return {model.name, model.title, model.hash, model.sha256}
