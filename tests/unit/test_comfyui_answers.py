"""What ComfyUI says, read without a server: events, progress, outputs and failures."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from queue_agent.media.asset import Spool
from queue_agent.runtime import RuntimeOptions
from queue_agent.runtime.http import Response
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.events import IMAGE, Event, parse_event
from queue_agent_runtimes.comfyui.failures import failure_of, refused
from queue_agent_runtimes.comfyui.history import Executed
from queue_agent_runtimes.comfyui.node_times import NodeTimes
from queue_agent_runtimes.comfyui.outputs import FileRecord, Found, fetch_artifact, find_outputs
from queue_agent_runtimes.comfyui.progress import ProgressTracker
from queue_agent_runtimes.comfyui.workflow import Graph

Json = dict[str, JsonValue]
ID = "0a1b2c3d-0000-5000-8000-000000000000"


def frame(kind: str, **data: JsonValue) -> str:
    return json.dumps({"type": kind, "data": {"prompt_id": ID, **data}})


@pytest.mark.parametrize(
    "other",
    [
        b"\x00\x00\x00\x01\x00\x00\x00\x01" + ID.encode(),
        "not JSON " + ID,
        json.dumps([ID]),
        json.dumps({"type": "status", "data": {"status": {}}}),
        json.dumps({"type": "executing", "data": {"node": None, "prompt_id": "another"}}),
        json.dumps({"type": "executing", "data": {"node": ID, "prompt_id": "another"}}),
        frame("progress_state", nodes={}),
        "",
    ],
)
def test_frames_that_do_not_concern_the_prompt_are_no_events(other: str | bytes) -> None:
    assert parse_event(other, ID) is None


@pytest.mark.parametrize(
    ("kind", "data", "ends", "written"),
    [
        ("executing", {"node": "5"}, False, False),
        ("executing", {"node": None}, False, True),
        ("execution_success", {}, True, False),
        ("execution_error", {}, True, False),
        ("execution_interrupted", {}, True, False),
        ("executed", {"node": "7"}, False, False),
    ],
)
def test_history_is_written_some_time_after_the_prompt_has_ended(
    kind: str, data: Json, ends: bool, written: bool
) -> None:
    event = parse_event(frame(kind, **data), ID)
    assert event is not None
    assert (event.announces_the_end, event.calls_for_a_look) == (ends, written)


GRAPH: Graph = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {}},
    "5": {"class_type": "KSampler", "inputs": {"steps": 8}},
    "7": {"class_type": "SaveImage", "inputs": {}},
}


def test_a_sampler_weighs_as_much_as_it_has_steps() -> None:
    tracker = ProgressTracker(GRAPH)
    fractions = []
    for event in (
        Event("execution_cached", {"nodes": ["1"]}),
        Event("executing", {"node": "5"}),
        Event("progress", {"node": "5", "value": 4, "max": 8}),
        Event("executing", {"node": "7"}),
    ):
        progress = tracker.update(event)
        assert progress is not None
        fractions.append(progress.fraction)
    assert fractions == [0.1, 0.1, 0.5, 0.9]


EVENTS = st.one_of(
    st.builds(
        lambda node, value, most: Event("progress", {"node": node, "value": value, "max": most}),
        st.sampled_from(["1", "5", "7", "99"]),
        st.integers(-1, 10),
        st.integers(-1, 10),
    ),
    st.builds(lambda node: Event("executing", {"node": node}), st.sampled_from(["1", "5", None])),
    st.builds(
        lambda nodes: Event("execution_cached", {"nodes": nodes}),
        st.lists(st.sampled_from(["1", "7", "99"])),
    ),
    st.builds(lambda value: Event("progress", {"value": value}), st.none() | st.text()),
)


@given(st.lists(EVENTS))
def test_progress_never_falls_and_leaves_the_end_to_the_adapter(events: list[Event]) -> None:
    tracker = ProgressTracker(GRAPH)
    reports = [tracker.update(event) for event in events]
    fractions = [report.fraction for report in reports if report is not None]
    assert fractions == sorted(fractions)
    assert all(0.0 <= fraction < 1.0 for fraction in fractions)


def test_outputs_are_found_under_any_key_once_each() -> None:
    image: Json = {"filename": "a.png", "subfolder": "s", "type": "output"}
    entry: Json = {
        "outputs": {
            "7": {"images": [image, image], "animated": [True]},
            "8": {"gifs": [{"filename": "b.gif", "type": "temp"}], "text": ["hello", "", 5]},
            "9": {"images": [{"filename": "in.png", "type": "input"}], "text": "plain"},
            "10": None,
        }
    }
    assert find_outputs(entry) == [
        Found("7", FileRecord("a.png", "s", "output")),
        Found("8", FileRecord("b.gif", "", "temp")),
        Found("8", "hello"),
        Found("9", "plain"),
    ]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("3d/adv_00001_.glb", FileRecord("adv_00001_.glb", "3d", "output", only_named=True)),
        (
            "3d\\a\\s_00001_.ksplat",
            FileRecord("s_00001_.ksplat", "3d/a", "output", only_named=True),
        ),
        ("p.PLY", FileRecord("p.PLY", "", "output", only_named=True)),
        ("preview_splat_0.spz", FileRecord("preview_splat_0.spz", "", "temp", only_named=True)),
        ("preview3d_0.glb", FileRecord("preview3d_0.glb", "", "output", only_named=True)),
        ("It was built with Max.obj or so", None),
        ("../../etc/a.glb", None),
        ("/srv/output/a.glb", None),
    ],
)
def test_what_3d_nodes_show_is_a_file_where_it_is_named_like_one(
    name: str, record: FileRecord | None
) -> None:
    shown: Json = {"result": [name, {"position": 1, "path": "x.glb"}, None]}
    expected = Found("5", name if record is None else record)
    assert find_outputs({"outputs": {"5": shown}}) == [expected]
    assert find_outputs({"outputs": {"5": {"text": [name]}}}) == [Found("5", name)]


@pytest.mark.parametrize("entry", [{}, {"outputs": None}, {"outputs": {"1": []}}])
def test_an_entry_without_outputs_has_none(entry: Json) -> None:
    assert find_outputs(entry) == []


@pytest.mark.parametrize(
    "record",
    [
        FileRecord("../secret.png", "", "output"),
        FileRecord("a/../../b.png", "", "output"),
        FileRecord("a.png", "../..", "output"),
        FileRecord("a.png", "/etc", "output"),
        FileRecord("..\\a.png", "", "output"),
        FileRecord("a.png", "sub\\..\\..\\x", "output"),
    ],
)
async def test_an_output_outside_its_folder_is_not_asked_for(record: FileRecord) -> None:
    api = ComfyUIApi(RuntimeOptions(), "http://127.0.0.1:9")
    try:
        with pytest.raises(Unavailable, match="outside its folder") as caught:
            await fetch_artifact(api, Found("7", record), None, Spool())
    finally:
        await api.aclose()
    assert caught.value.type == "output_missing"


def failed(event: str, **data: JsonValue) -> Json:
    messages: list[JsonValue] = [["execution_start", {}], [event, data]]
    return {"status": {"status_str": "error", "completed": False, "messages": messages}}


def test_a_success_is_no_failure() -> None:
    assert failure_of({"status": {"status_str": "success", "messages": []}}) is None
    assert failure_of({}) is None


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("torch.OutOfMemoryError", "Allocation on device"),
        ("MemoryError", ""),
        ("RuntimeError", "CUDA error: out of memory"),
    ],
)
def test_running_out_of_memory_is_no_fault_of_the_job(kind: str, message: str) -> None:
    entry = failed("execution_error", exception_type=kind, exception_message=message)
    failure = failure_of(entry)
    assert isinstance(failure, Unavailable)
    assert failure.type == "out_of_memory"


def test_another_exception_is_the_jobs_with_node_and_words() -> None:
    failure = failure_of(
        failed(
            "execution_error",
            node_id="5",
            node_type="KSampler",
            exception_type="ValueError",
            exception_message="no\n",
            current_inputs={"secret": [1]},
        )
    )
    assert isinstance(failure, Rejected)
    assert failure.message == "Node 5 (KSampler) raised ValueError: no"
    assert "current_inputs" not in failure.details


def test_a_refusal_names_node_class_input_and_message() -> None:
    report: Json = {
        "errors": [
            {
                "type": "value_not_in_list",
                "message": "Value not in list",
                "details": "ckpt_name: 'x' not in ['y']",
                "extra_info": {"input_name": "ckpt_name", "input_config": [["y"] * 1000]},
            }
        ],
        "dependent_outputs": ["7"],
        "class_type": "CheckpointLoaderSimple",
    }
    body = {"error": {"type": "prompt_outputs_failed_validation"}, "node_errors": {"1": report}}
    error = refused(Response(400, json.dumps(body).encode()))
    assert isinstance(error, Rejected)
    assert error.message == (
        "ComfyUI refused the workflow: node 1 (CheckpointLoaderSimple), input ckpt_name: "
        "Value not in list (ckpt_name: 'x' not in ['y'])"
    )
    assert "input_config" not in json.dumps(error.details)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_in_trouble_is_unavailable(status: int) -> None:
    assert isinstance(refused(Response(status, b"<html>")), Unavailable)


def test_a_png_frame_is_an_image_and_other_frames_are_previews() -> None:
    event = parse_event(b"\0\0\0\1\0\0\0\2a picture", ID)
    assert event == Event(IMAGE, {}, b"a picture")
    assert parse_event(b"\0\0\0\4\0\0\0\2a preview with metadata", ID) is None


def test_nodes_that_a_node_becomes_are_its_steps_and_do_not_end_it() -> None:
    tracker = ProgressTracker(GRAPH)
    reports = [
        tracker.update(event)
        for event in [
            Event("executing", {"node": "5", "display_node": "5"}),
            Event("executing", {"node": "5.0.0.1", "display_node": "5"}),
            Event("progress", {"node": "5.0.0.1", "value": 4, "max": 8}),
            Event("executing", {"node": "5.0.0.2", "display_node": "5"}),
            Event("executing", {"node": "7", "display_node": "7"}),
        ]
    ]
    assert [report and (report.node, report.fraction) for report in reports] == [
        ("5", 0.0),
        ("5", 0.0),
        ("5", 0.4),
        ("5", 0.4),
        ("7", 0.8),
    ]


def test_a_block_is_neither_the_end_nor_a_failure() -> None:
    event = parse_event(frame("execution_error", exception_type="ExecutionBlocked"), ID)
    assert event is not None
    assert event.tells_of_a_block
    assert not event.announces_the_end
    real: JsonValue = [
        "execution_error",
        {"exception_type": "ValueError", "exception_message": "no"},
    ]
    blocked: JsonValue = ["execution_error", {"exception_type": "ExecutionBlocked"}]
    failure = failure_of({"status": {"status_str": "error", "messages": [blocked, real]}})
    assert failure is not None
    assert "ValueError" in failure.message


def test_the_time_of_nodes_that_a_node_becomes_is_its_own() -> None:
    moments = iter([0.0, 1.0, 3.0, 6.0, 10.0])
    times = NodeTimes(GRAPH, lambda: next(moments))
    for event in (
        Event("execution_cached", {"nodes": ["1", "of-others"]}),
        Event("executing", {"node": "5", "display_node": "5"}),
        Event("executing", {"node": "5.0.0.1", "display_node": "5"}),
        Event("executing", {"node": "7", "display_node": "7"}),
        Event("execution_success", {}),
        Event("executing", {"node": None}),
    ):
        times.update(event)
    messages: JsonValue = [["execution_start", {"timestamp": 1000}], ["x", {"timestamp": 7500}]]
    assert times.told({"status": {"messages": messages}}) == {
        "seconds": 6.5,
        "nodes": {
            "5": {"class_type": "KSampler", "seconds": 3.0},
            "7": {"class_type": "SaveImage", "seconds": 3.0},
        },
        "cached": ["1"],
    }
    assert times.told({"status": None})["seconds"] is None


def test_nodes_that_a_remembered_one_became_are_remembered() -> None:
    told = Executed(None, frozenset({"5.0", "57:8"}))
    assert [told.remembered(node) for node in ("5.0", "5.0.0.0.3", "57:8.0.0.1")] == [True] * 3
    assert [told.remembered(node) for node in ("5", "5.01", "57", "57:80", "8")] == [False] * 5
