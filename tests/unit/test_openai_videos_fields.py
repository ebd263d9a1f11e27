"""From jobs for videos and meshes to requests, and from records to errors; no server."""

from collections.abc import Mapping
from typing import Final

import pytest
from pydantic import JsonValue

from queue_agent.runtime import RuntimeOptions
from queue_agent.runtime.http import Response
from queue_agent.wire.errors import (
    QueueAgentError,
    Rejected,
    RunLost,
    RuntimeSick,
    Unavailable,
)
from queue_agent.wire.job import Job
from queue_agent_runtimes.openai_videos import OpenAIRuntime
from queue_agent_runtimes.openai_videos.engines import (
    DYNAMO,
    SGLANG,
    TENSORRT_LLM,
    UNKNOWN,
    VLLM_OMNI,
    EngineFacts,
    Server,
    read_server,
)
from queue_agent_runtimes.openai_videos.fields import EngineRequest, extended, translate
from queue_agent_runtimes.openai_videos.records import (
    EngineRecord,
    created_record,
    failure_of,
    found_record,
)

Json = dict[str, JsonValue]
URL: Final = "https://images.example.com/sea.png"
ENGINES: Final = (VLLM_OMNI, SGLANG, TENSORRT_LLM, DYNAMO, UNKNOWN)


def asked(
    engine: EngineFacts, task_type: str = "text-to-video", /, **content: JsonValue
) -> EngineRequest:
    return translate({"prompt": "waves", **content}, task_type, Server(engine, ("wan",)))


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_what_a_job_does_not_say_is_left_to_the_server(engine: EngineFacts) -> None:
    fields = asked(engine).fields
    assert fields.pop("model", None) == ("wan" if engine is DYNAMO else None)
    assert fields == {"prompt": "waves"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"seconds": 5}, {"seconds": 5}),
        ({"seconds": 5, "fps": 16}, {"seconds": 5, "fps": 16}),
        ({"frames": 81, "fps": 16}, {"num_frames": 81, "fps": 16}),
        ({"frames": 81, "seconds": 5}, {"num_frames": 81, "fps": 16}),
        ({"width": 832, "height": 480}, {"size": "832x480"}),
        ({"steps": 40, "cfg_scale": 5}, {"num_inference_steps": 40, "guidance_scale": 5.0}),
        ({"seed": 7, "negative_prompt": "fog"}, {"seed": 7, "negative_prompt": "fog"}),
        ({"seed": -1, "model": "wan"}, {"model": "wan"}),
        ({"num_frames": 9, "flow_shift": 3}, {"num_frames": 9, "flow_shift": 3}),
    ],
)
def test_portable_fields_become_the_engines(content: Json, expected: Json) -> None:
    request = asked(VLLM_OMNI, **content)
    assert (request.fields, request.warnings) == ({"prompt": "waves", **expected}, [])


def test_a_length_of_half_seconds_is_said_in_frames_where_it_must_be() -> None:
    assert asked(VLLM_OMNI, seconds=2.5, fps=24).fields["num_frames"] == 60
    assert asked(TENSORRT_LLM, seconds=2.5).fields["seconds"] == 2.5
    with pytest.raises(Rejected, match="SGLang-Diffusion takes whole ones; say fps or frames"):
        asked(SGLANG, seconds=2.5)


def test_frames_are_sent_as_files_as_far_as_the_engine_takes_them() -> None:
    content: Json = {"first_frame": URL, "last_frame": URL}
    assert asked(SGLANG, "image-to-video", image=URL).files == (("input_reference", "image"),)
    assert asked(VLLM_OMNI, "image-to-video", **content).files == (
        ("input_references", "first_frame"),
        ("input_references", "last_frame"),
    )
    with pytest.raises(Rejected, match="last_frame: TensorRT-LLM takes none"):
        asked(TENSORRT_LLM, "image-to-video", **content)
    assert asked(SGLANG, "image-to-3d", image=URL).files == (("image", "image"),)


def test_what_is_not_honoured_is_a_warning() -> None:
    loras: JsonValue = [{"name": "film", "weight": 0.5}, {"name": "b"}]
    request = asked(VLLM_OMNI, loras=loras, zeal=1)
    assert request.fields["lora"] == {"name": "film", "path": "film", "scale": 0.5}
    assert [words.partition(":")[0] for words in request.warnings] == ["loras", "zeal"]
    content: Json = {"prompt": "waves", "loras": loras, "model": "other"}
    request = translate(content, "text-to-video", Server(SGLANG), switch_models=False)
    assert "lora" not in request.fields
    assert "model" not in request.fields
    assert [words.partition(":")[0] for words in request.warnings] == ["loras", "model"]


@pytest.mark.parametrize("name", ["/etc/lora", "~lora", "..", "a/../b", "hub/repository"])
def test_a_lora_is_a_name_and_no_path(name: str) -> None:
    with pytest.raises(Rejected, match="no path"):
        asked(VLLM_OMNI, loras=[{"name": name}])


@pytest.mark.parametrize("key", ["video_path", "output_path", "perf_dump_path", "Some_DIR"])
def test_no_job_names_files_on_the_servers_disk(key: str) -> None:
    with pytest.raises(Rejected) as caught:
        asked(SGLANG, extra_params={key: "/etc/passwd"})
    assert caught.value.type == "reference_forbidden"
    warned = asked(SGLANG, **{key: "/etc/passwd"})
    assert key not in warned.fields


