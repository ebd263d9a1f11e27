"""Whatever a message holds, it is a job or an error of ours, and either can be answered."""

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import JsonValue

from foreign_bodies import FOREIGN, OPENED, RESEMBLING
from fuzz.fuzzing import Json, damaged, examples, json_values, mutated, settled, written
from queue_agent.cloud import Bucket, Message
from queue_agent.inputs.inline import check_carried, find_carried
from queue_agent.runtime import Reference, Runtime, RuntimeOptions
from queue_agent.wire.errors import Malformed, NoJob, QueueAgentError, Rejected
from queue_agent.wire.foreign import ForeignKind
from queue_agent.wire.job import Job
from queue_agent.wire.layout import RESERVED, ResultKeys
from queue_agent.wire.notification import ErrorReport, Notification
from queue_agent.wire.reference import strings_of
from queue_agent.wire.result import Result
from queue_agent.worker.inbox import Inbox
from queue_agent.worker.webhooks import WebhookPolicy, Webhooks
from queue_agent_runtimes.comfyui import ComfyUIRuntime
from queue_agent_runtimes.comfyui.workflow import read_workflow
from queue_agent_runtimes.openai_images import DiffusersRuntime
from queue_agent_runtimes.openai_images.fields import BUNDLED
from queue_agent_runtimes.openai_images.fields import translate as openai_request
from queue_agent_runtimes.webui import WebUIRuntime
from queue_agent_runtimes.webui.request import ROUTES
from queue_agent_runtimes.webui.request import translate as webui_request

LIMIT: Final = 250_000
IMAGE: Final = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
SAMPLES: Final[tuple[JsonValue, ...]] = (
    *(
        json.loads(path.read_text())
        for path in sorted((Path(__file__).parent.parent / "messages").glob("*.json"))
    ),
    {
        "metadata": {
            "id": "order-7f3a",
            "runtime": "r",
            "tasktype": "image-to-image",
            "prefix": "output/a",
            "context": {"customer": 42},
            "expires_at": "2030-01-01T00:00:00Z",
            "priority": "high",
            "callback_url": "https://example.com/hook",
        },
        "content": {
            "prompt": "a lighthouse <lora:sea:0.5>",
            "negative_prompt": "fog",
            "init_images": [IMAGE, "https://example.com/cat.png"],
            "mask": "s3://bucket/mask.png",
            "steps": 20,
            "width": 512,
            "height": 512,
            "cfg_scale": 7.5,
            "seed": 7,
            "batch_size": 2,
            "n_iter": 1,
            "sampler_name": "DPM++ 2M",
            "scheduler": "Karras",
            "denoising_strength": 0.5,
            "model": "sd15",
            "loras": [{"name": "sea", "weight": 1}],
            "override_settings": {"sd_model_checkpoint": "x", "sd_vae": "y"},
            "alwayson_scripts": {
                "controlnet": {"args": [{"image": {"image": IMAGE, "mask": IMAGE}}]},
                "image_link": "https://example.com/cat.png",
            },
        },
    },
    {
        "metadata": {"id": "batch", "tasktype": "extra-batch-images"},
        "content": {"imageList": [{"data": IMAGE, "name": "a"}], "upscaling_resize": 2},
    },
    {
        "metadata": {"id": "flow", "tasktype": "pipeline"},
        "content": {
            "workflow": {
                "1": {"class_type": "LoadImage", "inputs": {"image": "https://example.com/a"}},
                "2": {
                    "class_type": "SaveImage",
                    "inputs": {"images": ["1", 0], "filename_prefix": "a/b"},
                },
            },
            "inputs": {"2.filename_prefix": "c"},
            "extra_data": {},
        },
    },
)
FOREIGN_SAMPLES: Final[tuple[JsonValue, ...]] = tuple(
    json.loads(body) for _, body in FOREIGN.values() if body.startswith("{")
)
WRAPPED_SAMPLES: Final[tuple[JsonValue, ...]] = tuple(
    json.loads(body) for body in OPENED.values() if body.startswith("{")
)
PLACES: Final = ("https://example.com/a.png", " http://a", "file:/etc/passwd", "\\\\host\\a")
POINTER: Final[JsonValue] = [
    "software.amazon.payloadoffloading.PayloadS3Pointer",
    {"s3BucketName": "foreign", "s3Key": "key"},
]
RUNTIMES: Final[tuple[Runtime, ...]] = tuple(
    adapter(RuntimeOptions()) for adapter in (WebUIRuntime, ComfyUIRuntime, DiffusersRuntime)
)
WEBHOOKS: Final = Webhooks(WebhookPolicy(hosts=("example.com",)))


