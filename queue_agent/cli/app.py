"""The command line. Commands import what they need when they are used, to start fast."""

import asyncio
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from queue_agent import __version__
from queue_agent.cli.client_use import end, option, with_client
from queue_agent.cli.numbers import number
from queue_agent.cli.pause_command import pause, pauses, resume
from queue_agent.cli.plan_command import plan
from queue_agent.cli.setup_command import setup
from queue_agent.cli.submit_command import submit
from queue_agent.cloud.refusals import in_full
from queue_agent.settings.shared import (
    BUCKET,
    DEAD_LETTER_QUEUE_URL,
    GATEWAY_HOST,
    GATEWAY_PORT,
    JOB_TOPIC,
    NOTIFICATION_TOPIC,
    QUEUE_URL,
    REGION,
    SCALER_HOST,
    SCALER_PORT,
    WORKFLOWS,
)
from queue_agent.wire.errors import QueueAgentError, SettingsError
from queue_agent.wire.layout import DEFAULT_PREFIX

COMMANDS: Final = "queue_agent.commands"
"""Entry points in this group name functions that become commands, as typer wants them, or a
`typer.Typer` with several."""

app = typer.Typer(
    name="queue-agent",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


JobTopic = Annotated[str, option(JOB_TOPIC, "--topic")]
NotificationTopic = Annotated[str, option(NOTIFICATION_TOPIC, "--notifications")]
BucketName = Annotated[str | None, option(BUCKET)]


def main() -> None:
    """Entry point: settings and credentials that cannot be used end with exit code 2, other
    errors with 1, each with a sentence.
    """
    try:
        app(prog_name="queue-agent")
    except SettingsError as error:
        end(error.message, 2)
    except QueueAgentError as error:
        end(in_full(error), 2 if error.type == "cloud_unauthenticated" else 1)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"queue-agent {__version__}")
        raise typer.Exit


