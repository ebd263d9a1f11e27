"""The commands for publishers: submit, status, cancel, redrive."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gateway_site import Content, Site
from queue_agent.client import make_job


def command(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "queue_agent", *arguments],
        env={**os.environ, **site.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_local_image_is_submitted_and_the_result_shown_and_saved_later(
    site: Site, tmp_path: Path
) -> None:
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "cat.png")
    runtime = site.deployment.runtime_name
    submitted = command(
        site, "submit", "--prompt", "a cat", "--steps", "2", "--width", "64", "--height", "64",
        "--image", str(tmp_path / "cat.png"), "--runtime", runtime, "--wait",
    )  # fmt: skip
    assert submitted.returncode == 0, submitted.stderr
    job_id = json.loads(submitted.stdout)["id"]
    shown = command(site, "status", job_id, "--output", str(tmp_path / "out"))
    assert (shown.returncode, json.loads(shown.stdout)["status"]) == (0, "completed")
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_job_is_cancelled_by_its_id(site: Site, content: Content, tmp_path: Path) -> None:
    endless = content("endless", steps=1000, n_iter=20)
    job = make_job(endless, runtime=site.deployment.runtime_name)
    (tmp_path / "job.json").write_text(job.model_dump_json())
    submitted = command(site, "submit", "--file", str(tmp_path / "job.json"))
    job_id = submitted.stdout.strip()
    assert command(site, "status", job_id).returncode in {3, 4}
    assert command(site, "cancel", job_id).stdout.strip() == job_id
    status = 3
    while status in {3, 4}:  # not ended, or not begun
        shown = command(site, "status", job_id)
        status = shown.returncode
    assert (status, json.loads(shown.stdout)["status"]) == (1, "cancelled")


@pytest.mark.parametrize("arguments", [("cancel", "../x"), ("status", "a/b"), ("status", "")])
def test_what_can_be_no_id_is_refused_in_one_line(site: Site, arguments: tuple[str, ...]) -> None:
    ended = command(site, *arguments)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_chosen_dead_letters_are_shown_and_sent_back(site: Site) -> None:
    mine = secrets.token_hex(4)
    jobs = [
        make_job({"prompt": "x"}, runtime="r", job_id=f"{mine}-{name}") for name in ("one", "two")
    ]

    async def bury() -> None:
        cloud = site.embedded.connect()
        try:
            for job in jobs:
                queue = cloud.queue(str(site.deployment.dead_letter_queue_url))
                await queue.send(job.model_dump_json(), {"runtime": "r"})
        finally:
            await cloud.aclose()

    asyncio.run(bury())
    queue = ("--queue", site.deployment.queue_url)
    shown = command(site, "redrive", *queue, "--id", f"{mine}-*", "--dry-run")
    assert sorted(shown.stdout.split()) == [job.id for job in jobs]
    assert shown.stderr.strip() == "2 would be sent back"
    first = command(site, "redrive", *queue, "--id", f"{mine}-*", "--dry-run", "--limit", "1")
    assert first.stderr.strip() == "1 would be sent back"
    none = command(site, "redrive", *queue, "--id", f"{mine}-three", "--dry-run")
    assert (none.stdout, none.stderr.strip()) == ("", "0 would be sent back")
    sent = command(site, "redrive", *queue, "--id", f"{mine}-one")
    assert sent.stdout.split() == [f"{mine}-one"]
    left = command(site, "redrive", *queue, "--id", f"{mine}-*", "--task-type", "text-to-image")
    assert left.stdout.split() == [f"{mine}-two"]
