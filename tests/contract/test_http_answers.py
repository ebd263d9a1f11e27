"""What an adapter by declaration makes of answers: files, progress, failures, and what is left."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from pydantic import JsonValue

from queue_agent.runtime import Asset, Output, Progress, RuntimeOptions
from queue_agent.testing import sample_png
from queue_agent.testing.samples import in_a_file
from queue_agent.wire.errors import (
    QueueAgentError,
    Rejected,
    RunLost,
    RuntimeSick,
    TimedOut,
    Unavailable,
)
from queue_agent.wire.job import Job
from queue_agent_runtimes.http import HttpRuntime

PNG = sample_png(8, 8)
OTHER = sample_png(9, 9)
ENCODED = base64.b64encode(PNG).decode()
JOB = Job.model_validate(
    {
        "metadata": {"id": "order-1", "tasktype": "text-to-image"},
        "content": {"prompt": "a cat", "seed": 5},
    }
)
SIMPLE: Mapping[str, Any] = {
    "url": "http://127.0.0.1:7000",
    "health": {"path": "/health"},
    "tasks": {
        "text-to-image": {
            "parameters": {"prompt": {"type": "string", "words": True}, "seed": {"type": "seed"}},
            "request": {"path": "/paint", "json": {"prompt": "${prompt}", "seed": "${seed}"}},
        }
    },
    "outputs": {"as": "base64", "path": "$.images[*]"},
}
POLLED: Mapping[str, Any] = {
    **SIMPLE,
    "polling": {
        "id": "$.id",
        "request": {"method": "GET", "path": "/runs/${id}"},
        "interval": 0.05,
        "status": "$.state",
        "done": ["done"],
        "failed": ["failed", False],
        "refused": ["refused"],
    },
    "cancel": {"method": "DELETE", "path": "/runs/${id}"},
}

Answers = Callable[[web.Request], Any]


class Stub:
    """A server whose answers a test chooses, by method and path."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.answers: dict[str, Any] = {"GET /health": {}}
        self.answered: dict[str, str] = {}
        """Header fields of each answer."""

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        key = f"{request.method} {request.path}"
        self.asked.append(key)
        self.headers.append(dict(request.headers))
        said = self.answers.get(key)
        if isinstance(said, list):  # one after another, the last for ever
            said = said.pop(0) if len(said) > 1 else said[0]
        if said is None:
            return web.json_response({"detail": "Not Found"}, status=404)
        status, body = said if isinstance(said, tuple) else (200, said)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(
            body=data, status=status, content_type="application/json", headers=self.answered
        )


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    made = Stub()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@asynccontextmanager
async def runtime_of(
    declared: Mapping[str, Any], stub: Stub, folder: Path, **options: Any
) -> AsyncIterator[HttpRuntime]:
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(declared))))
    runtime = HttpRuntime(RuntimeOptions(base_url=stub.url, own={"adapter": str(file)}, **options))
    try:
        yield runtime
    finally:
        await runtime.aclose()


async def run(
    declared: Mapping[str, Any],
    stub: Stub,
    folder: Path,
    progress: Callable[[Progress], None] = lambda _: None,
    **options: Any,
) -> Output:
    async with runtime_of(declared, stub, folder, **options) as runtime:
        return await runtime.run(await runtime.prepare(JOB, {}), progress)


async def test_a_list_of_texts_is_a_list_of_files_with_their_seeds(
    stub: Stub, tmp_path: Path
) -> None:
    other = f"data:image/png;base64,{base64.b64encode(OTHER).decode()}"
    stub.answers["POST /paint"] = {"images": [ENCODED, other], "seeds": ["7", 8], "took": 1.5}
    outputs = {**SIMPLE["outputs"], "seed": "$.seeds"}
    output = await run({**SIMPLE, "outputs": outputs}, stub, tmp_path)
    assert [(one.data, one.seed) for one in output.artifacts] == [(PNG, 7), (OTHER, 8)]
    assert output.response == {"images": [None, None], "seeds": ["7", 8], "took": 1.5}


async def test_one_file_has_the_seed_that_was_asked_for(stub: Stub, tmp_path: Path) -> None:
    stub.answers["POST /paint"] = PNG
    output = await run({**SIMPLE, "outputs": {"as": "body"}}, stub, tmp_path)
    assert [(one.data, one.seed) for one in output.artifacts] == [(PNG, 5)]
    assert output.response == {}


