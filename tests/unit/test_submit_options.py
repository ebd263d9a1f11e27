"""What is typed at `queue-agent submit` becomes the job that is published."""

import asyncio
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from queue_agent.cli import submit as command
from queue_agent.cli.app import app
from queue_agent.client import Client, make_job
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.wire.job import Job

TOPIC = "arn:aws:sns:eu-central-1:123456789012:jobs"
Submit = Callable[..., Job]


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> Submit:
    """Run the command; the job that went to the client."""
    jobs: list[Job] = []

    async def take(_: Client, job: Job, **__: Any) -> None:
        jobs.append(job)

    monkeypatch.setattr(command, "submit", take)

    def run(*options: str, given: str = "") -> Job:
        ended = CliRunner().invoke(app, ["submit", "--topic", TOPIC, *options], input=given)
        assert ended.exit_code == 0, ended.output
        return jobs[-1]

    return run


def test_each_option_is_a_field_of_the_portable_form(submitted: Submit) -> None:
    job = submitted(
        *("--prompt", "a cat", "--negative-prompt", "a dog", "--model", "tiny.safetensors"),
        *("--sampler", "Euler a", "--cfg", "4.5", "--batch", "3", "--strength", "0.25"),
        *("--image", "https://example.org/cat.png"),
    )
    assert job.content == {
        "prompt": "a cat",
        "negative_prompt": "a dog",
        "model": "tiny.safetensors",
        "sampler_name": "Euler a",
        "cfg_scale": 4.5,
        "batch_size": 3,
        "denoising_strength": 0.25,
        "init_images": ["https://example.org/cat.png"],
    }
    assert job.metadata.tasktype == "image-to-image"


def test_a_video_has_its_length_and_its_frames(submitted: Submit) -> None:
    first, last = "https://example.org/first.png", "s3://inputs/last.png"
    job = submitted(
        *("--prompt", "waves", "--seconds", "2.5", "--fps", "24", "--frames", "61"),
        *("--image", first, "--last-frame", last),
    )
    assert job.content == {
        "prompt": "waves",
        "seconds": 2.5,
        "fps": 24,
        "frames": 61,
        "first_frame": first,
        "last_frame": last,
    }
    assert job.task_type == "image-to-video"
    assert submitted("--prompt", "waves", "--seconds", "4").task_type == "text-to-video"


def test_the_kind_of_job_says_what_an_image_is(submitted: Submit) -> None:
    image = "https://example.org/cat.png"
    options = ("--prompt", "", "--image", image, "--task-type")
    mesh = submitted(*options, "image-to-3d")
    assert (mesh.task_type, mesh.content) == ("image-to-3d", {"prompt": "", "image": image})
    video = submitted(*options, "image-to-video").content
    assert video == {"prompt": "", "first_frame": image}
    edit = submitted(*options, "image-to-image").content
    assert edit == {"prompt": "", "init_images": [image]}


def test_a_mask_stands_beside_the_image(submitted: Submit) -> None:
    image, mask = "https://example.org/cat.png", "s3://inputs/mask.png"
    job = submitted("--prompt", "a cat", "--image", image, "--mask", mask)
    assert (job.content["init_images"], job.content["mask"]) == ([image], mask)
    given = json.dumps({"content": {"prompt": "a dog", "init_images": [image]}})
    assert submitted("--mask", mask, given=given).content["mask"] == mask


