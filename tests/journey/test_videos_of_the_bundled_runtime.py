"""Videos of the bundled runtime from a message to the bucket: its real server, a tiny Wan."""

import base64
import io
import secrets
from pathlib import Path

import av

from diffusers_servers import tiny_video_server
from harness import scene
from queue_agent.testing import sample_png
from queue_agent.testing.aws import EmbeddedCloud


async def test_a_message_for_a_video_ends_with_one_in_the_bucket(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    with tiny_video_server() as server:
        settings = {"QUEUE_AGENT_RUNTIME": "diffusers", "QUEUE_AGENT_RUNTIME_URL": server.url}
        name = f"films-{secrets.token_hex(4)}"
        async with scene(embedded_cloud, name, tmp_path, settings) as stage:
            stage.start_agent()
            content = {"prompt": "waves", "steps": 2, "width": 64, "height": 80, "seed": 7}
            image = base64.b64encode(sample_png()).decode()
            jobs = {
                "text-to-video": {**content, "frames": 9, "fps": 8},
                "image-to-video": {**content, "seconds": 0.5, "fps": 10, "first_frame": image},
                "text-to-image": content,
            }
            for task_type, asked in jobs.items():
                await stage.publish(stage.job(task_type, asked, tasktype=task_type))
            for task_type, frames, fps in (("text-to-video", 9, 8), ("image-to-video", 5, 10)):
                answer = await stage.answer(task_type)
                assert answer["status"] == "completed", answer
                video = answer["images"][0]
                assert (video["media_type"], video["seed"]) == ("video/mp4", 7)
                assert (video["frames"], video["fps"]) == (frames, fps)
                assert video["duration"] == frames / fps
                assert (video["width"], video["height"]) == (64, 80)
                with av.open(io.BytesIO(await stage.read(video["url"])), "r") as played:
                    shown = [(frame.width, frame.height) for frame in played.decode(video=0)]
                assert shown == [(64, 80)] * frames
            refused = await stage.answer("text-to-image")
            assert (refused["status"], refused["error"]["final"]) == ("failed", True)
            assert "makes videos" in refused["error"]["message"]
            await stage.emptied()
