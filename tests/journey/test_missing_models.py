"""An agent's process fetches the models that a workflow needs before ComfyUI hears of it."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from harness import JsonObject, Scene, comfyui_process, scene
from model_site import ModelSite, digest, model_bytes, model_site
from queue_agent.testing.aws import EmbeddedCloud

CHECKPOINT = "tiny.safetensors"


def template(model: JsonObject) -> JsonObject:
    """A workflow as the editor saves it, whose checkpoint node says where its model is from."""

    def slot(name: str, kind: str, link: int) -> JsonObject:
        return {"name": name, "type": kind, "link": link}

    def node(number: int, kind: str, values: list[JsonValue], **more: Any) -> JsonObject:
        return {"id": number, "type": kind, "widgets_values": values, "mode": 0, **more}

    out = [{"name": kind, "type": kind} for kind in ("MODEL", "CLIP", "VAE")]
    return {
        "nodes": [
            node(1, "CheckpointLoaderSimple", [model["name"]], outputs=out, inputs=[],
                 properties={"models": [model]}),
            node(2, "CLIPTextEncode", ["a lighthouse"], inputs=[slot("clip", "CLIP", 1)],
                 outputs=[{"type": "CONDITIONING"}]),
            node(3, "EmptyLatentImage", [64, 64, 1], inputs=[], outputs=[{"type": "LATENT"}]),
            node(4, "KSampler", [7, "fixed", 2, 7.0, "euler", "normal", 1.0],
                 inputs=[slot("model", "MODEL", 2), slot("positive", "CONDITIONING", 3),
                         slot("negative", "CONDITIONING", 4), slot("latent_image", "LATENT", 5)],
                 outputs=[{"type": "LATENT"}]),
            node(5, "VAEDecode", [], inputs=[slot("samples", "LATENT", 6), slot("vae", "VAE", 7)],
                 outputs=[{"type": "IMAGE"}]),
            node(6, "SaveImage", ["cat"], inputs=[slot("images", "IMAGE", 8)]),
        ],
        "links": [
            [1, 1, 1, 2, 0, "CLIP"], [2, 1, 0, 4, 0, "MODEL"], [3, 2, 0, 4, 1, "CONDITIONING"],
            [4, 2, 0, 4, 2, "CONDITIONING"], [5, 3, 0, 4, 3, "LATENT"], [6, 4, 0, 5, 0, "LATENT"],
            [7, 1, 2, 5, 1, "VAE"], [8, 5, 0, 6, 0, "IMAGE"],
        ],
    }  # fmt: skip


@dataclass
class Stage:
    scene: Scene
    site: ModelSite
    folder: Path
    name: str

    async def publish(self, job_id: str, content: JsonObject, **metadata: Any) -> None:
        told = {"id": job_id, "runtime": self.name, "tasktype": "pipeline", **metadata}
        await self.scene.publish({"metadata": told, "content": content})

    def fetched(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*.safetensors")
        }


@asynccontextmanager
async def stage(embedded: EmbeddedCloud, folder: Path, **settings: str) -> AsyncIterator[Stage]:
    name = f"comfyui-{secrets.token_hex(4)}"
    models = folder / "models"
    models.mkdir()
    async with model_site() as site:
        with comfyui_process("--models", str(models), "--step-seconds", "0.01") as server:
            given = {
                "QUEUE_AGENT_RUNTIME": "comfyui",
                "QUEUE_AGENT_RUNTIME_URL": server.url,
                "QUEUE_AGENT_MODELS_FOLDER": str(models),
                "QUEUE_AGENT_REFERENCE_ALLOW": "127.0.0.1/32",
                "QUEUE_AGENT_NOTIFY_RUNNING": "true",
                "QUEUE_AGENT_PROGRESS_INTERVAL": "0",
                **settings,
            }
            async with scene(embedded, name, folder, given) as opened:
                yield Stage(opened, site, models, name)


async def test_a_templates_missing_model_is_fetched_and_others_overtake_its_job(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    hosts = {"QUEUE_AGENT_MODEL_HOSTS": "127.0.0.1/32"}
    async with stage(embedded_cloud, tmp_path, **hosts) as on:
        data, go_on = model_bytes(100_000), asyncio.Event()
        url = on.site.serve("/real", data, go_on=go_on)
        url = on.site.redirect("/resolve/tiny", url)
        model = {"name": CHECKPOINT, "url": url, "directory": "checkpoints", "hash": digest(data),
                 "hash_type": "SHA256"}  # fmt: skip
        on.scene.start_agent()
        await on.publish("slow", template(model))
        await on.scene.heard(
            lambda heard: any("stage" in one for one in heard), what="what is fetched"
        )
        await on.publish("quick", {"prompt": "a cat", "steps": 1}, tasktype="text-to-image")
        assert (await on.scene.answer("quick"))["status"] == "completed"
        assert on.scene.answers("slow") == []
        go_on.set()
        answer = await on.scene.answer("slow")
        assert (answer["status"], answer["attempt"]) == ("completed", 1)
        assert on.fetched() == {f"checkpoints/{CHECKPOINT}": data}
        stages = [one for one in on.scene.notifications if "stage" in one]
        assert {one["id"] for one in stages} == {"slow"}
        assert f"fetching model checkpoints/{CHECKPOINT}" in {one["stage"] for one in stages}
        await on.publish("again", template(model), context=1)
        await on.scene.answer("again")
        assert len(on.site.asked_for("/real")) == 1


async def test_the_operators_list_and_credentials_bring_a_model_that_jobs_only_name(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    listed, credentials = tmp_path / "models.json", tmp_path / "credentials.json"
    lists = {
        "QUEUE_AGENT_MODELS": str(listed),
        "QUEUE_AGENT_MODEL_CREDENTIALS": str(credentials),
    }
    async with stage(embedded_cloud, tmp_path, **lists) as on:
        data = model_bytes(1000)
        own = {"name": CHECKPOINT, "url": on.site.serve("/own", data), "directory": "checkpoints",
               "sha256": digest(data)}  # fmt: skip
        listed.write_text(json.dumps([own]))
        credentials.write_text(json.dumps({"127.0.0.1": "hf_secret"}))
        agent = on.scene.start_agent()
        job = {"prompt": "a cat", "steps": 1, "model": "tiny"}
        await on.publish("a", job, tasktype="text-to-image")
        assert (await on.scene.answer("a"))["status"] == "completed"
        assert on.fetched() == {f"checkpoints/{CHECKPOINT}": data}
        (asked,) = on.site.asked_for("/own")
        assert asked["authorization"] == "Bearer hf_secret"
        bad = {"name": "x.safetensors", "url": on.site.url + "/x", "directory": "checkpoints"}
        await on.publish("b", {**job, "prompt": "b"}, tasktype="text-to-image", models=[bad])
        answer = await on.scene.answer("b")
        assert answer["error"]["type"] == "model_forbidden"
        agent.stop()
    logs = (tmp_path / "agent-1.log").read_text()
    assert "hf_secret" not in logs
    assert "hf_secret" not in json.dumps(on.scene.notifications)


async def test_an_agent_that_is_killed_leaves_a_part_that_the_next_takes_up(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    hosts = {"QUEUE_AGENT_MODEL_HOSTS": "127.0.0.1/32"}
    async with stage(embedded_cloud, tmp_path, **hosts) as on:
        data = model_bytes(16 * 2**20)
        url = on.site.serve("/real", data, go_on=asyncio.Event())
        model = {"name": CHECKPOINT, "url": url, "directory": "checkpoints"}
        agent = on.scene.start_agent(QUEUE_AGENT_VISIBILITY_TIMEOUT="5")
        await on.publish("a", template(model))
        part = on.folder / "checkpoints" / f".{CHECKPOINT}.part"
        while not (part.exists() and part.stat().st_size > 4 * 2**20):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        agent.kill()
        on.site.paths["/real"].go_on = None
        on.scene.start_agent(QUEUE_AGENT_VISIBILITY_TIMEOUT="5")
        assert (await on.scene.answer("a"))["status"] == "completed"
        assert "range" in on.site.asked_for("/real")[-1]
        assert on.fetched() == {f"checkpoints/{CHECKPOINT}": data}