def _no_bucket(name: str) -> Bucket:
    raise AssertionError(f"{name} must not be read")


INBOX: Final = Inbox(
    _no_bucket,
    may_read=lambda *_: False,
    task_types=ROUTES,
    runtime_name="r",
)


@st.composite
def with_mutated_content(draw: st.DrawFn) -> str:
    jobs = [sample for sample in SAMPLES if isinstance(sample, dict) and "content" in sample]
    sample = draw(st.sampled_from(jobs))
    return written({**sample, "content": draw(mutated((sample["content"],)))})


def enveloped(payload: str) -> SearchStrategy[str]:
    """The payload as it comes out of a queue behind a topic, more or less."""
    envelope: Json = {
        "Type": "Notification",
        "MessageId": "1",
        "Message": payload,
        "MessageAttributes": {"runtime": {"Type": "String", "Value": "r"}},
    }
    return mutated((envelope,)).map(written)


@examples(250)
@given(st.one_of(st.text(), st.text(alphabet=st.characters()), damaged(st.just(written(POINTER)))))
def test_any_text_is_answered(body: str) -> None:
    judge(body)


@examples(250)
@given(json_values.map(written))
def test_any_json_is_answered(body: str) -> None:
    judge(body)


@examples(750)
@given(mutated(SAMPLES).map(written))
def test_a_job_gone_wrong_is_answered(body: str) -> None:
    judge(body)


@examples(1000)
@given(with_mutated_content())
def test_content_gone_wrong_is_answered(body: str) -> None:
    judge(body)


@examples(500)
@given(
    st.one_of(
        damaged(st.sampled_from(SAMPLES).map(written)),
        mutated((POINTER,)).map(written),
        mutated(SAMPLES).map(written).flatmap(enveloped),
    )
)
def test_a_broken_wrapping_is_answered(body: str) -> None:
    judge(body)


def test_an_answer_fits_the_topic_whatever_it_quotes() -> None:
    place: Json = {"s3BucketName": "foreign", "s3Key": "key" * 300_000}
    judge(written(["software.amazon.payloadoffloading.PayloadS3Pointer", place]))


@examples(750)
@given(
    st.one_of(
        mutated(FOREIGN_SAMPLES).map(written),
        mutated(FOREIGN_SAMPLES).map(written).flatmap(enveloped),
        damaged(st.sampled_from([body for _, body in FOREIGN.values()])),
        mutated(WRAPPED_SAMPLES).map(written),
    )
)
def test_what_asks_for_nothing_gone_wrong_is_ignored_or_answered(body: str) -> None:
    judge(body)


def judge(body: str) -> None:
    message = Message(id="message", body=body, receipt="receipt")
    try:
        job = asyncio.run(INBOX.open(message))
    except NoJob as error:
        ForeignKind(error.type)  # raises where it is none
    except Malformed as error:
        judge_refusal(message, error)
    else:
        judge_job(job)


@examples(250)
@given(st.sampled_from(SAMPLES[:-1]), st.sampled_from([*FOREIGN_SAMPLES, *RESEMBLING.values()]))
def test_no_job_is_ignored_whatever_else_it_has(job: Json, beside: Json) -> None:
    assert isinstance(job, dict)
    assert isinstance(beside, dict)
    whole = {**beside, **job} if "task" not in job else {**beside, "task": job["task"]}
    assert asyncio.run(INBOX.open(Message("message", written(whole), "receipt"))).content


