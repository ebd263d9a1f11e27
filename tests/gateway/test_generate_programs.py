"""Programs written for a worker of FastAPI and Redis, which know nothing but its address."""

import asyncio
import json
from typing import Any, Final

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from harness import PATIENCE
from queue_agent.testing.process import ServerProcess

REQUEST: Final[dict[str, Any]] = {
    "prompt": "a lighthouse at dusk",
    "negative_prompt": "fog",
    "num_inference_steps": 3,
    "guidance_scale": 7.5,
    "width": 64,
    "height": 64,
    "seed": 42,
}


async def polling_program(address: str) -> bytes:
    """Asks, looks every now and then, fetches; as a guide's client does."""
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE) as http:
        job = (await http.post("/generate", json=REQUEST)).raise_for_status().json()
        assert job["status"] in {"pending", "processing", "completed"}
        while True:
            state = (await http.get(f"/jobs/{job['job_id']}")).raise_for_status().json()
            if state["status"] == "failed":
                raise RuntimeError(state["error"])
            if state["status"] == "completed":
                return (await http.get(state["image_url"])).raise_for_status().content
            await asyncio.sleep(0.1)


async def listening_program(address: str, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Asks, and hears how far it is."""
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE) as http:
        job = (await http.post("/generate", json=request)).raise_for_status().json()
    socket_address = address.replace("http", "ws", 1)
    async with connect(f"{socket_address}/ws/jobs/{job['job_id']}", open_timeout=PATIENCE) as news:
        return [json.loads(message) async for message in news]


async def test_a_program_that_polls_has_its_image(gateway: ServerProcess) -> None:
    async with asyncio.timeout(PATIENCE):
        image = await polling_program(gateway.url)
    assert image.startswith(b"\x89PNG")


async def test_a_program_that_listens_hears_of_each_change_until_the_end(
    gateway: ServerProcess,
) -> None:
    async with asyncio.timeout(PATIENCE):
        heard = await listening_program(gateway.url, {**REQUEST, "num_inference_steps": 200})
    assert all(message.keys() == {"status", "progress"} for message in heard)
    assert heard[-1] == {"status": "completed", "progress": 1.0}
    progress = [message["progress"] for message in heard]
    assert progress == sorted(progress)
    assert len({*map(json.dumps, heard)}) == len(heard), "nothing is told twice"


async def test_a_program_that_calls_its_job_off_hears_the_end(
    gateway: ServerProcess, api: httpx.AsyncClient
) -> None:
    job = (await api.post("/generate", json={**REQUEST, "num_inference_steps": 1000})).json()
    address = f"ws://127.0.0.1:{gateway.port}/ws/jobs/{job['job_id']}"
    async with asyncio.timeout(PATIENCE), connect(address, open_timeout=PATIENCE) as news:
        assert (await api.delete(f"/jobs/{job['job_id']}")).status_code == 200
        heard = [json.loads(message) async for message in news]
    assert heard[-1]["status"] == "failed"


async def test_a_socket_to_a_job_that_is_not_there_is_answered_404(gateway: ServerProcess) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"ws://127.0.0.1:{gateway.port}/ws/jobs/none", open_timeout=PATIENCE):
            pass
    answer = caught.value.response
    assert answer.status_code == 404
    assert json.loads(answer.body or b"") == {"detail": "There is no job of that id."}