async def test_the_manifest_holds_the_facts_that_are_named(stub: Stub, tmp_path: Path) -> None:
    stub.answers["POST /paint"] = {"images": [ENCODED], "took": 1.5, "log": "x" * 5000, "n": [1, 2]}
    facts = {"seconds": "$.took", "log": "$.log", "all": "$.n[*]", "none": "$.nothing"}
    output = await run({**SIMPLE, "facts": facts}, stub, tmp_path)
    assert output.response == {"seconds": 1.5, "log": "x" * 1000 + "…", "all": [1, 2]}


@pytest.mark.parametrize("address", ["/files/a.png", "{url}/files/a.png"])
async def test_a_file_of_the_server_itself_is_fetched_with_its_credentials(
    stub: Stub, tmp_path: Path, address: str
) -> None:
    stub.answers["POST /paint"] = {"images": [address.format(url=stub.url)]}
    stub.answers["GET /files/a.png"] = PNG
    outputs = {"as": "url", "path": "$.images"}
    output = await run({**SIMPLE, "outputs": outputs}, stub, tmp_path, api_key="abc")
    assert output.artifacts[0].data == PNG
    assert output.response == {"images": None}, "links may be signed"
    assert stub.headers[-1]["Authorization"] == "Bearer abc"


async def test_a_file_is_fetched_by_its_name_which_cannot_lead_elsewhere(
    stub: Stub, tmp_path: Path
) -> None:
    outputs = {
        "as": "url",
        "path": "$.images[*]",
        "request": {"method": "GET", "path": "/by-name/${value}"},
    }
    stub.answers["GET /by-name/a b.png"] = PNG
    stub.answers["POST /paint"] = {"images": ["a b.png"]}
    output = await run({**SIMPLE, "outputs": outputs}, stub, tmp_path)
    assert output.artifacts[0].data == PNG
    for name in ("..", "../admin", "${seed}", "a.png?x=1"):
        stub.answers["POST /paint"] = {"images": [name]}
        with pytest.raises(QueueAgentError):
            await run({**SIMPLE, "outputs": outputs}, stub, tmp_path)
    assert {path for path in stub.asked if not path.startswith("GET /by-name/")} == {"POST /paint"}


async def test_a_file_that_is_gone_is_no_jobs_fault(stub: Stub, tmp_path: Path) -> None:
    fetched = {"method": "GET", "path": "/by-name/${value}"}
    for outputs in ({"request": fetched}, {}):
        stub.answers["POST /paint"] = {"images": ["/gone.png"]}
        declared = {**SIMPLE, "outputs": {"as": "url", "path": "$.images[*]", **outputs}}
        with pytest.raises(Unavailable):
            await run(declared, stub, tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:1/x.png",
        "http://localhost/x.png",
        "file:///etc/passwd",
        "s3://bucket/key",
        "nonsense",
        7,
        None,
        {"url": "/files/a.png"},
    ],
)
async def test_a_file_that_is_nowhere_to_be_fetched_from_is_the_servers_fault(
    stub: Stub, tmp_path: Path, address: JsonValue
) -> None:
    stub.answers["POST /paint"] = {"images": [address]}
    with pytest.raises(Unavailable):
        await run({**SIMPLE, "outputs": {"as": "url", "path": "$.images"}}, stub, tmp_path)


async def test_a_file_comes_from_another_host_where_the_operator_trusts_it(
    stub: Stub, tmp_path: Path
) -> None:
    elsewhere = stub.url.replace("127.0.0.1", "localhost")
    stub.answers["POST /paint"] = {"images": [f"{elsewhere}/files/a.png"]}
    stub.answers["GET /files/a.png"] = PNG
    declared = {**SIMPLE, "outputs": {"as": "url", "path": "$.images"}}
    output = await run(declared, stub, tmp_path, output_hosts=("localhost",), api_key="abc")
    assert output.artifacts[0].data == PNG
    assert "Authorization" not in stub.headers[-1], "credentials stay with the server"


