"""Drop-in for the queue agent of AWS's guidance: its settings, its messages, unchanged."""

import io
import json
import secrets
from pathlib import Path

import pytest
from PIL import Image

from harness import JsonObject, Scene, comfyui_process, scene, webui_process
from queue_agent.testing.aws import EmbeddedCloud

MESSAGES = Path(__file__).parent.parent / "messages"


def sample(name: str, **replaced: str) -> JsonObject:
    """One of the guidance's sample messages, with placeholders for this machine replaced."""
    text = (MESSAGES / f"guidance-{name}.json").read_text()
    for old, new in replaced.items():
        text = text.replace({"image": "https://images.example.com/cat.png"}[old], new)
    message: JsonObject = json.loads(text)
    return message


def guidance_settings(stage: Scene, runtime_type: str, api: str) -> dict[str, str]:
    """The environment that the guidance's chart gives its agent, and nothing else."""
    return {
        "SQS_QUEUE_URL": stage.deployment.queue_url,
        "SNS_TOPIC_ARN": stage.deployment.notification_topic,
        "S3_BUCKET": stage.deployment.bucket,
        "RUNTIME_NAME": stage.deployment.runtime_name,
        "RUNTIME_TYPE": runtime_type,
        "API_BASE_URL": api,
        "DYNAMIC_SD_MODEL": "false",
        "EXP_CALLBACK_WHEN_RUNNING": "false",
        "LOGLEVEL": "info",
        "DISABLE_XRAY": "true",
    }


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "in an SNS envelope"])
async def test_the_guidances_samples_are_served_with_only_its_environment_names(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, raw: bool
) -> None:
    name = f"sdruntime-{secrets.token_hex(4)}"
    options = {"raw_delivery": raw, "max_receives": None}
    with webui_process("--step-seconds", "0.001") as webui:
        async with scene(embedded_cloud, name, tmp_path, {}, **options) as stage:
            stage.start_bare_agent(guidance_settings(stage, "sdwebui", f"{webui.url}/sdapi/v1/"))
            picture = io.BytesIO()
            Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
            bucket = stage.cloud.bucket(stage.deployment.bucket)
            await bucket.write("inputs/cat.png", picture.getvalue(), media_type="image/png")
            cat = bucket.url("inputs/cat.png")
            for kind in ("text-to-image", "image-to-image", "extra-single-image"):
                message = sample(kind, image=cat)["task"]
                message["metadata"]["runtime"] = name
                await stage.publish(message)
            for job_id in ("t2i-1", "i2i-1", "extra-1"):
                answer = await stage.answer(job_id)
                assert answer["status"] == "completed", answer["error"]
                assert answer["image_url"][0].startswith(
                    f"s3://{stage.deployment.bucket}/output/{job_id}/"
                )
            assert stage.answers("t2i-1")[0]["context"] == {"order": 7}
            assert stage.answers("i2i-1")[0]["context"] == ""
            (upscaled,) = stage.answers("extra-1")[0]["images"]
            assert (upscaled["width"], upscaled["height"]) == (256, 256)
            await stage.emptied()


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "in an SNS envelope"])
async def test_the_guidances_pipeline_sample_runs_with_only_its_environment_names(
    embedded_cloud: EmbeddedCloud, tmp_path: Path, raw: bool
) -> None:
    name = f"comfyruntime-{secrets.token_hex(4)}"
    with comfyui_process() as server:
        async with scene(embedded_cloud, name, tmp_path, {}, raw_delivery=raw) as stage:
            stage.start_bare_agent(guidance_settings(stage, "comfyui", server.url))
            job = sample("pipeline")["task"]
            job["metadata"]["runtime"] = name
            await stage.publish(job)
            answer = await stage.answer("pipeline-1")
            assert answer["status"] == "completed", answer
            (image,) = answer["images"]
            assert (image["width"], image["height"]) == (512, 512)
            await stage.emptied()


async def test_the_guidances_http_form_with_the_outer_task_is_unwrapped(stage: Scene) -> None:
    stage.start_agent()
    message = sample("text-to-image")
    message["task"]["metadata"]["runtime"] = stage.deployment.runtime_name
    await stage.send(json.dumps(message))
    assert (await stage.answer("t2i-1"))["status"] == "completed"