def test_image_and_mask_may_be_files_which_are_uploaded(
    submitted: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = MemoryCloud()
    place = cloud.deploy("sd")
    files = {name: tmp_path / f"{name}.bin" for name in ("image", "mask")}
    for name, file in files.items():
        file.write_bytes(name.encode())

    def from_env(given: dict[str, str | None]) -> Client:
        return Client(cloud, bucket=given["QUEUE_AGENT_BUCKET"])

    monkeypatch.setattr(Client, "from_env", from_env)
    job = submitted(
        *("--prompt", "a cat", "--bucket", place.bucket),
        *(word for name, file in files.items() for word in (f"--{name}", str(file))),
    )
    addresses = [job.content["init_images"][0], job.content["mask"]]  # type: ignore[index]
    bucket = cloud.bucket(place.bucket)
    keys = [str(address).split("/", 3)[3] for address in addresses]
    assert [asyncio.run(bucket.read(key)) for key in keys] == [b"image", b"mask"]


def test_a_mask_of_nothing_and_one_that_is_no_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "QUEUE_AGENT_REGION"):  # the topic names one
        monkeypatch.delenv(name, raising=False)
    for options, words in (
        (("--mask", "https://example.org/m.png"), "--mask needs --image"),
        (("--image", "https://a.example/b.png", "--mask", str(tmp_path / "none")), "--mask: "),
    ):
        arguments = ["submit", "--topic", TOPIC, "--prompt", "a", "--bucket", "results", *options]
        ended = CliRunner().invoke(app, arguments)
        assert ended.exit_code == 2
        assert words in ended.stderr


@pytest.mark.parametrize(
    ("options", "wanted"), [(["--previews"], True), (["--no-previews"], False), ([], None)]
)
def test_previews_are_asked_for(submitted: Submit, options: list[str], wanted: bool | None) -> None:
    assert submitted("--prompt", "a cat", *options).metadata.previews is wanted


def test_prefix_priority_tenant_and_expiry_are_metadata(submitted: Submit) -> None:
    before = datetime.now(UTC)
    job = submitted(
        *("--prompt", "a cat", "--prefix", "mine/today", "--priority", "high"),
        *("--tenant", "blue"),
        *("--expires-in", "60", "--id", "order-1", "--runtime", "sd"),
    )
    assert (job.id, job.prefix, job.metadata.priority) == ("order-1", "mine/today", "high")
    assert (job.metadata.runtime, job.metadata.tenant) == ("sd", "blue")
    assert job.metadata.expires_at is not None
    assert before + timedelta(seconds=59) < job.metadata.expires_at


def test_a_deadline_is_a_moment_or_so_many_seconds_away(submitted: Submit) -> None:
    job = submitted("--prompt", "a cat", "--deadline", "2030-01-01T12:00:00+02:00")
    assert job.metadata.deadline == datetime(2030, 1, 1, 10, tzinfo=UTC)
    before = datetime.now(UTC)
    near = submitted("--prompt", "a cat", "--within", "60").metadata.deadline
    assert near is not None
    assert before + timedelta(seconds=59) < near < datetime.now(UTC) + timedelta(seconds=61)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--deadline", "tomorrow"), "metadata.deadline"),
        (("--deadline", "2030-01-01T12:00:00"), "metadata.deadline"),
        (("--within", "1e300"), "--within: 1e+300 seconds are too many"),
        (("--deadline", "2030-01-01T12:00:00Z", "--within", "5"), "not both"),
    ],
)
def test_a_deadline_that_is_none_is_refused_in_words(options: tuple[str, ...], said: str) -> None:
    given = ["submit", "--topic", TOPIC, "--prompt", "a cat", *options]
    ended = CliRunner().invoke(app, given)
    assert ended.exit_code == 2
    assert said in " ".join(ended.output.split())


@pytest.mark.parametrize("from_file", [True, False])
def test_options_win_over_what_a_job_says(
    submitted: Submit, tmp_path: Path, *, from_file: bool
) -> None:
    text = json.dumps(
        {"metadata": {"id": "one", "priority": "low"}, "content": {"prompt": "a cat", "steps": 9}}
    )
    file = tmp_path / "job.json"
    file.write_text(text)
    options = ("--batch", "2", "--steps", "5", "--priority", "high")
    where = ("--file", str(file)) if from_file else ()
    job = submitted(*options, *where, given=text)
    assert job.content == {"prompt": "a cat", "steps": 5, "batch_size": 2}
    assert (job.id, job.metadata.priority) == ("one", "high")


async def test_programs_are_told_the_id_in_a_json_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = Client(MemoryCloud(), job_topic="jobs")
    job = make_job({"prompt": "a cat"}, job_id="order-1", runtime="sd")
    await command.submit(client, job, as_json=True)
    (line,) = io.StringIO(capsys.readouterr().out)
    assert (json.loads(line)["id"], json.loads(line)["runtime"]) == ("order-1", "sd")
