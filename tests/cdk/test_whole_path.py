"""From an HTTP event to the notification, with nothing configured but by the templates."""

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import helm_python
import pytest
import yaml
from assembly import CDK, JsonObject, synthesised
from emulated import Emulated, deploy
from iam import Call, allows, call_of
from image_service.chart_values import CHART
from intrinsics import ACCOUNT
from lambda_process import LambdaFunction, package_of, sdk_folder, started
from PIL import Image

from harness import until, webui_process
from queue_agent.cloud.aws import AwsCloud
from queue_agent.tasks import background
from queue_agent.testing.aws import REGION, EmbeddedCloud
from queue_agent.testing.fault_proxy import FaultProxy
from queue_agent.testing.process import ServerProcess

MESSAGES = CDK.parent / "tests" / "messages"


@dataclass
class Stage:
    """A deployment with its function and one agent, whose calls are recorded."""

    emulated: Emulated
    function: LambdaFunction
    recorder: FaultProxy
    rights: list[JsonObject]
    notifications: list[JsonObject] = field(default_factory=list)

    @property
    def cloud(self) -> AwsCloud:
        return self.emulated.cloud

    @property
    def bucket(self) -> str:
        return self.emulated.outputs["ResultsBucket"]

    async def answer(self, job_id: str) -> JsonObject:
        """The notification of a job."""

        async def look() -> JsonObject | None:
            return next((it for it in self.notifications if it["id"] == job_id), None)

        answer = await until(look, what=f"an answer to {job_id}")
        assert answer is not None
        return answer

    def calls(self) -> set[Call]:
        """What the agent has asked of the cloud so far."""
        return {call_of(it, region=REGION, account=ACCOUNT) for it in self.recorder.requests}

    async def listen(self, bodies: AsyncIterator[str]) -> None:
        async for body in bodies:
            self.notifications.append(json.loads(body))


def agent_environment(emulated: Emulated, release: str) -> dict[str, str]:
    """What the chart, rendered with the template's values, gives the agent's container."""
    files = helm_python.Chart.load(CHART).render(
        emulated.chart_values(release), name=release, namespace="images"
    )
    pods = [
        document["spec"]["template"]["spec"]
        for path, text in files.items()
        if not path.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if isinstance(document, dict) and document.get("kind") == "Deployment"
    ]
    (agent,) = [
        container
        for pod in pods
        for container in [*pod.get("initContainers", ()), *pod["containers"]]
        if container["name"] == "agent"
    ]
    return {entry["name"]: entry["value"] for entry in agent["env"] if "value" in entry}


def start_agent(given: dict[str, str], runtime: str, cloud: str, log: Path) -> ServerProcess:
    """The agent, told of this machine's ports what no template knows."""
    here = {
        "AWS_ENDPOINT_URL": cloud,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "pod",
        "AWS_SECRET_ACCESS_KEY": "pod",
        "QUEUE_AGENT_RUNTIME_URL": runtime,
        "QUEUE_AGENT_HEALTH_HOST": "127.0.0.1",
        "QUEUE_AGENT_HEALTH_PORT": "{port}",
        "QUEUE_AGENT_RECEIVE_WAIT": "1",
        "QUEUE_AGENT_POD_DELETION_COST": "false",
        "QUEUE_AGENT_TRACES": "off",
    }
    command = [sys.executable, "-m", "queue_agent", "run"]
    return ServerProcess(command, env={**given, **here}, log=log)


@asynccontextmanager
async def staged(embedded: EmbeddedCloud, folder: Path) -> AsyncIterator[Stage]:
    assembly = synthesised("two-runtimes")
    cloud = embedded.connect()
    try:
        emulated = await deploy(assembly, cloud)
        environment = emulated.function_environment() | embedded.environment()
        environment["AWS_DEFAULT_REGION"] = REGION
        (folder / "sdk").mkdir()
        package, sdk = package_of(assembly), sdk_folder(folder / "sdk")
        given = agent_environment(emulated, "webui")
        topic = cloud.topic(emulated.outputs["NotificationTopic"])
        with webui_process("--step-seconds", "0.01") as webui:
            async with (
                FaultProxy(embedded.url) as recorder,
                started(package, sdk, environment) as function,
                topic.subscribe() as bodies,
            ):
                agent = start_agent(given, webui.url, recorder.url, folder / "agent.log")
                await asyncio.to_thread(agent.start)
                stage = Stage(emulated, function, recorder, emulated.pod_rights("webui"))
                try:
                    async with background(stage.listen(bodies)):
                        yield stage
                finally:
                    await asyncio.to_thread(agent.stop)
    finally:
        await cloud.aclose()


def job(job_id: str, **metadata: object) -> JsonObject:
    return {
        "metadata": {"id": job_id, "tasktype": "text-to-image", "runtime": "webui", **metadata},
        "content": {"prompt": "a lighthouse", "steps": 2, "width": 64, "height": 64},
    }