def judge_refusal(message: Message, error: QueueAgentError) -> None:
    """As the journey answers what it cannot understand."""
    judge_notification(
        Notification(
            runtime="r",
            id=str(error.details.get("id", message.id)),
            status="failed",
            result=False,
            context=error.details.get("context"),
            error=ErrorReport.of(error),
        )
    )


def judge_job(job: Job) -> None:
    keys = ResultKeys.of(job)
    folder = f"{job.metadata.prefix}/{job.id}"
    assert job.metadata.prefix.split("/", maxsplit=1)[0] not in RESERVED
    for key in (keys.manifest, keys.artifact(1, "image/png")):
        assert key.startswith(f"{folder}/{job.id}-")
        assert ".." not in key.split("/")
    result = Result(
        runtime="r",
        id=job.id,
        status="completed",
        result=True,
        context=job.metadata.context,
        metadata=job.metadata.model_dump(mode="json", exclude_none=True),
    )
    again = Result.model_validate_json(result.model_dump_json(ensure_ascii=True).encode())
    assert again.metadata == result.metadata
    judge_notification(again.notification())
    try_out(job)


def judge_notification(notification: Notification) -> None:
    checked = WEBHOOKS.checked(notification)
    body = checked.fitted(LIMIT).to_json()
    assert body.isascii()
    assert len(body) <= LIMIT
    assert Notification.read(body).id == notification.id


def try_out(job: Job) -> None:
    """What the adapters make of it before they ask their runtimes."""
    refuse_at_most(lambda: INBOX.check(job))
    refuse_at_most(partial(_check_carried, job))
    for runtime in RUNTIMES:
        refuse_at_most(partial(_references, runtime, job))
        refuse_at_most(partial(runtime.check_places, job))
    if job.task_type in ROUTES:
        refuse_at_most(lambda: webui_request(job, {}, switch_models=True))
    refuse_at_most(lambda: openai_request(job.content, job.task_type, BUNDLED))
    refuse_at_most(lambda: read_workflow(job.content))
    refuse_at_most(lambda: settled(RUNTIMES[2].prepare(job, {})))


@st.composite
def with_places_about(draw: st.DrawFn) -> Json:
    """Content of the Web UI with a place somewhere, in whatever shape."""
    place = draw(st.sampled_from(PLACES))
    shape = draw(
        st.recursive(
            st.just(place),
            lambda inner: st.one_of(
                st.lists(inner, min_size=1, max_size=2),
                st.dictionaries(st.sampled_from(("image", "mask", "url")), inner, min_size=1),
            ),
            max_leaves=3,
        )
    )
    return draw(
        st.sampled_from(
            (
                {"init_images": shape},
                {"init_images": [shape]},
                {"mask": shape},
                {"image": shape},
                {"imageList": [{"data": shape}]},
                {"script_args": [1, shape]},
                {"alwayson_scripts": {"controlnet": {"args": [{"image": shape}]}}},
                {"alwayson_scripts": {"controlnet": {"args": shape}}},
                {"alwayson_scripts": {"image_link": shape}},
                {"mask_image": shape, "init_images": [place]},
            )
        )
    )


@examples(250)
@given(with_places_about())
def test_no_place_reaches_the_web_ui_but_by_way_of_its_bytes(content: Json) -> None:
    job = Job.model_validate(
        {"metadata": {"id": "a", "tasktype": "image-to-image"}, "content": content}
    )
    runtime = RUNTIMES[0]
    with suppress(Rejected):
        runtime.check_places(job)
        own = {reference.path for reference in runtime.references(job)}
        assert {path for path, text in strings_of(content) if text in PLACES} <= own


def _check_carried(job: Job) -> int:
    return check_carried(
        find_carried(job.content), max_bytes=1000, max_pixels=1000, max_total_bytes=2000
    )


def _references(runtime: Runtime, job: Job) -> list[Reference]:
    return list(runtime.references(job))


def refuse_at_most(action: Callable[[], object]) -> None:
    with suppress(Rejected):
        action()
