"""What the events of a real server's runs mean: frames of `tests/recordings`, without a server."""

import json
import struct
from collections import Counter
from typing import Any

import pytest
from pydantic import JsonValue

from comfyui_recording import recorded
from queue_agent.runtime import Spools
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Rejected, RuntimeSick, Unavailable
from queue_agent_runtimes.comfyui.events import IMAGE, PREVIEW, Event, parse_event
from queue_agent_runtimes.comfyui.failures import failure_of, words_of_a_block
from queue_agent_runtimes.comfyui.node_times import NodeTimes
from queue_agent_runtimes.comfyui.outputs import find_outputs
from queue_agent_runtimes.comfyui.progress import ProgressTracker
from queue_agent_runtimes.comfyui.sent_images import SentImages

RUNS = [*recorded("websocket"), *recorded("errors")]
HISTORIES = {
    exchange["what"].removeprefix("history of: "): entry
    for exchange in recorded("history")
    if exchange["what"].startswith("history of: ")
    for entry in exchange["response"]["json"].values()
}
each_run = pytest.mark.parametrize("run", RUNS, ids=[run["what"] for run in RUNS])


def run_of(words: str) -> dict[str, Any]:
    (found,) = [run for run in RUNS if words in run["what"]]
    return found


def graph_of(run: dict[str, Any]) -> dict[str, Any]:
    graph: dict[str, Any] = run["request"]["json"]["prompt"]
    return graph


def events_of(run: dict[str, Any], *, previews: bool = False) -> list[Event]:
    prompt_id = run["request"]["json"]["prompt_id"]
    found = [parse_event(frame_of(frame), prompt_id, previews=previews) for frame in run["frames"]]
    return [event for event in found if event is not None]


def frame_of(frame: dict[str, Any]) -> str | bytes:
    if "text" in frame:
        return json.dumps(frame["text"])
    head = struct.pack(">II", frame["binary"]["event"], frame["binary"]["format"])
    return head + sample_png(64, 64)


@each_run
def test_progress_begins_at_nothing_and_never_falls(run: dict[str, Any]) -> None:
    tracker = ProgressTracker(graph_of(run))
    reports = [report for event in events_of(run) if (report := tracker.update(event))]
    fractions = [report.fraction for report in reports]
    assert fractions[0] == 0.0
    assert fractions == sorted(fractions)
    assert {report.node for report in reports} <= {None, *graph_of(run)}


@each_run
def test_the_end_is_announced_once_and_last_of_all_the_history_is_written(
    run: dict[str, Any],
) -> None:
    events = events_of(run)
    assert [event.announces_the_end for event in events].count(True) == 1
    assert [event.calls_for_a_look for event in events] == [False] * (len(events) - 1) + [True]


def test_previews_are_heard_of_where_they_are_wanted_while_a_node_is_under_way() -> None:
    run = run_of("progress with previews")
    tracker, shown = ProgressTracker(graph_of(run)), []
    for event in events_of(run, previews=True):
        tracker.update(event)
        if event.type == PREVIEW:
            shown.append(tracker.is_under_way and tracker.with_preview(event.image))
    assert [report and (report.node, report.step) for report in shown] == [
        ("1", 1),
        ("1", 2),
        ("1", 3),
    ]
    assert not tracker.is_under_way, "previews that come now are another's"
    assert [event for event in events_of(run) if event.type == PREVIEW] == []


@each_run
def test_no_preview_is_heard_of_outside_of_a_prompts_run(run: dict[str, Any]) -> None:
    tracker = ProgressTracker(graph_of(run))
    states = []
    for event in events_of(run):
        tracker.update(event)
        states.append(tracker.is_under_way)
        if event.type in {"execution_start", "execution_cached"} or event.announces_the_end:
            assert not tracker.is_under_way
    assert not states[-1]


@each_run
async def test_images_are_taken_of_nodes_that_send_them_only(run: dict[str, Any]) -> None:
    with Spools() as spools:
        images = SentImages(graph_of(run), spools)
        for event in events_of(run):
            await images.update(event)
        expected = 2 if run["what"].startswith("SaveImageWebsocket") else 0
        assert [found.node_id for found in images.found] == ["2"] * expected


def test_steps_of_an_expanding_node_move_its_progress_evenly() -> None:
    run = run_of("expanding")
    tracker = ProgressTracker(graph_of(run))
    reports = [tracker.update(event) for event in events_of(run)]
    steps = [report for report in reports if report and report.steps]
    assert [(report.node, report.fraction) for report in steps] == [
        ("1", 0.2),
        ("1", 0.4),
        ("1", 0.6),
        ("1", 0.8),
    ]


def test_a_block_with_a_message_is_told() -> None:
    events = events_of(run_of("with a message"))
    blocks = [words_of_a_block(event.data) for event in events if event.tells_of_a_block]
    assert blocks == ["Node 2 (SaveImage) did not run: Execution Blocked: no image for you"]