@pytest.mark.parametrize(
    ("rule", "answer", "expected", "kind"),
    [
        ({"status": [400], "means": "retry"}, (400, {}), Unavailable, "runtime_unavailable"),
        ({"status": ["5xx"], "means": "refused"}, (502, {}), Rejected, "runtime_rejected"),
        ({"contains": ["CUDA"], "means": "retry"}, (422, {"m": "no cuda"}), Unavailable, None),
        ({"contains": ["CUDA"], "means": "retry"}, (422, {"m": "no"}), Rejected, None),
        (
            {"answer": {"path": "$.code", "is": [17]}, "means": "refused", "type": "too_rude"},
            (500, {"code": 17}),
            Rejected,
            "too_rude",
        ),
        (
            {"answer": {"path": "$.code", "is": [1]}, "means": "refused"},
            (500, {"code": True}),
            Unavailable,
            None,
        ),
        ({"status": [500], "means": "sick"}, (500, {}), RuntimeSick, "runtime_sick"),
        (
            {"status": [200], "answer": {"path": "$.ok", "is": [False]}, "means": "refused"},
            (200, {"ok": False, "m": "rude"}),
            Rejected,
            None,
        ),
        ({"means": "refused"}, (200, {"images": []}), Unavailable, "invalid_answer"),
        ({"status": [400], "means": "refused"}, (503, {}), Unavailable, None),
        ({"status": ["4xx"], "means": "refused"}, (503, {}), Unavailable, None),
    ],
)
async def test_failures_mean_what_the_rules_say(
    stub: Stub,
    tmp_path: Path,
    rule: Mapping[str, Any],
    answer: tuple[int, JsonValue],
    expected: type[QueueAgentError],
    kind: str | None,
) -> None:
    stub.answers["POST /paint"] = answer
    with pytest.raises(QueueAgentError) as caught:
        await run({**SIMPLE, "errors": {"message": "$.m", "rules": [rule]}}, stub, tmp_path)
    assert type(caught.value) is expected
    assert kind in {None, caught.value.type}


async def test_a_refusal_has_the_servers_own_words(stub: Stub, tmp_path: Path) -> None:
    stub.answers["POST /paint"] = (422, {"why": {"text": "no such style"}, "message": "Error"})
    with pytest.raises(Rejected, match="The runtime refused the job: no such style"):
        await run({**SIMPLE, "errors": {"message": "$.why.text"}}, stub, tmp_path)


@pytest.mark.parametrize("rules", [[], [{"status": [429], "means": "retry"}]])
async def test_a_server_that_says_when_to_come_again_is_heard_in_whatever_words(
    stub: Stub, tmp_path: Path, rules: list[Any]
) -> None:
    stub.answers["POST /paint"] = (429, {"why": "too many"})
    stub.answered = {"Retry-After": "17"}
    errors = {"message": "$.why", "rules": rules}
    with pytest.raises(Unavailable, match="too many") as caught:
        await run({**SIMPLE, "errors": errors}, stub, tmp_path)
    assert caught.value.retry_after == 17


async def test_a_run_is_polled_until_it_is_done(stub: Stub, tmp_path: Path) -> None:
    stub.answers["POST /paint"] = (202, {"id": 17})
    stub.answers["GET /runs/17"] = [
        {"state": "new"},
        {"state": "busy", "percent": 40},
        {"state": "busy", "percent": 10},
        {"state": "busy", "percent": "odd"},
        {"state": "busy", "percent": 250},
        {"state": "done", "images": [ENCODED]},
    ]
    reports: list[float] = []
    declared = {**POLLED, "progress": {"path": "$.percent", "scale": 100}}
    output = await run(declared, stub, tmp_path, lambda progress: reports.append(progress.fraction))
    assert output.artifacts[0].data == PNG
    assert reports == [0.4, 0.99, 1.0]


async def test_what_a_poll_brings_may_be_large(stub: Stub, tmp_path: Path) -> None:
    large = PNG + bytes(16 * 2**20)
    stub.answers["POST /paint"] = {"id": 17}
    encoded = base64.b64encode(large).decode()
    stub.answers["GET /runs/17"] = {"state": "done", "images": [encoded]}
    output = await run(POLLED, stub, tmp_path)
    (artifact,) = output.artifacts
    assert artifact.is_a_file
    assert artifact.size == len(large)
    output.close()


async def test_the_result_may_be_elsewhere(stub: Stub, tmp_path: Path) -> None:
    stub.answers["POST /paint"] = {"id": "r-1"}
    stub.answers["GET /runs/r-1"] = {"state": "done"}
    stub.answers["GET /results/r-1"] = PNG
    polling = {**POLLED["polling"], "result": {"method": "GET", "path": "/results/${id}"}}
    declared = {**POLLED, "polling": polling, "outputs": {"as": "body"}}
    assert (await run(declared, stub, tmp_path)).artifacts[0].data == PNG


