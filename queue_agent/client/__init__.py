"""For publishers and subscribers: publish jobs, follow them, get the images, call them off.

async with Client.from_env() as client:
    job = await client.submit("a lighthouse at dusk", steps=20)
    async for event in job.events():
        print(event.status, event.progress)
    await job.save("out")
"""

from queue_agent.client.client import Client
from queue_agent.client.handle import JobFailed, SubmittedJob
from queue_agent.client.inputs import Input, make_job
from queue_agent.client.sync import SyncClient, SyncJob

__all__ = ["Client", "Input", "JobFailed", "SubmittedJob", "SyncClient", "SyncJob", "make_job"]
