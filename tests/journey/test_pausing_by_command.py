"""An operator pauses agents by the command line, and they say so, in processes of their own."""

import asyncio
import os
import subprocess
import sys

import httpx

from harness import PATIENCE, Scene, until


async def operate(stage: Scene, *arguments: str) -> str:
    """Run `queue-agent` for the stage's bucket; what it prints."""
    environment = {**os.environ, **stage.embedded.environment(), **stage.deployment.environment()}
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "queue_agent", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


async def test_an_agent_pauses_and_resumes_on_an_operators_word(stage: Scene) -> None:
    name = stage.deployment.runtime_name
    agent = stage.start_agent(QUEUE_AGENT_PAUSE_POLL="0.2")
    await stage.publish(stage.job("before"))
    assert (await stage.answer("before"))["status"] == "completed"
    told = await operate(stage, "pause", name, "--for", "1h", "--reason", "new nodes")
    assert told.startswith(f"{name}\tpaused\tthe runtime until ")

    async def paused() -> list[str]:
        answer = await asyncio.to_thread(httpx.get, f"{agent.url}/readyz")
        assert answer.status_code == 200, "a paused agent is not sick"
        said: list[str] = answer.json().get("paused", [])
        return said

    assert "(new nodes)" in (await until(paused, what="the pause"))[0]
    metrics = await asyncio.to_thread(httpx.get, f"{agent.url}/metrics")
    assert f'queue_agent_paused{{runtime="{name}"}} 1.0' in metrics.text
    await stage.publish(stage.job("within"))
    await stage.holds(1)
    assert stage.answers("within") == []
    assert await operate(stage, "pauses") == told
    assert await operate(stage, "resume", name) == ""
    answer = await stage.answer("within")
    assert (answer["status"], answer["attempt"]) == ("completed", 1)
