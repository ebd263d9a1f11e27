"""Whatever a ComfyUI answers or sends, no job is lost by it, and none is blamed for it."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from pydantic import JsonValue
from uvicorn.protocols.utils import ClientDisconnected

from changed_answers import Answer, ChangedAnswers, Frame, changed_answers
from fakes.comfyui.app import FakeComfyUI, Options
from queue_agent.runtime import Asset, Output, Progress, RuntimeOptions
from queue_agent.testing import sample_png
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui import ComfyUIRuntime, events, watch
from queue_agent_runtimes.comfyui.api import ComfyUIApi

URL = "https://images.example.com/cat.png"
OTHER = "0a1b2c3d-0000-4000-8000-000000000000"
ENDLESS = b"7" * 5000
WORKFLOW: dict[str, JsonValue] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": URL}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
SENT: dict[str, JsonValue] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": URL}},
    "2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}},
}


@pytest.fixture(autouse=True)
def short_silences(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"SILENCE": 0.1, "_AGAIN": 0.02, "_SOON": 0.01}.items():
        monkeypatch.setattr(watch, name, seconds)
    monkeypatch.setattr(events, "_RECONNECT_PAUSE", 0.02)
    monkeypatch.setattr(events, "_OPEN_TIMEOUT", 60.0)  # that none is lost on a busy machine


@pytest.fixture
async def server() -> AsyncIterator[ChangedAnswers]:
    async with changed_answers(FakeComfyUI(Options(step_seconds=0, history_delay=0)).app()) as one:
        yield one


count = itertools.count()


async def run(
    server: ChangedAnswers,
    workflow: dict[str, JsonValue] = WORKFLOW,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Output:
    """A job of its own, from readiness to clean-up."""
    metadata = {"id": f"job-{next(count)}", "tasktype": "pipeline"}
    job = Job.model_validate({"metadata": metadata, "content": workflow})
    runtime = ComfyUIRuntime(RuntimeOptions(base_url=server.url))
    try:
        async with asyncio.timeout(60):
            await runtime.ready()
            assets = {one.url: Asset(sample_png(), "image/png") for one in runtime.references(job)}
            output = await runtime.run(await runtime.prepare(job, assets), progress)
            await runtime.clean_up(job, again=False)
            return output
    finally:
        await runtime.aclose()


async def failure(server: ChangedAnswers, workflow: dict[str, JsonValue] = WORKFLOW) -> Any:
    with pytest.raises(QueueAgentError) as caught:
        await run(server, workflow)
    return caught.value


def answering(route: str, made: Callable[[Any], JsonValue]) -> Callable[[str, Answer], Answer]:
    """Another answer to the questions that begin so, made of the fake's."""

    def change(key: str, answer: Answer) -> Answer:
        return answer.saying(made(answer.json())) if key.startswith(route) else answer

    return change


def in_the_entry(made: Callable[[Any], JsonValue]) -> Callable[[str, Answer], Answer]:
    """Another entry of the history, once there is one."""
    return answering(
        "GET /history/", lambda history: {name: made(entry) for name, entry in history.items()}
    )


def always(value: JsonValue) -> Callable[[Any], JsonValue]:
    return lambda _: value


def having(**fields: JsonValue) -> Callable[[Any], JsonValue]:
    return lambda entry: {**entry, **fields}


async def makes_no_sense(server: ChangedAnswers, route: str, *answers: JsonValue) -> None:
    """A failed attempt, of no lost run, for each of these answers."""
    for told in answers:
        server.change = lambda key, answer, told=told: (  # type: ignore[misc]
            answer.saying(told) if key.startswith(route) else answer
        )
        error = await failure(server)
        assert (type(error), error.type) == (Unavailable, "invalid_answer"), told


async def test_an_upload_of_which_no_name_is_told_is_no_jobs_fault(server: ChangedAnswers) -> None:
    await makes_no_sense(
        server, "POST /upload/image", {}, {"name": None}, {"name": ""}, {"name": 7},
        {"name": ["a"]}, {"name": "a", "subfolder": 7}, {"name": "a", "subfolder": ["b"]},
    )  # fmt: skip
    assert "POST /prompt" not in server.asked