def test_an_expanding_node_is_told_its_time_and_a_cached_one_none() -> None:
    run = run_of("expanding")
    times = NodeTimes(graph_of(run), lambda: 0.0)
    for event in events_of(run):
        times.update(event)
    assert times.told({})["nodes"] == {
        "1": {"class_type": "QASubgraph", "seconds": 0.0},
        "2": {"class_type": "SaveImage", "seconds": 0.0},
    }
    cached = NodeTimes(graph_of(run_of("wholly cached")), lambda: 0.0)
    for event in events_of(run_of("wholly cached")):
        cached.update(event)
    told = cached.told({})
    assert (told["nodes"], told["cached"]) == ({}, ["1", "2"])


async def test_a_preview_that_is_a_png_is_no_image() -> None:
    run = run_of("SaveImageWebsocket")
    with Spools() as spools:
        images = SentImages(graph_of(run), spools)
        for event in (
            Event(IMAGE, {}, sample_png(8, 8)),
            Event("executing", {"node": "1", "display_node": "1"}),
            Event(IMAGE, {}, sample_png(8, 8)),
            Event("executing", {"node": None}),
            Event(IMAGE, {}, sample_png(8, 8)),
        ):
            await images.update(event)
        assert images.found == []


def inner(value: int) -> list[Event]:
    """A step of an inner node, and the PNG that comes with it."""
    step: dict[str, JsonValue] = {"node": "2.0.0.1", "value": value, "max": 2}
    return [Event("progress", step), Event(IMAGE, {}, sample_png(8, 8))]


@pytest.mark.parametrize(
    ("events", "images"),
    [
        ([*inner(0), *inner(1)], 2),
        ([*inner(0), *inner(1), *inner(0)], 3),
        ([*inner(1), *inner(2)], 0),
        ([*inner(2), *inner(2)], 0),
        ([Event(IMAGE, {}, sample_png(8, 8))], 0),
        ([*inner(0), Event("executing", {"node": "2.0.0.2"}), *inner(1)], 1),
        ([Event("progress", {"node": "7", "value": 0}), *inner(1)[1:]], 0),
    ],
)
async def test_images_of_an_inner_node_are_those_at_steps_that_count_from_nothing(
    events: list[Event], images: int
) -> None:
    run = run_of("SaveImageWebsocket")
    with Spools() as spools:
        sent = SentImages(graph_of(run), spools)
        begun = Event("executing", {"node": "2.0.0.1", "display_node": "2"})
        for event in [begun, *events]:
            await sent.update(event)
        assert [found.node_id for found in sent.found] == ["2.0.0.1"] * images


FAILURES = {
    "error: a node raises ValueError": (Rejected, "execution_error"),
    "error while another output was saved before": (Rejected, "execution_error"),
    "interrupted: POST /interrupt with the id": (Unavailable, "interrupted"),
    "interrupted: POST /interrupt without an id": (Unavailable, "interrupted"),
    "prefix outside the output folder": (Rejected, "execution_error"),
    "prefix of 300 characters": (Rejected, "execution_error"),
    "simulated: a node raises torch.cuda.OutOfMemoryError": (Unavailable, "out_of_memory"),
    "simulated: a node raises RuntimeError with an out-of": (Unavailable, "out_of_memory"),
    "simulated: a node raises RuntimeError with CUDA's": (RuntimeSick, "runtime_sick"),
    "simulated: a node raises ValueError with non-ASCII": (Rejected, "execution_error"),
    "simulated: a node raises ValueError whose text": (Rejected, "execution_error"),
}
"""How runs failed, by the begin of what was done; the others succeeded."""
FILES = {
    "batch of 2": {"2": 2, "3": 2, "4": 2},
    "expanding": {"1.0.0.3": 1, "1.0.0.4": 1, "2": 1},
    "blocked": {},
    "SaveImageWebsocket": {},
    "PreviewAny": {"1": 1, "2": 1},
    "audio": {"2": 1, "3": 1, "4": 1, "5": 1},
    "UI value 'none'": {"2": 1},
    "UI value 'tuple'": {"2": 1},
    "UI value": {"2": 1, "3": 1},
    "text-to-image": {"9": 1},
    "the same with another seed": {"9": 1},
}
"""How much nodes put out, by the begin of what was done; elsewhere it is one of node 2."""


def of(table: dict[str, Any], what: str, default: Any) -> Any:
    return next((value for begin, value in table.items() if what.startswith(begin)), default)


@pytest.mark.parametrize("what", HISTORIES)
def test_a_run_ended_as_its_history_says(what: str) -> None:
    failure = failure_of(HISTORIES[what])
    if failure is None:
        assert of(FAILURES, what, None) is None
        found = Counter(output.node_id for output in find_outputs(HISTORIES[what]))
        assert found == of(FILES, what, {"2": 1})
    else:
        assert (type(failure), failure.type) == of(FAILURES, what, None)
        assert len(failure.message) < 2000


def test_each_of_the_tables_rows_is_recorded() -> None:
    for begin in [*FAILURES, *FILES]:
        assert any(what.startswith(begin) for what in HISTORIES), begin
