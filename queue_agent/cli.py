"""The command line. Commands import what they need when they are used, to start fast."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from queue_agent.errors import QueueAgentError, SettingsError

if TYPE_CHECKING:
    from queue_agent.client import Client
    from queue_agent.job import Job

T = TypeVar("T")

app = typer.Typer(
    name="queue-agent",
    help="Turns a Stable Diffusion runtime into an asynchronous, reliable image service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

JobTopic = Annotated[
    str, typer.Option("--topic", envvar="QUEUE_AGENT_JOB_TOPIC_ARN", help="ARN of the job topic.")
]
NotificationTopic = Annotated[
    str,
    typer.Option(
        "--notifications",
        envvar=["QUEUE_AGENT_TOPIC_ARN", "SNS_TOPIC_ARN"],
        help="ARN of the topic that notifications go to.",
    ),
]


def main() -> None:
    """Entry point: settings that cannot be used end with exit code 2, other errors with 1."""
    try:
        app()
    except SettingsError as error:
        _end(error.message, 2)
    except QueueAgentError as error:
        _end(error.message, 1)


@app.command()
def run() -> None:
    """Run the agent with the settings of the environment."""
    from queue_agent.commands.run import run as run_agent
    from queue_agent.settings import Settings

    run_agent(Settings.load())


@app.command()
def check() -> None:
    """Print the effective settings and try the queue, topic, bucket and runtime."""
    from queue_agent.commands.check import check as check_all
    from queue_agent.settings import Settings

    if not asyncio.run(check_all(Settings.load())):
        raise typer.Exit(1)


@app.command()
def schema(
    wire_format: Annotated[str, typer.Argument(help="job, notification or result")],
) -> None:
    """Print the JSON Schema of a wire format."""
    from queue_agent.commands.schema import Format
    from queue_agent.commands.schema import schema as make_schema

    try:
        chosen = Format(wire_format)
    except ValueError:
        _end(f"There is no wire format {wire_format!r}: job, notification or result.", 2)
    typer.echo(make_schema(chosen))


@app.command()
def runtimes() -> None:
    """List the installed runtime adapters and their task types."""
    from queue_agent.runtime import installed_runtimes, load_runtime

    for name in sorted(installed_runtimes()):
        try:
            task_types = ", ".join(sorted(load_runtime(name).task_types))
        except SettingsError as error:
            task_types = f"({error.message})"
        typer.echo(f"{name:<12} {task_types}")


@app.command()
def submit(
    topic: JobTopic,
    prompt: Annotated[str | None, typer.Option(help="What to draw.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What to avoid.")] = None,
    steps: Annotated[int | None, typer.Option(min=1)] = None,
    width: Annotated[int | None, typer.Option(min=8)] = None,
    height: Annotated[int | None, typer.Option(min=8)] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    image: Annotated[
        str | None, typer.Option(help="https:// or s3:// address of an image to start from.")
    ] = None,
    runtime: Annotated[str | None, typer.Option(help="Name of the runtime.")] = None,
    job_id: Annotated[str | None, typer.Option("--id", help="Id of the job; else made.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="A job in JSON; '-' or no option at all: standard input.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    notifications: Annotated[
        str | None,
        typer.Option(
            envvar=["QUEUE_AGENT_TOPIC_ARN", "SNS_TOPIC_ARN"],
            help="ARN of the notification topic, for --wait.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="With --wait: folder to download the images to.")
    ] = None,
) -> None:
    """Publish a job; print its id, or with --wait its progress and notification."""
    from queue_agent.commands import submit as command

    if prompt is not None:
        given = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "steps": steps,
            "width": width,
            "height": height,
            "seed": seed,
            "init_images": [image] if image else None,
        }
        content = {name: value for name, value in given.items() if value is not None}
        job = _new_job(content, runtime, job_id)
    else:
        job = _read_job(file, runtime, job_id)
    if not wait:
        _with_client(lambda client: command.submit(client, job), topic, None)
        return
    if notifications is None:
        _end("--wait needs --notifications (or QUEUE_AGENT_TOPIC_ARN).", 2)
    if not _with_client(
        lambda client: command.submit_and_wait(client, job, output), topic, notifications
    ):
        raise typer.Exit(1)


@app.command()
def watch(
    notifications: NotificationTopic,
    job_id: Annotated[str | None, typer.Option("--id", help="Only this job's.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
) -> None:
    """Print notifications as they come, one JSON line each, until Ctrl-C."""
    from queue_agent.commands.watch import watch as print_notifications

    try:
        _with_client(
            lambda client: print_notifications(client, job_id=job_id, count=count),
            None,
            notifications,
        )
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command("serve-diffusers")
def serve_diffusers(
    model: Annotated[str, typer.Option(help="A diffusers folder, .safetensors file, hub id, or: tiny.")],
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535)] = 8000,
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; else the best.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float16, bfloat16 or float32; else by device.")
    ] = None,
) -> None:
    """Serve the bundled diffusers runtime (needs the extra `diffusers`)."""
    try:
        from runtimes.diffusers.server import serve
    except ImportError as error:
        _end(f"{error}; install with: pip install 'sd-queue-agent[diffusers]'", 2)
    serve(model, host=host, port=port, device=device, dtype=dtype)


@app.command()
def demo(
    prompt: Annotated[str, typer.Option(envvar="PROMPT")] = "a lighthouse at dusk",
    model: Annotated[
        str | None, typer.Option(envvar="MODEL", help="Else a tiny model with random weights.")
    ] = None,
    steps: Annotated[int, typer.Option(envvar="STEPS", min=1)] = 20,
    output: Annotated[Path, typer.Option(help="Where image and notification go.")] = Path(
        "demo-output"
    ),
) -> None:
    """Run one job end to end on this machine: embedded cloud, diffusers runtime, agent."""
    try:
        from queue_agent.commands.demo import demo as run_demo
    except ImportError as error:
        _end(f"{error}; install with: pip install 'sd-queue-agent[demo]'", 2)
    if not run_demo(prompt=prompt, model=model, steps=steps, output=output):
        raise typer.Exit(1)


def _new_job(content: dict[str, Any], runtime: str | None, job_id: str | None) -> "Job":
    from pydantic import ValidationError

    from queue_agent.client import make_job
    from queue_agent.job import describe_errors

    task_type = "image-to-image" if "init_images" in content else "text-to-image"
    try:
        return make_job(content, runtime=runtime, task_type=task_type, job_id=job_id)
    except ValidationError as error:
        _end(describe_errors(error), 2)


def _read_job(file: Path | None, runtime: str | None, job_id: str | None) -> "Job":
    from queue_agent.job import parse_job

    try:
        text = sys.stdin.read() if file is None or str(file) == "-" else file.read_text()
        body = json.loads(text)
        body = body.get("task", body)
        given = {"runtime": runtime, "id": job_id}
        body["metadata"].update({name: value for name, value in given.items() if value})
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        _end(f"No job can be read from there: {error}", 2)
    return parse_job(json.dumps(body))


def _with_client(
    action: "Callable[[Client], Awaitable[T]]", job_topic: str | None, notifications: str | None
) -> T:
    from queue_agent.client import Client
    from queue_agent.cloud.aws import AwsCloud

    async def use() -> T:
        cloud = AwsCloud(str(job_topic or notifications).split(":")[3])
        try:
            return await action(
                Client(cloud, job_topic=job_topic, notification_topic=notifications)
            )
        finally:
            await cloud.aclose()

    return asyncio.run(use())


def _end(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise SystemExit(code)
