"""`queue-agent cancel`: nobody wants this job any more."""

from queue_agent.client import Client


async def cancel(client: Client, job_id: str) -> None:
    """Leave the marker that agents look for, and print the id."""
    await client.cancel(job_id)
    print(job_id)
