"""The benchmark runs at all."""

import asyncio
import json
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from benchmarks.clouds import NatsJetStream, jetstream
from benchmarks.scheduling import SWITCH, mixed
from benchmarks.virtual_fleet import run_fleet
from queue_agent.cloud import Message
from queue_agent.cloud.nats import NatsCloud
from queue_agent.cloud.nats.addresses import NatsAddress

ROOT = Path(__file__).parents[2]


def test_the_benchmark_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", "smoke", "--no-write"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "agent" in done.stdout
    assert "sequential" in done.stdout
    (on_nats,) = [line for line in done.stdout.splitlines() if "agent on NATS" in line]
    assert " - " in on_nats, "calls are seen, which only the emulated AWS counts"


async def test_a_queue_on_nats_is_empty_once_all_is_answered_and_acknowledged(
    tmp_path: Path,
) -> None:
    async with jetstream(tmp_path / "nats", "0 ms") as nats:
        told = nats.environment("any")
        servers = NatsAddress.parse(told["QUEUE_AGENT_QUEUE_URL"]).servers
        await nats.send([json.dumps({"metadata": {"id": name}}) for name in "ab"])
        async with aclosing(NatsCloud(servers)) as cloud:
            queue = cloud.queue(told["QUEUE_AGENT_QUEUE_URL"])
            topic = cloud.topic(told["QUEUE_AGENT_TOPIC_ARN"])
            first, second = await queue.receive(2, wait=60, visibility_timeout=30)

            async def answer(message: Message) -> None:
                ending = {"id": json.loads(message.body)["metadata"]["id"], "status": "completed"}
                await topic.publish(json.dumps(ending), {"runtime": "benchmark", **ending})

            await answer(first)
            await queue.delete(first)
            await answer(second)
            await not_emptied(nats)
            await queue.delete(second)
            await nats.emptied()
            await nats.mark()
            await nats.send([json.dumps({"metadata": {"id": "c"}})])
            (third,) = await queue.receive(1, wait=60, visibility_timeout=30)
            await queue.delete(third)
            await not_emptied(nats)
            await answer(third)
            await nats.emptied()
        heard = [(job, status) for job, status, _ in (await nats.record())["notified"]]
        assert heard == [("c", "completed")]
    assert not (tmp_path / "nats").exists()


async def not_emptied(nats: NatsJetStream) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await nats.emptied()


def test_fewer_models_are_loaded_where_agents_look_ahead() -> None:
    plan = mixed(2, 40, 1, at_once=True)
    first_come, ahead = (
        run_fleet(plan, agents=2, switch=SWITCH, look_ahead=number) for number in (1, 8)
    )
    assert len(first_come.waits) == len(ahead.waits) == len(plan)
    assert ahead.switches < first_come.switches
    assert ahead.gpu_seconds < first_come.gpu_seconds
