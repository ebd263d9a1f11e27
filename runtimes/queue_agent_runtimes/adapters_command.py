"""The command `queue-agent adapters`. Importing it loads no adapter; running it does."""

import asyncio
import json
import os
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated, Final

import typer
from pydantic import JsonValue

from queue_agent.wire.errors import Rejected, Unavailable

if TYPE_CHECKING:
    from queue_agent.runtime import Output, RuntimeOptions
    from queue_agent.wire.job import Job

adapters = typer.Typer(help="Runtimes that a YAML file describes.", no_args_is_help=True)

_WIDTH: Final = 90
_PROMPT: Final = "a lighthouse at dusk"


@adapters.callback()
def commands() -> None:
    """Runtimes that a YAML file describes."""


@adapters.command("list")
def list_shipped() -> None:
    """List the files that are shipped, with the task types of each."""
    from queue_agent_runtimes.http.loading import (  # noqa: PLC0415  see above
        load_declaration,
        shipped_declarations,
    )

    for name in shipped_declarations():
        declared = load_declaration(name)
        typer.echo(f"{name:<12} {', '.join(sorted(declared.tasks))}: {declared.description}")


@adapters.command("show")
def show(name: Annotated[str, typer.Argument(help="Name of a shipped file.")]) -> None:
    """Print a file that is shipped, to begin one of your own with."""
    from queue_agent_runtimes.http.loading import shipped_declarations  # noqa: PLC0415  see above

    shipped = shipped_declarations()
    if name not in shipped:
        raise typer.BadParameter(f"there is no {name}; shipped are {', '.join(shipped)}")
    typer.echo(shipped[name].read_text("utf-8"), nl=False)


@adapters.command("schema")
def schema() -> None:
    """Print the JSON Schema of such files, for editors."""
    from queue_agent_runtimes.http.declaration import Declaration  # noqa: PLC0415  see above

    typer.echo(json.dumps(Declaration.model_json_schema(), indent=2))


@adapters.command("try")
def try_file(
    file: Annotated[str, typer.Argument(help="YAML file, or the name of one that is shipped.")],
    *,
    url: Annotated[
        str | None, typer.Option(help="Where the server listens; else the file's.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task type; else the file's first.")] = None,
    prompt: Annotated[str, typer.Option(help="The job's prompt.")] = _PROMPT,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=JSON", help="Another field of the job's content."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that the files go to.")] = Path(),
) -> None:
    """Send one request and show each step; the files that come back are saved.

    Credentials come from QUEUE_AGENT_RUNTIME_API_KEY, _AUTH and _HEADERS, and are not shown.
    """
    from queue_agent.wire.job import Job  # noqa: PLC0415  see above
    from queue_agent_runtimes.http.loading import load_declaration  # noqa: PLC0415  see above

    declared = load_declaration(file)
    content: dict[str, JsonValue] = {"prompt": prompt}
    for entry in fields or ():
        name, _, value = entry.partition("=")
        content[name] = _json_or_text(value)
    kind = task or next(iter(declared.tasks))
    job = Job.model_validate({"metadata": {"id": "try", "tasktype": kind}, "content": content})
    if not asyncio.run(_try(_options(file, url), job, out)):
        raise typer.Exit(1)


async def _try(options: "RuntimeOptions", job: "Job", out: Path) -> bool:
    """Whether files came back."""
    from queue_agent.runtime import Readiness  # noqa: PLC0415  see above
    from queue_agent_runtimes.http.adapter import HttpRuntime  # noqa: PLC0415  see above

    runtime = HttpRuntime(options, watcher=_show)
    try:
        readiness = Readiness.of(await runtime.ready())
        health = runtime.declaration.health
        said = "ready" if readiness else f"{readiness.state}: {readiness.reason}"
        _show(f"health: {health.method} {health.path}", said)
        runtime.check_places(job)
        prepared = await runtime.prepare(job, {})
        for warning in prepared.warnings:
            _show("warning", warning)
        output = await runtime.run(
            prepared, lambda progress: _show("progress", round(progress.fraction, 3))
        )
        _save(output, out)
    except (Rejected, Unavailable) as error:
        meant = "refused" if isinstance(error, Rejected) else "to be tried again"
        _show(f"failed, {meant} ({error.type})", error.message)
        return False
    finally:
        await runtime.aclose()
    return True


def _save(output: "Output", out: Path) -> None:
    from queue_agent.wire.media_types import extension  # noqa: PLC0415  see above

    out.mkdir(parents=True, exist_ok=True)
    for number, artifact in enumerate(output.artifacts, 1):
        file = out / f"try-{number}.{extension(artifact.media_type)}"
        file.write_bytes(artifact.data)
        seed = "" if artifact.seed is None else f", seed {artifact.seed}"
        _show("saved", f"{file} ({artifact.media_type}, {artifact.size} bytes{seed})")
    output.close()
    _show("response", output.response)


def _options(file: str, url: str | None) -> "RuntimeOptions":
    from queue_agent.runtime import RuntimeOptions  # noqa: PLC0415  see above
    from queue_agent.settings.values import header_fields  # noqa: PLC0415  see above

    username, _, password = os.environ.get("QUEUE_AGENT_RUNTIME_AUTH", "").partition(":")
    try:
        headers = os.environ.get("QUEUE_AGENT_RUNTIME_HEADERS")
        fields = header_fields(headers) if headers else {}
    except ValueError as error:
        raise typer.BadParameter(f"QUEUE_AGENT_RUNTIME_HEADERS: {error}") from error
    return RuntimeOptions(
        base_url=url,
        username=username or None,
        password=password or None,
        api_key=os.environ.get("QUEUE_AGENT_RUNTIME_API_KEY", "").strip() or None,
        headers=fields,
        own={"adapter": file},
    )


def _json_or_text(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        return text
    return value


def _show(step: str, seen: JsonValue) -> None:
    text = seen if isinstance(seen, str) else json.dumps(seen, ensure_ascii=False)
    if len(text) > _WIDTH and not isinstance(seen, str):
        text = "\n" + indent(json.dumps(seen, indent=2, ensure_ascii=False), "  ")
    typer.echo(f"{step}: {text}")
