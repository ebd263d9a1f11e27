"""`queue-agent watch`: print notifications as they come."""

from rich.console import Console

from queue_agent.client import Client


async def watch(client: Client, *, job_id: str | None, count: int | None) -> None:
    """Print each notification as one JSON line, `count` of them or until interrupted."""
    console = Console(stderr=True)
    async with client.notifications(job_id=job_id) as notifications:
        console.print("listening; Ctrl-C ends", style="dim")
        left = count
        async for notification in notifications:
            print(notification.to_json(), flush=True)
            if left is not None and (left := left - 1) <= 0:
                return
