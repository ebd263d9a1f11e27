"""The command `queue-agent workflow`. Importing it loads no adapter; running it does."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

workflow = typer.Typer(help="ComfyUI's workflows.", no_args_is_help=True)


@workflow.callback()
def commands() -> None:
    """ComfyUI's workflows."""


@workflow.command("convert")
def convert_file(
    file: Annotated[Path, typer.Argument(help="A workflow as the editor saves it, in JSON.")],
    object_info: Annotated[
        str,
        typer.Option(
            metavar="FILE_OR_URL",
            help="What the server says of its classes: its answer to /object_info, or its URL.",
        ),
    ],
) -> None:
    """Print a workflow in the API format; on stderr, what was left out and what is wrong."""
    from queue_agent_runtimes.comfyui.conversion import (  # noqa: PLC0415  see above
        convert,
        faults_of,
    )

    classes = _classes(object_info)
    converted = convert(_read(file), classes)
    for warning in (*converted.warnings, *faults_of(converted.graph, classes)):
        typer.echo(warning, err=True)
    typer.echo(json.dumps(converted.graph, indent=2, ensure_ascii=False))


def _classes(file_or_url: str) -> dict[str, JsonValue]:
    if file_or_url.startswith(("http://", "https://")):
        return asyncio.run(_ask(file_or_url.rstrip("/").removesuffix("/object_info")))
    found = _read(Path(file_or_url))
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{file_or_url} is no answer to /object_info.")
    return found


async def _ask(url: str) -> dict[str, JsonValue]:
    from queue_agent.runtime import RuntimeOptions  # noqa: PLC0415  see above
    from queue_agent_runtimes.comfyui.api import ComfyUIApi  # noqa: PLC0415  see above

    api = ComfyUIApi(RuntimeOptions(base_url=url), url)
    try:
        return await api.object_info()
    finally:
        await api.aclose()


def _read(file: Path) -> JsonValue:
    try:
        found: JsonValue = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}") from None
    return found