@pytest.mark.parametrize("route", ["POST /upload/image", "POST /prompt"])
async def test_a_job_is_refused_by_what_refuses_its_content_only(
    server: ChangedAnswers, route: str
) -> None:
    words = json.dumps({"detail": "said by whoever stands there"}).encode()
    for status in (302, 400, 404, 405, 409, 413, 429, 500, 503):
        server.change = lambda key, answer, status=status: (  # type: ignore[misc]
            Answer(status, words, answer.headers) if key == route else answer
        )
        error = await failure(server)
        assert type(error) is (Rejected if status in {400, 413} else Unavailable), status
        assert status < 400 or "said by whoever stands there" in error.message


async def test_an_answer_that_holds_no_queue_is_no_lost_run(server: ChangedAnswers) -> None:
    await makes_no_sense(
        server, "GET /queue", [], {}, {"queue_running": []}, {"queue_pending": []},
        {"queue_running": None, "queue_pending": []}, {"queue_running": [], "queue_pending": "a"},
        {"queue_running": {"a": 1}, "queue_pending": []},
    )  # fmt: skip


async def test_an_entry_of_the_history_that_is_none_is_no_lost_run(server: ChangedAnswers) -> None:
    entries: tuple[JsonValue, ...] = ("a", 7, [], True)
    for entry in entries:
        server.change = in_the_entry(always(entry))
        error = await failure(server)
        assert (type(error), error.type) == (Unavailable, "invalid_answer")


async def test_a_prompt_whose_id_is_none_makes_no_sense(server: ChangedAnswers) -> None:
    ids: tuple[JsonValue, ...] = (-1, ["a"], {"a": 1}, True, "../queue", "a?b", "a" * 200)
    await makes_no_sense(server, "POST /prompt", *({"prompt_id": given} for given in ids))
    assert all(not key.startswith("GET /queue/") for key in server.asked)


async def test_what_the_history_says_of_a_run_may_be_odd(server: ChangedAnswers) -> None:
    messages: tuple[JsonValue, ...] = (
        "a",
        [None, [], ["a"], ["a", None], [7, {}]],
        [["execution_start", {"timestamp": 1}, 7]],
        [["a", {"timestamp": True, "nodes": {"a": 1}}]] * 2,
        [["execution_cached", {"nodes": [None, [], 7]}]],
    )
    success: list[JsonValue] = [{"status_str": "success", "messages": told} for told in messages]
    statuses: list[JsonValue] = [None, [], {"status_str": 7}, *success]
    for status in statuses:
        server.change = in_the_entry(having(status=status))
        assert len((await run(server)).artifacts) == 1, status


async def test_numbers_without_end_in_the_history_cost_no_image(server: ChangedAnswers) -> None:
    def change(key: str, answer: Answer) -> Answer:
        if not key.startswith("GET /history/"):
            return answer
        body = answer.body.replace(b'"timestamp":', b'"timestamp":' + ENDLESS + b',"at":')
        body = body.replace(b'"outputs":{', b'"outputs":{"9":{"n":[%s]},' % ENDLESS)
        return replace(answer, body=body)

    server.change = change
    output = await run(server)
    assert len(output.artifacts) == 1
    assert output.response["statistics"]["seconds"] is None  # type: ignore[index,call-overload]


def outputs(kinds: JsonValue) -> Callable[[str, Answer], Answer]:
    """The history, in which another node of no name has put out that, too."""
    return in_the_entry(
        lambda entry: {**entry, "outputs": {**entry["outputs"], "9" * 5000: kinds, "": kinds}}
    )


