"""The command line as an operator uses it."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from command_here import Ended, queue_agent_here
from harness import PATIENCE, Scene, scene, webui_settings
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess, free_port


def command(*arguments: str, **environment: str) -> Ended:
    """`queue-agent` with this environment, here: for what ends by itself and takes no signal."""
    return queue_agent_here(*arguments, environment=environment)


def command_in_a_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `queue-agent` with only this environment beside the system's."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    return subprocess.run(
        [sys.executable, "-m", "queue_agent", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )


def agent_environment(stage: Scene) -> dict[str, str]:
    return {
        **stage.embedded.environment(),
        **stage.deployment.environment(),
        **stage.settings,
        "COLUMNS": "200",
    }


def test_missing_settings_end_the_agent_with_code_2_and_a_line_each() -> None:
    ended = command_in_a_process("run")
    assert ended.returncode == 2
    lines = ended.stderr.strip().splitlines()
    assert [line.split()[0] for line in lines] == [
        "QUEUE_AGENT_QUEUE_URL",
        "QUEUE_AGENT_TOPIC_ARN",
        "QUEUE_AGENT_BUCKET",
        "QUEUE_AGENT_RUNTIME",
    ]


async def test_an_unknown_runtime_is_one_line_that_names_the_known_ones(stage: Scene) -> None:
    environment = {**agent_environment(stage), "QUEUE_AGENT_RUNTIME": "webui2"}
    ended = await asyncio.to_thread(command, "run", **environment)
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert "cog, comfyui, diffusers, http, openai, triton, webui" in line


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("run", {"QUEUE_AGENT_RUNTIME": "webui2"}),
        ("gateway", {"QUEUE_AGENT_GATEWAY_HOST": "0.0.0.0"}),
    ],
)
def test_a_mistyped_name_is_warned_of_at_the_start(name: str, ending: dict[str, str]) -> None:
    deployment = {
        "QUEUE_AGENT_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/1/jobs",
        "QUEUE_AGENT_JOB_TOPIC_ARN": "arn:aws:sns:eu-central-1:1:jobs",
        "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-central-1:1:notifications",
        "QUEUE_AGENT_BUCKET": "results",
        "QUEUE_AGENT_RUNTIME_NAME": "sdruntime",
    }
    ended = command(name, **deployment, **ending, QUEUE_AGENT_LOG_LEVL="DEBUG")
    assert ended.returncode == 2
    (warning,) = [line for line in ended.stderr.splitlines() if "unknown setting" in line]
    told = json.loads(warning)
    assert (told["level"], told["name"]) == ("warning", "QUEUE_AGENT_LOG_LEVL")
    assert told["nearest"] == "QUEUE_AGENT_LOG_LEVEL"


async def test_check_ticks_each_thing_that_works_and_masks_secrets(stage: Scene) -> None:
    environment = {
        **agent_environment(stage),
        "QUEUE_AGENT_RUNTIME_AUTH": "me:planted-secret",
        "QUEUE_AGENT_PREFETCHES": "planted-value",
    }
    ended = await asyncio.to_thread(command, "check", **environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "! QUEUE_AGENT_PREFETCHES is no setting; is QUEUE_AGENT_PREFETCH meant?" in ended.stdout
    assert "planted-value" not in ended.stdout
    for line in (
        "✓ queue: visibility timeout 30 s, to its dead-letter queue after 3 deliveries",
        "✓ topic: arn:aws:sns:",
        f"✓ bucket: {stage.deployment.bucket} is readable and writable",
        "✓ wiring: neither notifications nor events of the bucket reach the job queue",
        "✓ runtime: webui is ready",
    ):
        assert line in ended.stdout
    assert "planted-secret" not in ended.stdout
    assert "********" in ended.stdout
    assert await stage.bucket_keys() == []


async def test_check_gives_the_reason_and_a_hint_for_each_thing_that_does_not(
    stage: Scene,
) -> None:
    environment = {
        **agent_environment(stage),
        **webui_settings(f"http://127.0.0.1:{free_port()}"),
        "QUEUE_AGENT_QUEUE_URL": stage.deployment.queue_url + "-none",
        "QUEUE_AGENT_TOPIC_ARN": stage.deployment.notification_topic + "-none",
        "QUEUE_AGENT_BUCKET": stage.deployment.bucket + "-none",
    }
    ended = await asyncio.to_thread(command, "check", **environment)
    assert ended.returncode == 1
    for name in ("queue", "topic", "bucket", "runtime"):
        assert f"✗ {name}: " in ended.stdout
    assert "is not ready (away): The runtime cannot be reached: " in " ".join(ended.stdout.split())
    assert ended.stdout.count("→") == 4
    assert "Traceback" not in ended.stderr


async def test_check_names_a_folder_of_models_that_cannot_be_written(
    stage: Scene, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    environment = {
        **agent_environment(stage),
        "QUEUE_AGENT_MODELS_FOLDER": str(folder),
        "QUEUE_AGENT_MODEL_HOSTS": "huggingface.co",
    }
    ended = await asyncio.to_thread(command, "check", **environment)
    assert ended.returncode == 1
    assert f"✗ models: The folder of models {folder}" in ended.stdout
    assert "mounted so that the agent can write, too?" in " ".join(ended.stdout.split())
    folder.mkdir()
    ended = await asyncio.to_thread(command, "check", **environment)
    assert ended.returncode == 0, ended.stdout
    assert f"✓ models: {folder} is writable" in ended.stdout


async def test_check_refuses_a_wiring_by_which_what_agents_write_comes_back(stage: Scene) -> None:
    environment = agent_environment(stage)
    one_topic = {**environment, "QUEUE_AGENT_TOPIC_ARN": stage.deployment.job_topic}
    ended = await asyncio.to_thread(command, "check", **one_topic)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "✗ wiring: notifications reach the job queue" in ended.stdout
    assert '"status": [{"exists": false}]' in " ".join(ended.stdout.split())
    s3, sqs = await stage.cloud.client("s3"), await stage.cloud.client("sqs")
    answer = await sqs.get_queue_attributes(
        QueueUrl=stage.deployment.queue_url, AttributeNames=["QueueArn"]
    )
    events = {"QueueArn": answer["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*"]}
    await s3.put_bucket_notification_configuration(
        Bucket=stage.deployment.bucket,
        NotificationConfiguration={"QueueConfigurations": [events]},
    )
    ended = await asyncio.to_thread(command, "check", **environment)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "✗ wiring: events of the bucket reach the job queue" in ended.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_what_submit_made_to_wait_with_is_removed_by_the_signal_that_ends_it(
    stage: Scene, number: signal.Signals
) -> None:
    before = await listening(stage)
    waiting = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queue_agent", "submit", "--wait", "--prompt", "a cat"),
        env={
            "PATH": os.environ["PATH"],
            **agent_environment(stage),
            "QUEUE_AGENT_JOB_TOPIC_ARN": stage.deployment.job_topic,
            "QUEUE_AGENT_RUNTIME_NAME": stage.deployment.runtime_name,
        },
        stdout=asyncio.subprocess.DEVNULL,
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),  # background jobs ignore some
    )
    jobs = stage.cloud.queue(stage.deployment.queue_url)
    async with asyncio.timeout(PATIENCE):
        while not await jobs.receive(1, wait=20, visibility_timeout=30):
            pass
    (its_own,) = await listening(stage) - before
    waiting.send_signal(number)
    async with asyncio.timeout(PATIENCE):
        assert await waiting.wait() == 128 + number
    assert await listening(stage) == before
    sqs = await stage.cloud.client("sqs")
    left = await sqs.list_queues(QueueNamePrefix=its_own.rpartition(":")[2])
    assert left.get("QueueUrls", []) == []


async def listening(stage: Scene) -> set[str]:
    """The ARNs of the queues that notifications are heard by."""
    sns = await stage.cloud.client("sns")
    answer = await sns.list_subscriptions_by_topic(TopicArn=stage.deployment.notification_topic)
    return {each["Endpoint"] for each in answer["Subscriptions"]}


@pytest.mark.parametrize("wire_format", ["job", "notification", "result"])
def test_schema_prints_json_schema(wire_format: str) -> None:
    schema = json.loads(command("schema", wire_format).stdout)
    assert schema["type"] == "object"
    assert "properties" in schema


def test_schema_of_something_else_ends_with_code_2() -> None:
    assert command("schema", "nonsense").returncode == 2


def test_runtimes_lists_the_adapters_and_their_task_types() -> None:
    lines = command("runtimes").stdout.splitlines()
    listed = {line.split()[0]: line for line in lines}
    assert {"cog", "comfyui", "diffusers", "openai", "triton", "webui"} <= set(listed)
    assert "pipeline" in listed["comfyui"]
    assert "extra-batch-images" in listed["webui"]


async def test_check_run_and_submit_work_where_topics_and_queues_keep_an_order(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path: Path
) -> None:
    settings = {**webui_settings(webui.url), "QUEUE_AGENT_NOTIFY_RUNNING": "true"}
    name = f"fifo-{secrets.token_hex(4)}"
    async with scene(embedded_cloud, name, tmp_path, settings, fifo=True) as stage:
        environment = agent_environment(stage)
        checked = await asyncio.to_thread(command, "check", **environment)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        stage.start_agent()
        for job_id in ("one", "two"):
            await stage.publish(stage.job(job_id))
        submit = ("submit", "--prompt", "a picture", "--id", "three", "--wait")
        environment["QUEUE_AGENT_JOB_TOPIC_ARN"] = stage.deployment.job_topic
        ended = await asyncio.to_thread(command_in_a_process, *submit, **environment)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert json.loads(ended.stdout)["status"] == "completed"
        for job_id in ("one", "two"):
            assert (await stage.answer(job_id))["status"] == "completed"
        await stage.emptied()