@pytest.mark.parametrize(
    ("answers", "expected", "words"),
    [
        ([{"state": "failed", "message": "m"}], Unavailable, "The runtime failed"),
        ([{"state": False}], Unavailable, "The runtime failed"),
        ([{"state": "refused", "m": "rude"}], Rejected, "The runtime refused the job: rude"),
        ([{"state": "failed", "m": "device-side assert"}], RuntimeSick, "device-side assert"),
        ([{"state": "failed", "m": "bad prompt"}], Rejected, "bad prompt"),
        ([(404, {"detail": "gone"})], RunLost, "does not know the run"),
        ([{"status": "done"}], Unavailable, r"no state of the run at \$.state"),
        ([{"state": {"a": 1}}], Unavailable, "no state of the run"),
        ([(500, {"m": "overloaded"})], Unavailable, "overloaded"),
        ([(200, b"no JSON")], Unavailable, "not JSON"),
        ([(400, {"m": "bad prompt"})], Rejected, "bad prompt"),
        ([(400, {"m": "which session?"})], Unavailable, "which session"),
        ([(409, {"m": "not yet"})], Unavailable, "not yet"),
        ([(422, {})], Unavailable, "422"),
    ],
)
async def test_a_polled_run_fails_as_the_server_says(
    stub: Stub,
    tmp_path: Path,
    answers: list[Any],
    expected: type[QueueAgentError],
    words: str,
) -> None:
    stub.answers["POST /paint"] = {"id": "r-1"}
    stub.answers["GET /runs/r-1"] = answers
    rules = [{"contains": ["bad prompt"], "means": "refused"}]
    with pytest.raises(QueueAgentError, match=words) as caught:
        await run({**POLLED, "errors": {"message": "$.m", "rules": rules}}, stub, tmp_path)
    assert type(caught.value) is expected


async def test_a_question_that_fails_now_and_then_ends_no_run(stub: Stub, tmp_path: Path) -> None:
    stub.answers["POST /paint"] = {"id": "r-1"}
    busy, done = {"state": "busy"}, {"state": "done", "images": [ENCODED]}
    broken: tuple[int, JsonValue] = (503, {})
    odd: tuple[int, JsonValue] = (409, {})
    stub.answers["GET /runs/r-1"] = [busy, broken, odd, busy, broken, broken, done]
    assert (await run(POLLED, stub, tmp_path)).artifacts
    assert "DELETE /runs/r-1" not in stub.asked


@pytest.mark.parametrize("status", [404, 409, 410, 422])
async def test_a_result_that_is_not_handed_out_is_no_jobs_fault(
    stub: Stub, tmp_path: Path, status: int
) -> None:
    stub.answers["POST /paint"] = {"id": "r-1"}
    stub.answers["GET /runs/r-1"] = {"state": "done"}
    stub.answers["GET /results/r-1"] = (status, {"detail": "nothing here"})
    polling = {**POLLED["polling"], "result": {"method": "GET", "path": "/results/${id}"}}
    with pytest.raises(Unavailable, match="nothing here"):
        await run({**POLLED, "polling": polling, "outputs": {"as": "body"}}, stub, tmp_path)


RESULT = {**POLLED["polling"], "result": {"method": "GET", "path": "/results/${id}"}}
BY_NAME = {"as": "url", "path": "$.files[*]", "request": {"method": "GET", "path": "/${value}"}}


@pytest.mark.parametrize(
    "failed",
    [(503, {}), (404, {}), (409, {}), (200, b"no JSON"), (200, b""), (200, {"images": []})],
)
@pytest.mark.parametrize("times", [1, 2])
async def test_the_result_of_a_run_that_is_done_is_asked_for_again_and_not_made_again(
    stub: Stub, tmp_path: Path, failed: Any, times: int
) -> None:
    stub.answers["POST /paint"] = {"id": "r-1"}
    stub.answers["GET /runs/r-1"] = {"state": "done"}
    stub.answers["GET /results/r-1"] = [*[failed] * times, {"images": [ENCODED]}]
    output = await run({**POLLED, "polling": RESULT}, stub, tmp_path)
    assert [artifact.data for artifact in output.artifacts] == [PNG]
    assert stub.asked == [
        "POST /paint",
        "GET /runs/r-1",
        *["GET /results/r-1"] * (times + 1),
    ]


