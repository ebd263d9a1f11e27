"""`queue-agent pause`, `resume` and `pauses`: what operators hold back, in the bucket's markers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import ValidationError
from rich.console import Console

from queue_agent.cloud import Bucket, Cloud
from queue_agent.cloud.pauses import PausesMarker, change_pauses, paused_runtimes
from queue_agent.wire.errors import Rejected
from queue_agent.wire.layout import offer_key
from queue_agent.wire.pause import Pause, Pauses, Window


@dataclass(frozen=True)
class PauseOrder:
    """What is to be paused, and when, as it was asked for."""

    tenant: str | None = None
    model: str | None = None
    since: str | None = None
    until: str | None = None
    seconds: int | None = None
    """From the begin on, instead of `until`; of a window, how long each is."""
    daily: str | None = None
    days: tuple[str, ...] = ()
    timezone: str | None = None
    reason: str = ""

    def made(self, now: float) -> Pause:
        """The pause, where it is so late, in seconds since the epoch.

        Raises:
            Rejected: it makes no sense; the message says what is wrong.
        """
        given = {"tenant": self.tenant, "model": self.model, "reason": self.reason}
        given |= {"since": self.since, "until": self.until}
        try:
            if self.daily is None:
                pause = Pause.model_validate(given)
                return self._of_length(pause, now)
            window = {"start": self.daily, "seconds": self.seconds, "timezone": self.timezone}
            return Pause.model_validate(
                {**given, "window": Window.model_validate({**window, "days": self.days})}
            )
        except ValidationError as error:
            raise Rejected(_told(error)) from error

    def _of_length(self, pause: Pause, now: float) -> Pause:
        if self.seconds is not None:
            begin = now if pause.since is None else pause.since.timestamp()
            until = datetime.fromtimestamp(round(begin + self.seconds), UTC)
            pause = pause.model_copy(update={"until": until})
        if pause.is_over(now):
            raise Rejected("--until: that moment is over.")
        return pause


_OPTIONS: Final = {
    "since": "--from",
    "seconds": "--for",
    "start": "--daily",
    "days": "--days",
    "timezone": "--timezone",
}


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return f"The pause {first['msg'].removeprefix('Value error, ')}."
    name = str(first["loc"][0])
    return f"{_OPTIONS.get(name, f'--{name}')}: {first['msg'].removeprefix('Value error, ')}."


async def pause(cloud: Cloud, bucket: Bucket, runtime: str, order: PauseOrder) -> None:
    """Add a pause to the marker of the runtime, and print what is paused of it then.

    Raises:
        Rejected: the order makes no sense.
    """
    if not await bucket.exists(offer_key(runtime)):
        Console(stderr=True, soft_wrap=True).print(
            f"No agent has told of a runtime {runtime} in this bucket; it is paused all the same.",
            markup=False,
        )
    wanted = order.made(cloud.now())

    def add(before: Pauses) -> Pauses:
        try:
            return before.with_(wanted, cloud.now())
        except ValidationError as error:
            raise Rejected("There are too many pauses of this runtime.") from error

    _print(runtime, await change_pauses(bucket, runtime, add), cloud.now())


async def resume(
    cloud: Cloud,
    bucket: Bucket,
    runtime: str,
    *,
    tenant: str | None,
    model: str | None,
    everything: bool,
) -> None:
    """Take pauses off the marker of the runtime, and print what is paused of it still."""
    before = (await PausesMarker(bucket, runtime).look()).pauses

    def take(pauses: Pauses) -> Pauses:
        return Pauses() if everything else pauses.without(tenant, model, cloud.now())

    left = await change_pauses(bucket, runtime, take)
    taken = [one for one in before if one not in left.pauses]
    what = "Resumed" if taken else "There was no such pause"
    Console(stderr=True, soft_wrap=True).print(f"{what}.", markup=False, style="dim")
    _print(runtime, left, cloud.now())


async def show_pauses(cloud: Cloud, bucket: Bucket) -> None:
    """Print what is paused, of all runtimes."""
    found = [one async for one in paused_runtimes(bucket)]
    for runtime, pauses in found:
        _print(runtime, pauses, cloud.now())
    if not found:
        Console(stderr=True).print("Nothing is paused.", style="dim")


def _print(runtime: str, pauses: Pauses, now: float) -> None:
    for one in pauses.pauses:
        if not one.is_over(now):
            state = "paused" if one.ends(now) is not None else "not now"
            print(f"{runtime}\t{state}\t{one}", flush=True)
