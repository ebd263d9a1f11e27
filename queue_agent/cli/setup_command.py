"""`queue-agent setup` as it is typed. It imports nothing slow."""

import asyncio
from typing import Annotated

import typer

from queue_agent.cli.client_use import option
from queue_agent.cli.numbers import number
from queue_agent.settings.shared import (
    BUCKET,
    DEAD_LETTER_QUEUE_URL,
    JOB_TOPIC,
    NOTIFICATION_TOPIC,
    QUEUE_URL,
    REGION,
    RUNTIME_NAME,
)
from queue_agent.wire.priorities import URGENCIES


def setup(
    queue: Annotated[str, option(QUEUE_URL)],
    notifications: Annotated[str, option(NOTIFICATION_TOPIC, "--notifications")],
    bucket: Annotated[str | None, option(BUCKET)] = None,
    topic: Annotated[str | None, option(JOB_TOPIC, "--topic")] = None,
    runtime: Annotated[str | None, option(RUNTIME_NAME, "--runtime")] = None,
    priorities: Annotated[
        str | None,
        typer.Option(
            help="Priorities that get queues of their own beside the usual one, called as it is "
            "and -high or -low (on NATS: with /high, /low): high, low, or high,low."
        ),
    ] = None,
    dead_letters: Annotated[str | None, option(DEAD_LETTER_QUEUE_URL)] = None,
    region: Annotated[str | None, option(REGION)] = None,
    job_seconds: Annotated[
        int, typer.Option(min=1, max=21_600, help="Expected length of a job.")
    ] = 30,
    lease: Annotated[
        float | None,
        number(
            least=5,
            most=43_200,
            help="Seconds that a message stays hidden once delivered; else by the length of a job.",
        ),
    ] = None,
    max_receives: Annotated[
        int, typer.Option(min=1, max=1000, help="Deliveries until a message is a dead letter.")
    ] = 3,
    retention_days: Annotated[
        int | None,
        typer.Option(
            min=1, max=13, help="The queue keeps a job (AWS); else by the length of a job."
        ),
    ] = None,
    replicas: Annotated[
        int,
        typer.Option(min=1, max=5, help="Servers that keep each stream (NATS); 3 for production."),
    ] = 1,
    stream_bytes: Annotated[
        int | None,
        typer.Option(
            min=2**20,
            help="Most bytes that each stream of messages keeps (NATS), beyond which no jobs are "
            "taken, and the oldest notifications go; else no limit is asked for.",
        ),
    ] = None,
    bucket_bytes: Annotated[
        int | None,
        typer.Option(
            min=2**20,
            help="Most bytes that the bucket's files take, and as many its small objects (NATS); "
            "else no limit is asked for.",
        ),
    ] = None,
    no_fair: Annotated[
        bool, typer.Option("--no-fair", help="Tenants of a queue do not take turns (NATS).")
    ] = False,
    change: Annotated[
        bool, typer.Option("--change", help="Change what is there and differs.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is missing.")] = False,
) -> None:
    """Make the queues, topics and buckets that are missing, on AWS or NATS; print them.

    On AWS topics, queues and bucket may be given by name, and --topic, --runtime and --bucket
    are needed; the settings that follow are printed, too. On NATS the bucket may be one of S3.
    What is there and differs is shown, and exit code 1 says that it stays so. Nothing is ever
    deleted.
    """
    from queue_agent.cli.setup import QueueTimes  # noqa: PLC0415
    from queue_agent.cli.setup import setup as make  # noqa: PLC0415

    named = tuple(dict.fromkeys(filter(None, map(str.strip, (priorities or "").split(",")))))
    if strange := [name for name in named if name not in URGENCIES]:
        raise typer.BadParameter(
            f"{strange[0]!r} is none of: {', '.join(URGENCIES)}; normal is the usual queue's",
            param_hint="--priorities",
        )
    times = QueueTimes(job_seconds, lease, max_receives, retention_days)
    wanted = times.resources(
        queue_url=queue,
        notification_topic=notifications,
        bucket=bucket,
        dead_letter_queue_url=dead_letters,
        priorities=named,
        replicas=replicas,
        stream_bytes=stream_bytes,
        bucket_bytes=bucket_bytes,
        fair=not no_fair,
        job_topic=topic,
        runtime_name=runtime,
        region=region,
    )
    if not asyncio.run(make(wanted, dry=dry_run, change=change)):
        raise typer.Exit(1)