@pytest.mark.parametrize("outputs", [{"as": "url", "path": "$.files[*]"}, BY_NAME])
async def test_a_file_of_a_run_that_is_done_is_asked_for_again(
    stub: Stub, tmp_path: Path, outputs: Mapping[str, Any]
) -> None:
    name = "/a.png" if "request" not in outputs else "a.png"
    stub.answers["POST /paint"] = {"id": "r-1"}
    stub.answers["GET /runs/r-1"] = {"state": "done", "files": [name]}
    stub.answers["GET /a.png"] = [(503, {}), PNG]
    output = await run({**POLLED, "outputs": outputs}, stub, tmp_path)
    assert [artifact.data for artifact in output.artifacts] == [PNG]
    assert stub.asked.count("POST /paint") == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [((422, {"detail": "bad prompt"}), Rejected), ((500, {"error": "bad fan"}), RuntimeSick)],
)
async def test_a_result_that_is_refused_by_a_rule_is_asked_for_once(
    stub: Stub, tmp_path: Path, answer: Any, expected: type[QueueAgentError]
) -> None:
    stub.answers["POST /paint"] = {"id": "r-1"}
    stub.answers["GET /runs/r-1"] = {"state": "done"}
    stub.answers["GET /results/r-1"] = answer
    rules = [
        {"contains": ["bad prompt"], "means": "refused"},
        {"contains": ["bad fan"], "means": "sick"},
    ]
    with pytest.raises(expected):
        await run({**POLLED, "polling": RESULT, "errors": {"rules": rules}}, stub, tmp_path)
    assert stub.asked.count("GET /results/r-1") == 1


async def test_what_a_poll_brings_that_is_no_file_is_not_asked_for_again(
    stub: Stub, tmp_path: Path
) -> None:
    stub.answers["POST /paint"] = {"id": "r-1"}
    stub.answers["GET /runs/r-1"] = {"state": "done", "images": ["*"]}
    with pytest.raises(Unavailable) as caught:
        await run(POLLED, stub, tmp_path)
    assert caught.value.type == "invalid_answer"
    assert stub.asked == ["POST /paint", "GET /runs/r-1"]


@pytest.mark.parametrize("answer", [(503, {}), (200, b"no JSON"), {"no": "state"}])
async def test_a_run_that_is_no_longer_heard_of_is_stopped(
    stub: Stub, tmp_path: Path, answer: Any
) -> None:
    stub.answers["POST /paint"] = {"id": "r-1"}
    stub.answers["GET /runs/r-1"] = [answer]
    with pytest.raises(Unavailable):
        await run(POLLED, stub, tmp_path)
    assert stub.asked[-1] == "DELETE /runs/r-1"


@pytest.mark.parametrize("name", [None, "", True, 1.5, [], {}, "..", "x" * 501])
async def test_a_run_without_a_usable_id_is_the_servers_fault(
    stub: Stub, tmp_path: Path, name: JsonValue
) -> None:
    stub.answers["POST /paint"] = {"id": name}
    with pytest.raises(QueueAgentError):
        await run(POLLED, stub, tmp_path)
    assert stub.asked == ["POST /paint"]


async def test_a_run_that_takes_too_long_is_stopped(stub: Stub, tmp_path: Path) -> None:
    stub.answers["POST /paint"] = {"id": "r-1"}
    stub.answers["GET /runs/r-1"] = {"state": "busy"}
    with pytest.raises(TimedOut, match=r"longer than 0\.3 s"):
        await run({**POLLED, "time_limit": 0.3}, stub, tmp_path)
    assert stub.asked[-1] == "DELETE /runs/r-1"


async def test_a_run_that_is_accepted_while_it_is_cancelled_is_stopped(
    stub: Stub, tmp_path: Path
) -> None:
    came, stopped, answer = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def accepted(_: web.Request) -> web.Response:
        came.set()
        await answer.wait()
        return web.json_response({"id": "r-1"})

    async def deleted(_: web.Request) -> web.Response:
        stopped.set()
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/paint", accepted)
    app.router.add_delete("/runs/r-1", deleted)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with runtime_of(POLLED, stub, tmp_path) as runtime:
            prepared = await runtime.prepare(JOB, {})
            task = asyncio.create_task(runtime.run(prepared, lambda _: None))
            await came.wait()
            task.cancel()
            await asyncio.sleep(0)
            answer.set()
            await asyncio.wait({task})
            assert task.cancelled()
    finally:
        await runner.cleanup()
    assert stopped.is_set()


