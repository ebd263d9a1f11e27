"""`queue-agent clean`: remove what listeners left that were killed."""

from rich.console import Console

from queue_agent.client import Client


async def clean(client: Client, *, age: float, dry: bool) -> None:
    """Remove, or with `dry` only find, queues older than `age` seconds; print their addresses.

    And subscriptions without a queue; print their ARNs.
    """
    count = alone = 0
    async for name in client.clean(age=age, dry=dry):
        print(name, flush=True)
        if name.startswith("arn:"):
            alone += 1
        else:
            count += 1
    done = "would be" if dry else "were"
    Console(stderr=True).print(
        f"{count} queues by which nobody listens any more {done} removed, "
        f"each with its subscription, and {alone} subscriptions without a queue."
    )
