"""What an agent's settings make of files, whatever its runtime."""

import pytest

from output_samples import planted_png
from queue_agent.cli.options import output_stage
from queue_agent.outputs import Order
from queue_agent.outputs.conversion import FileWish, made
from queue_agent.runtime import Artifact, installed_runtimes
from queue_agent.settings.agent import Settings
from queue_agent.wire.job import parse_job
from queue_agent.wire.output import MetadataRule

ENVIRONMENT = {
    "QUEUE_AGENT_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/1/jobs",
    "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:us-east-1:1:news",
    "QUEUE_AGENT_BUCKET": "results",
}
JOB = '{"metadata": {"id": "a", "tasktype": "text-to-image"}, "content": {}}'


@pytest.mark.parametrize("adapter", installed_runtimes())
async def test_links_lead_to_no_workflow_whatever_the_runtime(adapter: str) -> None:
    rules: dict[str, MetadataRule] = {"600": "minimal", "0": "keep"}
    for presign, metadata in rules.items():
        settings = {**ENVIRONMENT, "QUEUE_AGENT_RUNTIME": adapter, "QUEUE_AGENT_PRESIGN": presign}
        order = Order(parse_job(JOB))
        with order.files:
            (product,) = await output_stage(Settings.load(settings)).products(
                order, (Artifact(planted_png(), "image/png"),)
            )
            wanted = made(planted_png(), FileWish(metadata=metadata)).data
            assert product.artifact.data == wanted
