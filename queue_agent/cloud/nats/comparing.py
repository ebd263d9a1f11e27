"""How a stream or consumer that is there is not as it is wanted, and what of that can be changed.

Configurations are read and written as the servers word them, so that nothing of one is lost that
the client does not know: https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from nats.js.api import ConsumerConfig

from queue_agent.cloud.making import NO_DEAD_LETTERS, Difference, dead_letters_told
from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.listing import API, ask
from queue_agent.cloud.nats.making import NatsResource
from queue_agent.cloud.nats.queues import DEAD_LETTERS, MAX_RECEIVES
from queue_agent.cloud.refusals import reason_of
from queue_agent.wire.errors import Unavailable

_NANOSECONDS: Final = 1e9
_FIXED: Final = ("retention", "storage", "ack_policy")
"""What the servers never change, or not between all values."""
_UNLIMITED: Final = -1

Configuration = Mapping[str, Any]


async def differences(connection: Connection, wanted: NatsResource) -> list[Difference] | None:
    """How it differs; None where it is not there.

    More replicas than wanted, a longer memory of messages and other subjects beside the wanted
    ones, of a consumer, too, are as their owner wants them.

    Raises:
        Unavailable: the servers do not answer, or refuse.
    """
    try:
        has = await _configuration(connection, wanted)
    except Unavailable as error:
        if reason_of(error) != "not_found":
            raise
        return None
    return list(_differences(connection, wanted, has))


def _differences(
    connection: Connection, wanted: NatsResource, has: Configuration
) -> Iterator[Difference]:
    config: Configuration = json.loads(json.dumps(wanted.config.as_dict()))
    change = partial(_set, connection, wanted)
    for name in _FIXED:
        if name in config and has.get(name) != config[name]:
            detail = f"{name} is {has.get(name)}, wanted is {config[name]}; it cannot be changed"
            yield Difference(detail, None)
    of_one = _of_consumer if isinstance(wanted.config, ConsumerConfig) else _of_stream
    for detail, values in of_one(config, has):
        yield Difference(detail, partial(change, values))


def _of_stream(config: Configuration, has: Configuration) -> Iterator[tuple[str, Configuration]]:
    there: list[str] = has.get("subjects") or []
    lacking = [subject for subject in config["subjects"] if subject not in there]
    if lacking:
        yield f"its subjects lack {', '.join(lacking)}", {"subjects": [*there, *lacking]}
    if has.get("num_replicas", 1) < config["num_replicas"]:
        yield _numbers("num_replicas", config, has)
    yield from _bytes(config.get("max_bytes"), has.get("max_bytes", _UNLIMITED))
    if has.get("discard") != config["discard"]:
        yield (
            f"discard is {has.get('discard')}, wanted is {config['discard']}",
            {"discard": config["discard"]},
        )
    for name in ("max_age", "duplicate_window"):
        if 0 < has.get(name, 0) < config.get(name, 0):
            yield _seconds(name, config, has)


def _bytes(wanted: int | None, is_: int) -> Iterator[tuple[str, Configuration]]:
    """A limit that is wanted, and none that is not: that of an owner stays."""
    if wanted is not None and is_ != wanted:
        told = f"max_bytes is {is_}" if is_ > 0 else "it has no max_bytes"
        yield f"{told}, wanted are {wanted}", {"max_bytes": wanted}


def _of_consumer(config: Configuration, has: Configuration) -> Iterator[tuple[str, Configuration]]:
    if has.get("ack_wait") != config["ack_wait"]:
        yield _seconds("ack_wait", config, has)
    for name in ("max_deliver", "max_ack_pending"):
        if has.get(name, _UNLIMITED) != config[name]:
            yield f"{name} is {has[name]}, wanted is no limit", {name: config[name]}
    there, wished = _subjects(has), _subjects(config)
    if not set(wished) <= set(there):
        values = {name: config.get(name) for name in ("filter_subject", "filter_subjects")}
        told, verb = ", ".join(there or ["all"]), "is" if len(wished) == 1 else "are"
        yield f"it gets {told}, wanted {verb} {', '.join(wished)}", values
    metadata, wanted = has.get("metadata") or {}, config.get("metadata") or {}
    if any(metadata.get(name) != value for name, value in wanted.items()):
        detail = f"{_told(metadata)}, wanted are {_told(wanted)}"
        yield detail, {"metadata": {**metadata, **wanted}}


def _subjects(consumer: Configuration) -> list[str]:
    """Those whose messages it gets; none: all."""
    one: str = consumer.get("filter_subject") or ""
    return [one] if one else list(consumer.get("filter_subjects") or [])


def _told(metadata: Mapping[str, str]) -> str:
    if not {MAX_RECEIVES, DEAD_LETTERS} <= metadata.keys():
        return NO_DEAD_LETTERS
    return dead_letters_told(metadata[MAX_RECEIVES], metadata[DEAD_LETTERS])


def _numbers(name: str, config: Configuration, has: Configuration) -> tuple[str, Configuration]:
    return f"{name} is {has.get(name)}, wanted are {config[name]}", {name: config[name]}


def _seconds(name: str, config: Configuration, has: Configuration) -> tuple[str, Configuration]:
    is_, wanted = (given.get(name, 0) / _NANOSECONDS for given in (has, config))
    return f"{name} is {is_:.12g} s, wanted are {wanted:.12g} s", {name: config[name]}


async def _configuration(connection: Connection, wanted: NatsResource) -> dict[str, Any]:
    kind, path = _named(wanted)
    answer = await ask(connection, f"look for {wanted}", f"{API}.{kind}.INFO.{path}", {})
    found: dict[str, Any] = answer["config"]
    return found


async def _set(connection: Connection, wanted: NatsResource, values: Configuration) -> None:
    """As it is now, but for these values."""
    kind, path = _named(wanted)
    merged = {**await _configuration(connection, wanted), **values}
    body: Configuration = {name: value for name, value in merged.items() if value is not None}
    verb = "UPDATE"
    if kind == "CONSUMER":
        verb, body = "CREATE", {"stream_name": wanted.stream, "config": body, "action": "update"}
        path = ".".join(filter(None, (path, merged.get("filter_subject"))))
    await ask(connection, f"change {wanted}", f"{API}.{kind}.{verb}.{path}", body)


def _named(wanted: NatsResource) -> tuple[str, str]:
    if isinstance(wanted.config, ConsumerConfig):
        return "CONSUMER", f"{wanted.stream}.{wanted.config.durable_name}"
    return "STREAM", wanted.stream
