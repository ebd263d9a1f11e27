"""What commands of publishers and subscribers share: a client of the environment's deployment."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from queue_agent.settings.reader import Definition
from queue_agent.settings.shared import BUCKET, JOB_TOPIC, NOTIFICATION_TOPIC

if TYPE_CHECKING:
    from queue_agent.client import Client
    from queue_agent.cloud import Bucket, Cloud

T = TypeVar("T")

_ENDED_BY: Final = 128
"""Added to a signal's number it is the exit code that shells expect of who was ended by it."""


def option(setting: Definition, *flags: str) -> Any:
    """An option that says what a setting else says, from the same variables."""
    return typer.Option(*flags, envvar=setting.names, help=setting.description)


def end(message: str, code: int) -> NoReturn:
    """Say why on stderr, and end the process with the exit code."""
    typer.echo(message, err=True)
    raise SystemExit(code)


def with_client(
    action: "Callable[[Client], Awaitable[T]]",
    *,
    job_topic: str | None = None,
    notifications: str | None = None,
    bucket: str | None = None,
) -> T:
    """What an action with a client of the deployment returns; options win over the environment.

    SIGTERM and SIGHUP end the action as Ctrl-C does, so that what was made for it is removed; a
    second one ends at once.

    Raises:
        SystemExit: a signal, or 2: the client lacks what the action needs.
        QueueAgentError: the action's own.
    """
    from queue_agent.client import Client  # noqa: PLC0415  imports much

    given = {
        JOB_TOPIC.names[0]: job_topic,
        NOTIFICATION_TOPIC.names[0]: notifications,
        BUCKET.names[0]: bucket,
    }
    told: list[signal.Signals] = []

    async def use() -> T:
        _cancel_on_signals(told)
        async with Client.from_env(given) as client:
            return await action(client)

    try:
        return asyncio.run(use())
    except asyncio.CancelledError:
        raise SystemExit(_ENDED_BY + told[0] if told else 1) from None
    except ValidationError as error:  # of an id or a prefix
        end(f"{error.errors()[0]['input']!r} can be no job's id or prefix.", 2)
    except ValueError as error:
        end(_with_options_named(str(error)), 2)


def with_bucket(action: "Callable[[Cloud, Bucket], Awaitable[T]]", bucket: str | None) -> T:
    """What an action in the deployment's bucket returns; the option wins over the environment.

    Raises:
        SystemExit: 2: no bucket is named, or the action was refused.
        QueueAgentError: the action's own.
    """
    from queue_agent.cloud.connect import connect  # noqa: PLC0415  imports much
    from queue_agent.settings.client import ClientSettings  # noqa: PLC0415  as above
    from queue_agent.wire.errors import Rejected  # noqa: PLC0415  as above

    settings = ClientSettings.load(given={BUCKET.names[0]: bucket})
    if (name := settings.bucket) is None:
        end(f"There is no bucket: give --bucket or {BUCKET.names[0]}.", 2)

    async def use() -> T:
        cloud = connect(
            settings.job_topic,
            settings.notification_topic,
            bucket=name,
            region=settings.region,
        )
        try:
            return await action(cloud, cloud.bucket(name))
        finally:
            await cloud.aclose()

    try:
        return asyncio.run(use())
    except Rejected as error:
        end(error.message, 2)


def _cancel_on_signals(told: list[signal.Signals]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def handle(number: signal.Signals) -> None:
        told.append(number)
        loop.remove_signal_handler(number)
        if task is not None:
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        with suppress(NotImplementedError):  # on Windows
            loop.add_signal_handler(number, handle, number)


def _with_options_named(lacking: str) -> str:
    """The client's word on what it lacks, with where a command line says it."""
    for word, flag, setting in (
        ("job topic", "--topic", JOB_TOPIC),
        ("notification topic", "--notifications", NOTIFICATION_TOPIC),
        ("bucket", "--bucket", BUCKET),
    ):
        if word in lacking:
            return f"{lacking[0].upper()}{lacking[1:]}: give {flag} or {setting.names[0]}."
    return lacking
