"""`queue-agent clean`: remove what listeners left that were killed."""

from rich.console import Console

from queue_agent.client import Client


async def clean(client: Client, *, age: float, dry: bool) -> None:
    """Remove, or with `dry` only find, queues older than `age` seconds; print their addresses."""
    count = 0
    async for name in client.clean(age=age, dry=dry):
        print(name, flush=True)
        count += 1
    done = "would be" if dry else "were"
    Console(stderr=True).print(
        f"{count} queues by which nobody listens any more {done} removed, "
        "each with its subscription."
    )
