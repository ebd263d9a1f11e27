"""The agent with a store that is not S3, from its start."""

import json
import sys
from pathlib import Path

from harness import until, webui_settings
from odd_cloud import OddCloud
from queue_agent.cloud import shortcomings
from queue_agent.testing.process import ServerProcess, free_port


async def test_a_store_whose_creates_overwrite_is_warned_of_at_the_start(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    async with OddCloud(ignores_conditions=True).serving() as odd:
        agent = ServerProcess(
            [sys.executable, "-m", "queue_agent", "run"],
            env={
                "AWS_ENDPOINT_URL": odd.url,
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "id",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "QUEUE_AGENT_QUEUE_URL": f"{odd.url}/1/jobs",
                "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:us-east-1:1:news",
                "QUEUE_AGENT_BUCKET": "results",
                "QUEUE_AGENT_HEALTH_PORT": "0",
                "QUEUE_AGENT_LOG_FORMAT": "json",
                **webui_settings(f"http://127.0.0.1:{free_port()}"),
            },
            log=log,
        )
        agent.spawn()
        try:

            async def warnings() -> list[str]:
                entries = [json.loads(line) for line in log.read_text().splitlines()]
                return [one["reason"] for one in entries if one["event"] == "store falls short"]

            assert await until(warnings, what="a warning") == [shortcomings.CREATES]
        finally:
            agent.stop()
        assert odd.objects == {}
