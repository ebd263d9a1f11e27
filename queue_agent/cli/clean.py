"""`queue-agent clean`: remove what listeners left that were killed, and jobs that are long over."""

from rich.console import Console

from queue_agent.client import Client
from queue_agent.cloud.refusals import reason_of
from queue_agent.wire.errors import QueueAgentError, Unavailable


async def clean(client: Client, *, age: float, dry: bool) -> None:
    """Remove, or with `dry` only find, queues older than `age` seconds; print their addresses.

    And subscriptions without a queue; print their ARNs. And objects of jobs that are long over;
    print their keys. A bucket that refuses that is only mentioned, since on AWS its lifecycle
    rules may do the same.

    Raises:
        Unavailable: the cloud is away, or what is named is not there.
    """
    count = alone = 0
    async for name in client.clean(age=age, dry=dry):
        print(name, flush=True)
        if name.startswith("arn:"):
            alone += 1
        else:
            count += 1
    done = "would be" if dry else "were"
    console = Console(stderr=True)
    console.print(
        f"{count} queues by which nobody listens any more {done} removed, "
        f"each with its subscription, and {alone} subscriptions without a queue."
    )
    await _clean_bucket(client, console, dry=dry)


async def _clean_bucket(client: Client, console: Console, *, dry: bool) -> None:
    count = 0
    done = "would be" if dry else "were"
    try:
        async for key in client.clean_bucket(dry=dry):
            print(key, flush=True)
            count += 1
    except QueueAgentError as error:
        if isinstance(error, Unavailable) and reason_of(error) != "unauthorized":
            raise
        console.print(f"The bucket cannot be cleaned: {error}", markup=False)
    console.print(f"{count} objects of jobs that are long over {done} removed.")
