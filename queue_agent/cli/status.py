"""`queue-agent status`: how a job ended."""

from pathlib import Path

from rich.console import Console

from queue_agent.client import Client

COMPLETED, ENDED_OTHERWISE, NOT_ENDED = 0, 1, 3


async def status(client: Client, job_id: str, *, prefix: str, output: Path | None) -> int:
    """Print the result's notification, save the images where asked; the exit code."""
    errors = Console(stderr=True)
    result = await client.job(job_id, prefix=prefix).find()
    if result is None:
        errors.print(f"{job_id} has not ended: there is no result under that id and prefix.")
        return NOT_ENDED
    Console().print_json(result.notification().to_json())
    if output is not None:
        for path in await client.save(result, output):
            errors.print(f"saved [bold]{path}[/bold]")
    return COMPLETED if result.result else ENDED_OTHERWISE