async def test_progress_is_asked_for_beside_a_run_that_is_not_polled(
    stub: Stub, tmp_path: Path
) -> None:
    asked, reports = asyncio.Event(), list[float]()

    async def painted(_: web.Request) -> web.Response:
        await asked.wait()
        return web.json_response({"images": [ENCODED]})

    def report(progress: Progress) -> None:
        reports.append(progress.fraction)
        asked.set()

    app = web.Application()
    app.router.add_post("/paint", painted)
    app.router.add_get("/progress", _progress)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    progress = {
        "path": "$.part",
        "interval": 0.05,
        "request": {"method": "GET", "path": "/progress"},
    }
    try:
        assert (await run({**SIMPLE, "progress": progress}, stub, tmp_path, report)).artifacts
    finally:
        await runner.cleanup()
    assert reports[0] == 0.25
    assert reports[-1] == 1.0


@pytest.mark.parametrize("how", ["multipart", "json"])
async def test_a_file_of_the_job_reaches_the_server_whole(
    stub: Stub, tmp_path: Path, how: str
) -> None:
    """A large one, from the file that it lies in, and again when the run is tried again."""
    large = PNG + bytes(range(256)) * 8192
    heard: list[tuple[object, bytes]] = []

    async def painted(request: web.Request) -> web.Response:
        if how == "json":
            said = await request.json()
            heard.append((said["prompt"], base64.b64decode(said["image"])))
        else:
            form = await request.post()
            part = form["image"]
            assert isinstance(part, web.FileField)
            assert (part.filename, part.content_type) == ("image-1.png", "image/png")
            heard.append((form["prompt"], part.file.read()))
        return web.json_response({"images": [ENCODED]})

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/paint", painted)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    parameters = {"prompt": {"type": "string", "words": True}, "image": {"type": "image"}}
    request = {"path": "/paint", how: {"prompt": "${prompt}", "image": "${image}"}}
    tasks = {"image-to-image": {"parameters": parameters, "request": request}}
    place = "https://example.com/large.png"
    job = Job.model_validate(
        {
            "metadata": {"id": "order-1", "tasktype": "image-to-image"},
            "content": {"prompt": 'quotes " and \n ${image}', "image": place},
        }
    )
    try:
        with in_a_file(large) as file:
            async with runtime_of({**SIMPLE, "tasks": tasks}, stub, tmp_path) as runtime:
                prepared = await runtime.prepare(job, {place: Asset(file, "image/png")})
                for _ in range(2):
                    assert (await runtime.run(prepared, lambda _: None)).artifacts
    finally:
        await runner.cleanup()
    assert heard == [('quotes " and \n ${image}', large)] * 2


async def _progress(_: web.Request) -> web.Response:
    return web.json_response({"part": 0.25})


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({"status": "Healthy"}, "ready"),
        ({"status": "Loading"}, "starting"),
        ([], "starting"),
        ((503, {}), "starting"),
        ((500, {}), "away"),
        ((401, {}), "misconfigured"),
        (b"no JSON", "misconfigured"),
    ],
)
async def test_a_server_is_ready_when_it_says_what_is_declared(
    stub: Stub, tmp_path: Path, answer: Any, state: str
) -> None:
    stub.answers["GET /health"] = [answer]
    health = {
        "path": "/health",
        "ready": {"path": "$.status", "is": ["Healthy"]},
        "starting": [503],
    }
    async with runtime_of({**SIMPLE, "health": health}, stub, tmp_path) as runtime:
        readiness = await runtime.ready()
    assert not isinstance(readiness, bool)
    assert readiness.state == state


async def test_the_key_is_sent_where_the_server_wants_it(stub: Stub, tmp_path: Path) -> None:
    stub.answers["POST /paint"] = {"images": [ENCODED]}
    declared = {**SIMPLE, "authentication": {"header": "X-Key", "scheme": "Key"}}
    await run(declared, stub, tmp_path, api_key="abc", headers={"Cookie": "c=1"})
    sent = stub.headers[-1]
    assert (sent["X-Key"], sent["Cookie"]) == ("Key abc", "c=1")
    assert "Authorization" not in sent