@app.callback()
def common(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Turns a Stable Diffusion runtime into an asynchronous, reliable image service."""


@app.command()
def run() -> None:
    """Run the agent with the settings of the environment."""
    from queue_agent.cli.environment import load
    from queue_agent.cli.run import run as run_agent
    from queue_agent.settings.agent import Settings

    run_agent(load(Settings))


@app.command()
def check(
    *,
    no_runtime: Annotated[
        bool,
        typer.Option(
            "--no-runtime",
            help="Leave out the runtime and its folder of models, where there is none: as in the "
            "chart's test.",
        ),
    ] = False,
    no_messages: Annotated[
        bool,
        typer.Option(
            "--no-messages",
            help="Do not look at waiting messages for jobs of other runtimes: it counts as a "
            "delivery of up to ten of them.",
        ),
    ] = False,
) -> None:
    """Print the effective settings and try the queue, topic, bucket and runtime."""
    from queue_agent.cli.check import check as check_all
    from queue_agent.cli.environment import load
    from queue_agent.settings.agent import Settings

    settings = load(Settings)
    trying = check_all(settings, with_runtime=not no_runtime, with_messages=not no_messages)
    if not asyncio.run(trying):
        raise typer.Exit(1)


@app.command()
def schema(
    wire_format: Annotated[str, typer.Argument(help="job, notification or result")],
) -> None:
    """Print the JSON Schema of a wire format."""
    from queue_agent.cli.schema import Format
    from queue_agent.cli.schema import schema as make_schema

    try:
        chosen = Format(wire_format)
    except ValueError:
        end(f"There is no wire format {wire_format!r}: job, notification or result.", 2)
    typer.echo(make_schema(chosen))


@app.command()
def runtimes(
    workflows: Annotated[Path | None, option(WORKFLOWS)] = None,
    bucket: Annotated[
        str | None, typer.Option(help="List what agents have told in this bucket instead.")
    ] = None,
) -> None:
    """List the installed runtime adapters, their task types, and workflows by name.

    With --bucket, list the runtimes that agents have told of, and what these have.
    """
    from queue_agent.cli.offers import offer_lines
    from queue_agent.cli.runtimes import lines

    for line in lines(workflows) if bucket is None else asyncio.run(offer_lines(bucket)):
        typer.echo(line)


app.command()(submit)


@app.command()
def watch(
    notifications: NotificationTopic,
    job_id: Annotated[str | None, typer.Option("--id", help="Only this job's.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
) -> None:
    """Print notifications as they come, one JSON line each, until Ctrl-C."""
    from queue_agent.cli.watch import watch as print_notifications

    try:
        with_client(
            lambda client: print_notifications(client, job_id=job_id, count=count),
            notifications=notifications,
        )
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command()
def cancel(
    job_id: Annotated[str, typer.Argument(help="Id of the job.")],
    bucket: BucketName = None,
) -> None:
    """Ask for a job to be given up; an agent that works on it stops within seconds."""
    from queue_agent.cli.cancel import cancel as cancel_job

    with_client(lambda client: cancel_job(client, job_id), bucket=bucket)


app.command()(pause)
app.command()(resume)
app.command()(pauses)


@app.command()
def status(
    job_id: Annotated[str, typer.Argument(help="Id of the job.")],
    bucket: BucketName = None,
    prefix: Annotated[str, typer.Option(help="The prefix it was submitted with.")] = DEFAULT_PREFIX,
    output: Annotated[Path | None, typer.Option(help="Folder to download its images to.")] = None,
    notifications: Annotated[str | None, option(NOTIFICATION_TOPIC)] = None,
    progress: Annotated[
        bool, typer.Option(help="Listen some seconds for how far it is; leave out in loops.")
    ] = True,
) -> None:
    """Print how a job ended, or how far it is.

    Exit code 0: completed, 1: ended otherwise, 3: not yet, 4: nothing is known of the id: the job
    waits in the queue, or nobody submitted it.

    How far it is, is listened for some seconds where the notification topic is known, and told by
    agents that publish progress.
    """
    from queue_agent.cli.status import status as show_status

    listens = progress and notifications is not None
    code = with_client(
        lambda client: show_status(client, job_id, prefix=prefix, output=output, listens=listens),
        notifications=notifications,
        bucket=bucket,
    )
    raise typer.Exit(code)


@app.command("list")
def list_results(
    bucket: BucketName = None,
    prefix: Annotated[str, typer.Option(help="The prefix of the jobs.")] = DEFAULT_PREFIX,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="A notification a line.")] = False,
) -> None:
    """List the jobs that ended, the latest first: id, status, runtime, images or why not."""
    from queue_agent.cli.status import show_latest

    with_client(
        lambda client: show_latest(client, prefix=prefix, limit=limit, as_json=as_json),
        bucket=bucket,
    )


@app.command()
def usage(
    bucket: BucketName = None,
    prefix: Annotated[
        list[str] | None, typer.Option(help="Folder of results; may be repeated. Else output.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="From this day on (UTC), such as 2030-01-31, or moment.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this day, or moment.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="For programs.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="File to draw to: SVG, or PNG by its name.")
    ] = None,
) -> None:
    """Sum what jobs have used of GPUs, and what that cost, by day, tenant and model."""
    from queue_agent.cli.usage import period as between
    from queue_agent.cli.usage import usage as sum_usage

    period = between(since, until)
    lines = with_client(
        lambda client: sum_usage(
            client,
            prefixes=prefix or [DEFAULT_PREFIX],
            period=period,
            as_csv=as_csv,
            plot=plot,
        ),
        bucket=bucket,
    )
    for line in lines:
        typer.echo(line)


@app.command()
def verify(
    file: Annotated[str, typer.Argument(help="A file, or s3://BUCKET/KEY.")],
    result: Annotated[
        Path | None, typer.Option(help="The result of a local file's job, to compare it with.")
    ] = None,
    trust: Annotated[
        Path | None, typer.Option(help="Certificates (PEM) of authorities that signers need.")
    ] = None,
    bucket: BucketName = None,
    region: Annotated[str | None, option(REGION)] = None,
) -> None:
    """Tell what a file says of where it comes from, and whether that holds.

    Exit code 0: it says something, and nothing contradicts; 1: its manifest does not hold, its
    signer is not trusted where --trust is given, or the file is not the one that its job's result
    tells of; 2: it cannot be read; 3: it says nothing.
    """
    from queue_agent.cli.verify import read_file, read_object, verified

    if file.startswith("s3://"):
        found = asyncio.run(read_object(file, bucket, region))
    else:
        found = read_file(Path(file), result)
    try:
        anchors = None if trust is None else trust.read_text()
    except (OSError, UnicodeDecodeError):
        end(f"{trust} cannot be read.", 2)
    code, lines = verified(found, anchors)
    for line in lines:
        typer.echo("".join(one if one.isprintable() else "?" for one in line))
    raise typer.Exit(code)


@app.command()
def redrive(
    queue: Annotated[str, option(QUEUE_URL)],
    dead_letters: Annotated[str, option(DEAD_LETTER_QUEUE_URL)],
    job_id: Annotated[str | None, typer.Option("--id", help="Only jobs whose id matches.")] = None,
    runtime: Annotated[str | None, typer.Option(help="Only jobs for this runtime.")] = None,
    task_type: Annotated[str | None, typer.Option(help="Only jobs of this type.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which.")] = False,
) -> None:
    """Send dead letters back to the queue, all or those chosen; print their ids.

    --id takes a shell pattern, such as 'order-*'.
    """
    from queue_agent.cli.redrive import DeadLetterFilter
    from queue_agent.cli.redrive import redrive as send_back

    choice = DeadLetterFilter(job_id=job_id, runtime=runtime, task_type=task_type)
    with_client(
        lambda client: send_back(
            client, queue=queue, dead_letters=dead_letters, choice=choice, limit=limit, dry=dry_run
        )
    )


app.command()(setup)


@app.command()
def clean(
    older_than: Annotated[
        float, number(least=60, help="Only queues made so many seconds ago.")
    ] = 3600,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which.")] = False,
) -> None:
    """Remove what listeners left that were killed, and what no job in a queue can need any more.

    Queues and subscriptions: only those that queue-agent made (queue-agent-watch-…), and by which
    nobody listens any more, which takes some seconds to see; and subscriptions of such queues that
    are gone. In the bucket, if one is named: cancel markers, checkpoints and large jobs of more
    than 14 days ago, as a lifecycle rule does on AWS.
    """
    from queue_agent.cli.clean import clean as remove_left

    with_client(lambda client: remove_left(client, age=older_than, dry=dry_run))


@app.command()
def gateway(
    host: Annotated[str | None, option(GATEWAY_HOST)] = None,
    port: Annotated[str | None, option(GATEWAY_PORT)] = None,
) -> None:
    """Serve jobs over HTTP, with a page (needs the extra `gateway`)."""
    try:
        from queue_agent.cli.gateway import serve
    except ImportError as error:
        end(f"{error}; install with: pip install 'sd-queue-agent[gateway]'", 2)
    serve({GATEWAY_HOST.names[0]: host, GATEWAY_PORT.names[0]: port})


@app.command("gateway-key")
def gateway_key(
    name: Annotated[str, typer.Argument(help="Whose key it is; jobs belong to this name.")],
) -> None:
    """Make an API key: the key on stderr, its entry for the keys file on stdout."""
    try:
        from queue_agent.cli.gateway import make_key
    except ImportError as error:
        end(f"{error}; install with: pip install 'sd-queue-agent[gateway]'", 2)
    try:
        make_key(name)
    except ValueError:
        end(f"{name!r} is no name for a key: 1 to 64 of A-Z a-z 0-9 _ and - are.", 2)


@app.command()
def scaler(
    host: Annotated[str | None, option(SCALER_HOST)] = None,
    port: Annotated[str | None, option(SCALER_PORT)] = None,
) -> None:
    """Tell KEDA over HTTP how many pods a queue's work wants."""
    from queue_agent.cli.scaler import serve

    serve({SCALER_HOST.names[0]: host, SCALER_PORT.names[0]: port})


app.command()(plan)


@app.command()
def demo(
    cloud: Annotated[
        Literal["nats", "aws"],
        typer.Option(envvar="CLOUD", help="nats, a server, or aws, an emulator (extra demo-aws)."),
    ] = "nats",
    prompt: Annotated[str, typer.Option(envvar="PROMPT")] = "large yellow star on purple",
    model: Annotated[
        str | None, typer.Option(envvar="MODEL", help="Else a tiny one that knows a few shapes.")
    ] = None,
    steps: Annotated[int, typer.Option(envvar="STEPS", min=1)] = 20,
    output: Annotated[Path, typer.Option(help="Where image and notification go.")] = Path(
        "demo-output"
    ),
    once: Annotated[
        bool | None,
        typer.Option(
            "--once/--page",
            help="End after the job, or serve the page until Ctrl-C as in a terminal.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run one job end to end on this machine, then serve the page until Ctrl-C."""
    from queue_agent.cli.demo import demo as run_demo

    if once is None:
        once = not sys.stdout.isatty()
    if not run_demo(cloud=cloud, prompt=prompt, model=model, steps=steps, output=output, once=once):
        raise typer.Exit(1)


for _command in entry_points(group=COMMANDS):
    _loaded = _command.load()
    if isinstance(_loaded, typer.Typer):
        app.add_typer(_loaded, name=_command.name)
    else:
        app.command(_command.name)(_loaded)