async def test_outputs_of_unknown_kinds_cost_no_others(server: ChangedAnswers) -> None:
    several: tuple[JsonValue, ...] = (
        None, 7, "a", [], {"images": None}, {"images": [None, 7, True, [], {}, {"filename": 7}]},
        {"3d": {"filename": None}}, {"result": [None, 7, {}]}, {"a": {"b": {}}},
        {"images": [{"filename": "in.png", "type": "input"}]}, {"text": ["", "  "]},
    )  # fmt: skip
    for kinds in several:
        server.change = outputs(kinds)
        assert [one.media_type for one in (await run(server)).artifacts] == ["image/png"], kinds


async def test_a_named_file_that_is_not_there_is_told_and_costs_no_others(
    server: ChangedAnswers,
) -> None:
    records: tuple[JsonValue, ...] = (
        {"filename": "gone.png"},
        {"filename": ""},
        {"filename": "x", "type": "nowhere"},
        {"filename": "x" * 5000, "subfolder": [1], "type": 7},
        {"filename": "a\x00b\n.png"},
        {"filename": "../../etc/passwd"},
    )
    for record in records:
        server.change = outputs({"images": [record]})
        output = await run(server)
        assert [one.media_type for one in output.artifacts] == ["image/png"], record
        assert output.missing, record


async def test_a_failure_without_words_is_no_jobs_fault(server: ChangedAnswers) -> None:
    several: tuple[JsonValue, ...] = (
        {},
        {"exception_type": None},
        {"exception_message": 7, "node_id": ["a" * 9000]},
    )
    for data in several:
        told: JsonValue = {"status_str": "error", "messages": [["execution_error", data]]}
        server.change = in_the_entry(having(status=told))
        error = await failure(server)
        assert (type(error), error.type) == (Unavailable, "execution_error")
        assert len(error.message) < 500


ODD_FRAMES: tuple[str | bytes, ...] = (
    b"",
    b"\x00",
    b"\x00\x00\x00\x01",
    b"\x00\x00\x00\x01\x00\x00\x00",
    b"\x00\x00\x00\x01\x00\x00\x00\x01",
    b"\x00\x00\x00\x01\x00\x00\x00\x01\xff\xd8",
    b"\x00\x00\x00\x01\x00\x00\x00\x02",
    b"\x00\x00\x00\x04\xff\xff\xff\xff{",
    b"\xff" * 70_000,
    "",
    "no JSON ID",
    "[" * 50_000 + "ID",
    '{"type": "executing", "data": ["ID"]}',
    '{"type": ["ID"], "data": {"prompt_id": "ID"}}',
    '{"type": "never heard of", "data": {"prompt_id": "ID", "node": {"a": [1]}}}',
    '{"type": "executing", "data": {"prompt_id": "ID", "node": ["2"], "display_node": 7}}',
    '{"type": "progress", "data": {"prompt_id": "ID", "value": NaN, "max": 0, "node": 7}}',
    '{"type": "progress", "data": {"prompt_id": "ID", "value": %s, "max": 1}}' % ("9" * 5000),
    '{"type": "progress", "data": {"prompt_id": "ID", "value": 3, "max": true, "node": "2"}}',
    '{"type": "execution_cached", "data": {"prompt_id": "ID", "nodes": [null, ["1"], "2", 7]}}',
    '{"type": "execution_cached", "data": {"prompt_id": "ID", "nodes": {"a": 1}}}',
    '{"type": "executed", "data": {"prompt_id": "ID", "output": null}}',
    '{"type": "execution_error", "data": {"prompt_id": "%s", "exception_type": "X"}}' % OTHER,  # noqa: UP031
    '{"type": "executing", "data": {"prompt_id": "%s", "node": null}, "ID": 1}' % OTHER,  # noqa: UP031
    '{"type": "execution_interrupted", "data": {"prompt_id": ["ID"]}}',
)


def of_this_prompt(frame: str | bytes, seen: str | bytes) -> str | bytes:
    """The odd frame with the id of the prompt that the fake's own frame is about."""
    if isinstance(frame, bytes) or isinstance(seen, bytes):
        return frame
    data = json.loads(seen).get("data", {})
    return frame.replace("ID", str(data.get("prompt_id", "")))


