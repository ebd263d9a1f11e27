"""`queue-agent pause`, `resume` and `pauses` as they are typed. It imports nothing slow."""

import re
from typing import Annotated, Final

import typer

from queue_agent.cli.client_use import end, option, with_bucket
from queue_agent.settings.shared import BUCKET

Runtime = Annotated[str, typer.Argument(help="Name of the runtime, as jobs name it.")]
Tenant = Annotated[str | None, typer.Option(help="Only the jobs of this tenant.")]
Model = Annotated[str | None, typer.Option(help="Only the jobs for this model.")]
BucketName = Annotated[str | None, option(BUCKET)]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def pause(
    runtime: Runtime,
    tenant: Tenant = None,
    model: Model = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Not before, such as 2030-01-01T02:00:00Z.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Until this moment, then it ends by itself.")
    ] = None,
    length: Annotated[
        str | None, typer.Option("--for", help="The same, by its length: 90s, 30m, 2h or 1d.")
    ] = None,
    daily: Annotated[
        str | None, typer.Option(help="Again and again at this time, such as 02:00, --for so long.")
    ] = None,
    days: Annotated[
        str | None, typer.Option(help="With --daily: only on these, such as sat,sun.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="With --daily: whose time, such as Europe/Berlin or UTC.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Told wherever the pause is.")] = "",
    bucket: BucketName = None,
) -> None:
    """Have the agents of a runtime take no more jobs, until `queue-agent resume`.

    They see it within seconds: what runs ends, what is held goes back, and messages wait in the
    queue. With --tenant or --model only those jobs wait, and the others are worked on.
    """
    if until is not None and length is not None and daily is None:
        end("Give --until or --for, not both.", 2)
    if daily is not None and (length is None or timezone is None):
        end("--daily needs --for and --timezone.", 2)
    if daily is None and (days is not None or timezone is not None):
        end("--days and --timezone need --daily.", 2)
    from queue_agent.cli import pause as command

    order = command.PauseOrder(
        tenant=tenant,
        model=model,
        since=since,
        until=until,
        seconds=None if length is None else _seconds(length),
        daily=daily,
        days=tuple(day.strip().lower() for day in (days or "").split(",") if day.strip()),
        timezone=timezone,
        reason=reason,
    )
    with_bucket(lambda cloud, found: command.pause(cloud, found, runtime, order), bucket)


def resume(
    runtime: Runtime,
    tenant: Tenant = None,
    model: Model = None,
    everything: Annotated[
        bool, typer.Option("--all", help="End every pause, of tenants and models and to come, too.")
    ] = False,
    bucket: BucketName = None,
) -> None:
    """End the pause of a runtime, or of a tenant or a model of it, and print what is paused still.

    Windows of the same end, too.
    """
    if everything and (tenant, model) != (None, None):
        end("--all is of all tenants and models.", 2)
    from queue_agent.cli import pause as command

    with_bucket(
        lambda cloud, found: command.resume(
            cloud, found, runtime, tenant=tenant, model=model, everything=everything
        ),
        bucket,
    )


def pauses(bucket: BucketName = None) -> None:
    """List what is paused or will be: runtime, whether now, what and why."""
    from queue_agent.cli import pause as command

    with_bucket(command.show_pauses, bucket)


def _seconds(length: str) -> int:
    found = re.fullmatch(r"(\d{1,7})([smhd])", length.strip())
    if found is None or not int(found[1]):
        end(f"--for: {length!r} is no length: 90s, 30m, 2h or 1d.", 2)
    return int(found[1]) * _UNITS[found[2]]
