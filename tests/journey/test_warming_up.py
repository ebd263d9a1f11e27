"""An agent's process warms its runtime up before it takes a job."""

import asyncio
import json
import secrets
from pathlib import Path

import httpx

from harness import JsonObject, comfyui_process, scene
from queue_agent.testing.aws import EmbeddedCloud

BODY: dict[str, JsonObject] = {
    "metadata": {"tasktype": "text-to-image"},
    "content": {"prompt": "warm", "steps": 2, "width": 64, "height": 64},
}


async def test_the_job_of_a_file_runs_first_and_leaves_nothing_behind(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    name = f"comfyui-{secrets.token_hex(4)}"
    file = tmp_path / "warm-up.json"
    file.write_text(json.dumps(BODY))
    with comfyui_process("--step-seconds", "0.01") as server:
        settings = {
            "QUEUE_AGENT_RUNTIME": "comfyui",
            "QUEUE_AGENT_RUNTIME_URL": server.url,
            "QUEUE_AGENT_WARM_UP": str(file),
        }
        async with scene(embedded_cloud, name, tmp_path, settings) as stage:
            stage.start_agent()
            await stage.publish(
                {
                    "metadata": {"id": "a", "runtime": name, "tasktype": "text-to-image"},
                    "content": {**BODY["content"], "prompt": "asked for"},
                }
            )
            assert (await stage.answer("a"))["status"] == "completed"
            await stage.emptied()
            assert not [key for key in await stage.bucket_keys() if "warm-up" in key]
        state = (await asyncio.to_thread(httpx.get, f"{server.url}/fake/state")).json()
    assert [run["outcome"] for run in state["runs"]] == ["success", "success"]