async def test_a_request_becomes_an_image_and_a_notification_within_the_rights_of_the_pods(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    async with staged(embedded_cloud, tmp_path) as stage:
        await the_queue_is_what_the_template_says(stage)
        await an_image_is_made_and_told_of(stage)
        await inputs_are_read(stage)
        await a_cancelled_job_is_answered(stage)
        await what_nobody_understands_is_quarantined(stage)
        await other_queues_get_what_is_theirs(stage)
        calls_are_allowed(stage)
        others_are_out_of_reach(stage)


async def the_queue_is_what_the_template_says(stage: Stage) -> None:
    url = stage.emulated.chart_values("webui")["cloud"]["queueUrl"]
    policy = await stage.cloud.queue(url).policy()
    assert policy.visibility_timeout == 60
    assert policy.max_receives == 3


async def an_image_is_made_and_told_of(stage: Stage) -> None:
    answer = await stage.function.post(json.dumps({"task": job("first", context={"order": 7})}))
    assert answer["statusCode"] == 200, answer
    told = await stage.answer("first")
    assert told["status"] == "completed", told
    assert told["context"] == {"order": 7}
    assert told["output_url"].startswith(answer["body"]["output_location"] + "/")
    key = told["image_url"][0].removeprefix(f"s3://{stage.bucket}/")
    assert key.startswith("output/first/")
    picture = await stage.cloud.bucket(stage.bucket).read(key)
    assert Image.open(io.BytesIO(picture)).size == (64, 64)


async def inputs_are_read(stage: Stage) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
    bucket = stage.cloud.bucket(stage.bucket)
    await bucket.write("inputs/cat.png", picture.getvalue(), media_type="image/png")
    asked = json.loads((MESSAGES / "guidance-image-to-image.json").read_text())["task"]
    asked["metadata"] |= {"runtime": "webui", "prefix": "webui/cats"}
    asked["content"]["init_images"] = [bucket.url("inputs/cat.png")]
    answer = await stage.function.post(json.dumps(asked), resource="/v1/jobs")
    assert answer["statusCode"] == 202, answer
    assert (await stage.answer("i2i-1"))["status"] == "completed"
    assert Call("s3:GetObject", f"arn:aws:s3:::{stage.bucket}/inputs/cat.png") in stage.calls()


async def a_cancelled_job_is_answered(stage: Stage) -> None:
    bucket = stage.cloud.bucket(stage.bucket)
    await bucket.write("cancelled/unwanted", b"", media_type="text/plain")
    unwanted = job("unwanted")
    unwanted["content"]["steps"] = 1000
    await stage.function.post(json.dumps(unwanted))
    assert (await stage.answer("unwanted"))["status"] == "cancelled"


async def what_nobody_understands_is_quarantined(stage: Stage) -> None:
    topic = stage.cloud.topic(stage.emulated.outputs["JobTopic"])
    await topic.publish('{"metadata": {"id": "broken"}}', {"runtime": "webui"})
    assert (await stage.answer("broken"))["status"] == "failed"
    assert await stage.cloud.bucket(stage.bucket).keys("quarantine/")
    assert await stage.emulated.depth("failures") == 1


async def other_queues_get_what_is_theirs(stage: Stage) -> None:
    for asked in (
        job("urgent", priority="high"),
        job("whenever", priority="low"),
        job("elsewhere", runtime="comfyui"),
    ):
        answer = await stage.function.post(json.dumps(asked))
        assert answer["statusCode"] == 200, answer
    assert (await stage.answer("whenever"))["status"] == "completed"
    assert await stage.emulated.depth("webui-high") == 1
    assert await stage.emulated.depth("comfyui") == 1


def calls_are_allowed(stage: Stage) -> None:
    one_marker = f"arn:aws:s3:::{stage.bucket}/cancelled/unlisted"
    calls = stage.calls() | {Call("s3:GetObject", one_marker)}
    forbidden = [call for call in calls if not allows(stage.rights, call)]
    assert forbidden == []
    assert {call.action for call in calls} >= {
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sns:Publish",
        "s3:GetObject",
        "s3:ListBucket",
        "s3:PutObject",
    }


def others_are_out_of_reach(stage: Stage) -> None:
    queues = f"arn:aws:sqs:{REGION}:{ACCOUNT}:studio"
    bucket = f"arn:aws:s3:::{stage.bucket}"
    for call in (
        Call("sqs:ReceiveMessage", f"{queues}-comfyui"),
        Call("sqs:ReceiveMessage", f"{queues}-webui-high"),
        Call("sqs:DeleteMessage", f"{queues}-webui-dead"),
        Call("sqs:SendMessage", f"{queues}-comfyui"),
        Call("sqs:PurgeQueue", f"{queues}-webui"),
        Call("sns:Publish", stage.emulated.outputs["JobTopic"]),
        Call("sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:studio-alarms"),
        Call("s3:GetObject", f"{bucket}/comfyui/job/image.png"),
        Call("s3:PutObject", f"{bucket}/comfyui/job/image.png"),
        Call("s3:PutObject", f"{bucket}/webui-other/job/image.png"),
        Call("s3:DeleteObject", f"{bucket}/inputs/cat.png"),
        Call("s3:GetObject", f"{bucket}/quarantine/2026-11-21/message.json"),
        Call("s3:GetObject", "arn:aws:s3:::example-uploads/cat.png"),
        Call("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/any"),
    ):
        assert not allows(stage.rights, call), call


@pytest.mark.parametrize("lane", ["webui", "webui-high", "comfyui"])
def test_the_template_gives_each_release_the_queue_that_its_role_may_read(lane: str) -> None:
    assembly = synthesised("two-runtimes")
    release = assembly.named("Custom::AWSCDK-EKS-HelmChart", Release=lane)
    queue = assembly.named("AWS::SQS::Queue", QueueName=f"studio-{lane}")
    assert f"ExportsOutputRef{queue.logical_id}" in json.dumps(release.properties["Values"])
