"""The benchmark runs at all."""

import asyncio
import json
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

from benchmarks.clouds import jetstream
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
    assert "agent on NATS" in done.stdout


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
            emptied = asyncio.create_task(nats.emptied())
            received = await queue.receive(2, wait=5, visibility_timeout=30)
            for message in received:
                ending = {"id": json.loads(message.body)["metadata"]["id"], "status": "completed"}
                await topic.publish(json.dumps(ending), {"runtime": "benchmark", **ending})
            await queue.delete(received[0])
            assert not emptied.done()
            await queue.delete(received[1])
            await emptied
        heard = [(job, status) for job, status, _ in (await nats.record())["notified"]]
        assert sorted(heard) == [("a", "completed"), ("b", "completed")]
        await nats.mark()
        assert (await nats.record())["notified"] == []
    assert not (tmp_path / "nats").exists()