def between(odd: str | bytes) -> Callable[[str | bytes], Iterable[Frame]]:
    return lambda frame: [of_this_prompt(odd, frame), frame, of_this_prompt(odd, frame)]


@pytest.mark.parametrize("workflow", [WORKFLOW, SENT], ids=["saved", "sent"])
async def test_frames_of_any_kind_cost_no_image_and_let_no_progress_fall(
    server: ChangedAnswers, workflow: dict[str, JsonValue]
) -> None:
    for odd in ODD_FRAMES:
        if workflow is SENT and odd == b"\x00\x00\x00\x01\x00\x00\x00\x02":
            continue  # an image, by all that can be seen of it
        server.frames = between(odd)
        reports: list[Progress] = []
        output = await run(server, workflow, reports.append)
        assert [one.media_type for one in output.artifacts] == ["image/png"], odd[:100]
        fractions = [report.fraction for report in reports]
        assert fractions == sorted(fractions), odd[:100]


def reversed_frames() -> Callable[[str | bytes], Iterable[Frame]]:
    """Each two of the frames in the wrong order."""
    held: list[str | bytes] = []

    def frames(frame: str | bytes) -> Iterable[Frame]:
        held.append(frame)
        return [held.pop(), held.pop()] if len(held) > 1 else []

    return frames


@pytest.mark.parametrize(
    "frames",
    [
        lambda: lambda _: [],
        lambda: lambda frame: [frame, frame],
        lambda: lambda frame: [frame, None],
        lambda: lambda _: [None],
        reversed_frames,
    ],
    ids=["none", "each twice", "away after each", "away before each", "out of order"],
)
async def test_history_is_the_truth_however_events_come(
    server: ChangedAnswers, frames: Callable[[], Callable[[str | bytes], Iterable[Frame]]]
) -> None:
    server.frames = frames()
    assert len((await run(server)).artifacts) == 1


def away_at(number: int) -> Callable[[str | bytes], Iterable[Frame]]:
    """The connection ends in the place of one frame of all."""
    left = itertools.count(1)
    return lambda frame: [None] if next(left) == number else [frame]


@pytest.mark.parametrize("workflow", [WORKFLOW, SENT], ids=["saved", "sent"])
async def test_a_connection_may_break_at_any_event(
    server: ChangedAnswers, workflow: dict[str, JsonValue]
) -> None:
    for number in range(1, 10):
        server.frames = away_at(number)
        made = (await run(server, workflow)).artifacts
        assert [one.media_type for one in made] == ["image/png"], number


async def test_a_prompt_whose_end_nobody_told_is_found_amid_events_without_end(
    server: ChangedAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LONGEST_UNSEEN", 0.1)
    monkeypatch.setattr(watch, "SILENCE", 30.0)
    preview = b"\x00\x00\x00\x01\x00\x00\x00\x02" + sample_png()

    async def flooded(send: Any) -> None:
        with suppress(ClientDisconnected):
            while True:
                await send({"type": "websocket.send", "bytes": preview})  # once it can be taken
                await asyncio.sleep(0)

    server.frames = lambda frame: [] if "executing" in str(frame) or "success" in str(frame) else [
        frame
    ]  # fmt: skip
    server.beside = flooded
    assert len((await run(server)).artifacts) == 1


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "location",
    ["ws://{other}/ws", "http://{other}", "ws://127.0.0.1:99999", "ws://[::1/ws", "nonsense"],
)
async def test_a_websocket_is_not_led_elsewhere(location: str) -> None:
    heard: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        heard.append(str(request.rel_url))
        return web.Response(status=404)

    async with serving(elsewhere) as other:
        host = other.removeprefix("http://")

        async def redirect(_: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": location.format(other=host)})

        async with serving(redirect) as url:
            api = ComfyUIApi(RuntimeOptions(base_url=url, headers={"x-key": "secret"}), "")
            async with api.events(OTHER) as stream:
                assert not stream.connected
            await api.aclose()
    assert heard == []
