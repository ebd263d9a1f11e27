"""Outputs of tens of megabytes: an agent's memory knows nothing of them."""

import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.supervisor import Agent
from harness import Scene, scene, until
from queue_agent.tasks import background
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess

pytestmark = pytest.mark.asyncio

COUNT, BYTES = 4, 40_000_000
MARGIN = 100_000_000
"""Bytes over what the agent needs before its first job; all images together have more."""
SERVER = Path(__file__).parents[1] / "fakes" / "large_outputs.py"


@pytest.fixture(scope="module")
def runtime() -> Iterator[ServerProcess]:
    with ServerProcess([sys.executable, str(SERVER), "{port}", str(COUNT), str(BYTES)]) as server:
        yield server


@dataclass(frozen=True)
class Speaks:
    adapter: str
    tasktype: str = "text-to-image"
    pipeline: bool = False

    @property
    def content(self) -> dict[str, object]:
        if not self.pipeline:
            return {"prompt": "a cat", "batch_size": COUNT, "width": 64, "height": 64}
        save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
        return {"prompt": {"1": {"class_type": "EmptyImage", "inputs": {}}, "9": save}}


@pytest.mark.parametrize(
    "speaks",
    [Speaks("webui"), Speaks("openai"), Speaks("comfyui", "pipeline", pipeline=True)],
    ids=lambda speaks: speaks.adapter,
)
async def test_outputs_of_160_megabytes_leave_an_agent_small(
    embedded_cloud: EmbeddedCloud, runtime: ServerProcess, tmp_path: Path, speaks: Speaks
) -> None:
    async with scene(embedded_cloud, f"rt-{secrets.token_hex(4)}", tmp_path, {}) as stage:
        agent = Agent(environment(stage, runtime, speaks), log=tmp_path / "agent.log")
        async with background(agent.keep()):
            await until(lambda: is_taking(agent), what="an agent that takes jobs")
            before = agent.peak_memory()
            await stage.publish(stage.job("large-1", speaks.content, tasktype=speaks.tasktype))
            told = await stage.answer("large-1")
            grown = agent.peak_memory() - before
    assert told["status"] == "completed"
    assert [image["bytes"] > BYTES for image in told["images"]] == [True] * COUNT
    assert grown < MARGIN
    assert not agent.crashes


async def is_taking(agent: Agent) -> bool:
    return agent.log.exists() and '"started"' in agent.log.read_text()


def environment(stage: Scene, runtime: ServerProcess, speaks: Speaks) -> dict[str, str]:
    return {
        **stage.embedded.environment(),
        **stage.deployment.environment(),
        "QUEUE_AGENT_LOG_LEVEL": "DEBUG",
        "QUEUE_AGENT_LOG_FORMAT": "json",
        "QUEUE_AGENT_HEALTH_PORT": "0",
        "QUEUE_AGENT_RUNTIME": speaks.adapter,
        "QUEUE_AGENT_RUNTIME_URL": runtime.url,
        "TMPDIR": str(stage.folder),
    }
