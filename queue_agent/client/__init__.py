"""For publishers and subscribers: publish jobs, follow them, get the images, call them off.

    async with Client.from_env() as client:
        job = await client.submit("a lighthouse at dusk", steps=20)
        async for event in job.events():
            print(event.status, event.progress)
        await job.save("out")

What is returned and raised is of the types that stand here beside the client.
"""

from queue_agent.client.client import Client
from queue_agent.client.handle import JobFailed, SubmittedJob
from queue_agent.client.inputs import Input
from queue_agent.client.results import ResultLocation
from queue_agent.client.sync import SyncClient, SyncJob
from queue_agent.client.traces import Trace
from queue_agent.client.usage import UsageKey, UsagePeriod, UsageReport, UsageSum
from queue_agent.wire.capacity import SpotEstimate
from queue_agent.wire.errors import (
    ObjectNotFound,
    QueueAgentError,
    Rejected,
    SettingsError,
    Unavailable,
)
from queue_agent.wire.estimate import JobEstimate, Spread
from queue_agent.wire.job import Job, Metadata
from queue_agent.wire.notification import (
    ErrorReport,
    Image,
    ImageVariant,
    LatestPreview,
    Notification,
    Status,
    Timings,
)
from queue_agent.wire.output import FileFormat, MetadataRule, OutputOptions
from queue_agent.wire.result import Result
from queue_agent.wire.submission import make_job

__all__ = [
    "Client",
    "ErrorReport",
    "FileFormat",
    "Image",
    "ImageVariant",
    "Input",
    "Job",
    "JobEstimate",
    "JobFailed",
    "LatestPreview",
    "Metadata",
    "MetadataRule",
    "Notification",
    "ObjectNotFound",
    "OutputOptions",
    "QueueAgentError",
    "Rejected",
    "Result",
    "ResultLocation",
    "SettingsError",
    "SpotEstimate",
    "Spread",
    "Status",
    "SubmittedJob",
    "SyncClient",
    "SyncJob",
    "Timings",
    "Trace",
    "Unavailable",
    "UsageKey",
    "UsagePeriod",
    "UsageReport",
    "UsageSum",
    "make_job",
]
