"""A publisher that traces itself, as its own program: it submits one job by the client library."""

import asyncio
import os
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from queue_agent.client import Client


async def main(job_id: str) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": "publisher"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    async with Client.from_env() as client:
        await client.submit(
            "a lighthouse at dusk",
            id=job_id,
            runtime=os.environ["QUEUE_AGENT_RUNTIME_NAME"],
            steps=10,
            width=64,
            height=64,
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