def test_dynamo_has_what_openai_has_no_word_for_in_an_extension() -> None:
    fields = asked(DYNAMO, seconds=4, fps=24, seed=7, width=832, height=480).fields
    assert extended(fields, DYNAMO) == {
        "prompt": "waves",
        "model": "wan",
        "seconds": 4,
        "size": "832x480",
        "nvext": {"fps": 24, "seed": 7},
    }
    assert extended(fields, TENSORRT_LLM) == fields


@pytest.mark.parametrize(
    ("owner", "engine"),
    [
        ("vllm", VLLM_OMNI),
        ("sglang", SGLANG),
        ("tensorrt_llm", TENSORRT_LLM),
        ("nvidia", DYNAMO),
        ("somebody", UNKNOWN),
        (7, UNKNOWN),
    ],
)
def test_the_models_owner_tells_the_engine(owner: JsonValue, engine: EngineFacts) -> None:
    answer: Json = {"data": [{"id": "wan", "owned_by": owner}, "odd"]}
    assert read_server(answer) == Server(engine, ("wan",))
    assert read_server({"data": 1}) == Server()


def test_only_the_fields_that_hold_images_are_references() -> None:
    runtime = OpenAIRuntime(RuntimeOptions())

    def job(task_type: str, **content: JsonValue) -> Job:
        metadata = {"id": "job-1", "tasktype": task_type}
        return Job.model_validate({"metadata": metadata, "content": content})

    video = job("image-to-video", prompt=URL, first_frame=URL, last_frame=PNG_URL, model=URL)
    assert {found.path for found in runtime.references(video)} == {("first_frame",)}
    runtime.check_places(video)
    assert [*runtime.references(job("text-to-video", prompt=URL))] == []
    assert [found.path for found in runtime.references(job("image-to-3d", image=URL))] == [
        ("image",)
    ]
    for content in ({"input_reference": URL}, {"extra_params": {"a": [URL]}}):
        with pytest.raises(Rejected):
            runtime.check_places(job("text-to-video", prompt="a", **content))


PNG_URL: Final = "data:image/png;base64,iVBORw0KGgo="


def answer(status: int, body: bytes) -> Response:
    return Response(status, body)


@pytest.mark.parametrize(
    ("status", "body", "error", "kind"),
    [
        (400, b'{"detail": "prompt is required"}', Rejected, "runtime_rejected"),
        (422, b'{"detail": []}', Rejected, "runtime_rejected"),
        (404, b'{"detail": "Not Found"}', Rejected, "unknown_task_type"),
        (405, b"", Rejected, "unknown_task_type"),
        (409, b'{"detail": "--api-server-count > 1"}', Unavailable, "runtime_misconfigured"),
        (429, b"", Unavailable, "runtime_unavailable"),
        (503, b"", Unavailable, "runtime_unavailable"),
        (200, b'{"status": "queued"}', Unavailable, "invalid_answer"),
        (200, b'{"id": "a", "status": "dreaming"}', Unavailable, "invalid_answer"),
    ],
)
def test_what_the_answer_to_a_creation_means(
    status: int, body: bytes, error: type[QueueAgentError], kind: str
) -> None:
    with pytest.raises(error) as caught:
        created_record(answer(status, body))
    assert caught.value.type == kind


def test_a_record_counts_whatever_its_answers_status() -> None:
    body = b'{"id": "a", "status": "failed", "error": {"code": 404, "message": "no"}}'
    assert found_record(answer(404, body)).status == "failed"
    with pytest.raises(RunLost):
        found_record(answer(404, b'{"detail": "Video not found"}'))
    for status in (400, 409, 500, 502):  # whoever says so, no job is at fault
        with pytest.raises(Unavailable):
            found_record(answer(status, b"<html>"))


@pytest.mark.parametrize(
    ("fields", "error", "kind"),
    [
        ({"error": {"code": 400, "message": "size"}}, Rejected, "runtime_rejected"),
        ({"error": {"code": "moderation_blocked", "message": "no"}}, Rejected, "withheld"),
        ({"error": {"code": "content_policy_violation"}}, Rejected, "withheld"),
        ({"error": {"code": 429, "message": "busy"}}, Unavailable, "execution_error"),
        ({"error": {"code": 500, "message": "boom"}}, Unavailable, "execution_error"),
        ({"error": {"message": "CUDA out of memory"}}, Unavailable, "out_of_memory"),
        ({"error": {"message": "device-side assert"}}, RuntimeSick, "runtime_sick"),
        ({"error": "in words"}, Unavailable, "execution_error"),
        ({}, Unavailable, "execution_error"),
    ],
)
def test_what_a_failure_means(
    fields: Mapping[str, JsonValue], error: type[QueueAgentError], kind: str
) -> None:
    failure = failure_of(EngineRecord("a", "failed", fields))
    assert (type(failure), failure.type) == (error, kind)


def test_a_job_that_somebody_withdrew_is_tried_again() -> None:
    assert failure_of(EngineRecord("a", "cancelled", {})).type == "runtime_interrupted"
