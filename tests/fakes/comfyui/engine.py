"""The fake's prompt queue and executor: one prompt at a time, events as the real one sends them.

Order of events and of the history's entry are those of the recordings in `tests/recordings`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from fakes import end_of_process
from fakes.comfyui.faults import Faults
from fakes.comfyui.files import Files, input_record
from fakes.comfyui.node_class import Result, Ui, Work
from fakes.comfyui.nodes import NODE_CLASSES
from fakes.comfyui.values import Blocker, Inputs, NodeFailure, word_of

Json = dict[str, JsonValue]
SendEvent = Callable[[str, Json, str | None], None]
"""Event, data and the client it goes to; None for all."""

_SECRETS = frozenset({"api_key_comfy_org", "auth_token_comfy_org"})
_METHODS = frozenset({"auto", "latent2rgb", "taesd"})
"""Of making previews."""
_HEARD_BY_ALL = frozenset({"progress", "progress_state"})
_OUT_OF_MEMORY = "torch.OutOfMemoryError"
_ADVICE = (
    "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before "
    "you might have accidentally set the batch_size to a large number."
)


class Interrupted(Exception):
    """Somebody posted to `/interrupt`."""


@dataclass(frozen=True, order=True)
class Prompt:
    """A submitted workflow, ordered as the queue orders them."""

    number: float
    id: str = field(compare=False)
    graph: dict[str, JsonValue] = field(compare=False)
    extra_data: Json = field(compare=False)
    outputs: list[str] = field(compare=False)

    def as_json(self) -> list[JsonValue]:
        """As `/queue` and history show it: without secrets."""
        shown = {k: v for k, v in self.extra_data.items() if k not in _SECRETS}
        return [self.number, self.id, self.graph, shown, [*self.outputs]]

    @property
    def client_id(self) -> str | None:
        client_id = self.extra_data.get("client_id")
        return client_id if isinstance(client_id, str) else None


@dataclass
class Run:
    """What the tests are told of one execution."""

    prompt_id: str
    start: float
    end: float | None = None
    outcome: str = "running"
    executed: list[str] = field(default_factory=list)
    steps: int = 0


@dataclass
class Engine:
    """State of the server."""

    files: Files
    send: SendEvent
    send_preview: Callable[[str | None], None]
    send_image: Callable[[bytes, str | None], None]
    faults: Faults = field(default_factory=Faults)
    step_seconds: float = 0.01
    history_delay: float = 0.02
    history_limit: int = 10000
    cache_none: bool = False
    disable_metadata: bool = False
    deadly: str | None = None
    pending: list[Prompt] = field(default_factory=list)
    running: Prompt | None = None
    node_under_way: str | None = None
    history: dict[str, Json] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    frees: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    _cache: dict[str, Result] = field(default_factory=dict)
    _temp_words: int = 0
    _last_finished: Prompt | None = None

    def submit(self, prompt: Prompt) -> None:
        self.pending.append(prompt)
        self.pending.sort()
        self.announce_status()
        self._arrived.set()

    def delete_pending(self, prompt_id: str) -> None:
        self.pending = [prompt for prompt in self.pending if prompt.id != prompt_id]
        self.announce_status()

    def interrupt(self, prompt_id: str | None) -> None:
        """Stop the running prompt at its next step, if it is the one that is meant."""
        if prompt_id is None or (self.running and self.running.id == prompt_id):
            self._interrupted.set()

    @property
    def queue_remaining(self) -> int:
        return len(self.pending) + (1 if self.running else 0)

    def whereabouts(self, client_id: str) -> list[tuple[str, Json]]:
        """What a client that comes back is told of its prompt."""
        if self.running is None or self.running.client_id != client_id:
            return []
        return [("executing", {"node": self.node_under_way})]

    def announce_status(self) -> None:
        status: Json = {"exec_info": {"queue_remaining": self.queue_remaining}}
        self.send("status", {"status": status}, None)

    async def work(self) -> None:
        """Execute prompts for ever."""
        while True:
            while not self.pending:
                self.idle.set()
                self._arrived.clear()
                await self._arrived.wait()
            self.idle.clear()
            if self.faults.worker == "idle":
                await asyncio.Event().wait()
            self.running = self.pending.pop(0)
            self.announce_status()
            await self._execute(self.running)

    async def _execute(self, prompt: Prompt) -> None:
        run = Run(prompt.id, time.time())
        self.runs.append(run)
        self._interrupted.clear()
        if self.deadly is not None and self.deadly in str(prompt.graph):
            end_of_process()
        if self.faults.late_events and self._last_finished:
            late = self._last_finished
            self.send("executed", {"node": "0", "output": {}, "prompt_id": late.id}, late.client_id)
            self.send("executing", {"node": None, "prompt_id": late.id}, late.client_id)
        execution = _Execution(self, prompt, run)
        await execution.perform()
        run.end = time.time()
        await asyncio.sleep(self.history_delay)
        if self.faults.history == "normal":
            self.history[prompt.id] = execution.history_entry()
        while len(self.history) > self.history_limit:
            self.history.pop(next(iter(self.history)))
        self.running = self.node_under_way = None
        self._last_finished = prompt
        self.announce_status()
        if prompt.client_id is not None:
            self.send("executing", {"node": None, "prompt_id": prompt.id}, prompt.client_id)

    async def step(self, run: Run) -> None:
        """One step of work; where an interrupt takes effect."""
        if self.faults.worker == "dead":
            await self.end_worker()
        await asyncio.sleep(self.step_seconds)
        while self.faults.paused and not self._interrupted.is_set():  # noqa: ASYNC110  simple enough
            await asyncio.sleep(0.001)
        run.steps += 1
        self.check_interrupted()

    async def held(self) -> None:
        """Wait while the fault `paused` is on, whoever interrupts."""
        while self.faults.paused:  # noqa: ASYNC110  simple enough
            await asyncio.sleep(0.001)

    async def end_worker(self) -> None:
        """No prompt is worked on any more, and the one under way stays the running one."""
        await asyncio.Event().wait()

    def check_interrupted(self) -> None:
        if self._interrupted.is_set() and self.faults.worker != "deaf":
            self._interrupted.clear()
            raise Interrupted

    def fail_if_told(self) -> None:
        kind = self.faults.fail_next or self.faults.fail_always
        self.faults.fail_next = None
        if kind == "oom":
            raise NodeFailure(_OUT_OF_MEMORY, "CUDA out of memory. Tried to allocate 2.00 GiB.")
        if kind == "cuda":
            raise NodeFailure("RuntimeError", "CUDA error: device-side assert triggered")
        if kind == "exception":
            raise NodeFailure("ValueError", "the node does not like this")

    def forget_everything(self) -> None:
        """History, node cache, files and what the tests are told."""
        self.history.clear()
        self._cache.clear()
        self.runs.clear()
        self.files.clear()
        self.frees = 0

    def temp_word(self) -> str:
        self._temp_words += 1
        return "".join(chr(ord("a") + int(digit, 16)) for digit in word_of(self._temp_words)[:5])

    def cached(self, signature: str) -> Result | None:
        return self._cache.get(signature)

    def keep_cached(self, results: dict[str, Result]) -> None:
        """Remember the results of the latest prompt only, as the classic cache does."""
        self._cache = {} if self.cache_none else results


class _Execution:
    """One prompt's way through the executor."""

    def __init__(self, engine: Engine, prompt: Prompt, run: Run) -> None:
        self._engine = engine
        self._prompt = prompt
        self._run = run
        self._results: dict[str, Result] = {}
        self._signatures: dict[str, str] = {}
        self._messages: list[JsonValue] = []
        self._succeeded = False
        self._order = list(self._upstream_first())
        self._states: Json = {}
        self._parents: dict[str, str] = {}
        """Of nodes that others have become."""

    async def perform(self) -> None:
        self._tell("execution_start", {})
        found = {node: self._engine.cached(self._signature(node)) for node in self._order}
        cached = {node: result for node, result in found.items() if result}
        self._tell("execution_cached", {"nodes": [*cached]})
        try:
            await self._run_nodes(cached)
        finally:  # what was executed before a failure is remembered, too
            done = [node for node in self._order if node in self._results]
            self._engine.keep_cached({self._signatures[node]: self._results[node] for node in done})

    async def _run_nodes(self, cached: Mapping[str, Result]) -> None:
        for node in self._order:
            try:
                if node in cached:
                    self._results[node] = cached[node]
                    self._tell_ui(node)
                else:
                    await self._run_node(node)
            except Interrupted:
                self._end("interrupted", "execution_interrupted", self._place(node))
                return
            except NodeFailure as failure:
                self._end("error", "execution_error", self._failure(node, failure))
                return
        self._succeeded = True
        self._end("success", "execution_success", {})

    def history_entry(self) -> Json:
        outputs: dict[str, Ui] = {
            node: result.ui for node, result in self._results.items() if result.ui is not None
        }
        return {
            "prompt": self._prompt.as_json(),
            "outputs": {node: {**ui} for node, ui in outputs.items()},
            "status": {
                "status_str": "success" if self._succeeded else "error",
                "completed": self._succeeded,
                "messages": self._messages,
            },
            "meta": {
                node: {
                    "node_id": node,
                    "display_node": self._shown(node),
                    "parent_node": self._parents.get(node),
                    "real_node_id": self._shown(node),
                }
                for node in outputs
            },
        }

    async def _run_node(self, node: str) -> None:
        """Of the workflow."""
        engine = self._engine
        engine.check_interrupted()
        spec = _node(self._prompt.graph, node)
        inputs = {name: self._resolved(value) for name, value in _inputs(spec).items()}
        await self._execute(node, str(spec["class_type"]), inputs)
        self._run.executed.append(node)

    async def _execute(self, node: str, class_type: str, inputs: dict[str, object]) -> None:
        self._send_state(node, 0, 1, "running")
        self._engine.node_under_way = node
        self._send("executing", {"node": node, "display_node": self._shown(node)})
        if class_type == "KSampler" or node == self._order[-1]:
            self._engine.fail_if_told()
        blocker = next((value for value in inputs.values() if isinstance(value, Blocker)), None)
        if blocker is not None:
            self._block(node, class_type, blocker)
            return
        try:
            result = await NODE_CLASSES[class_type].run(self._work(node), Inputs(inputs))
        except (OSError, ValueError) as error:
            kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
            raise NodeFailure(kind, str(error)) from error
        self._results[node] = result
        self._tell_ui(node)
        self._send_state(node, 1, 1, "finished")
        if result.becomes:
            await self._become(node, result)

    def _work(self, node: str) -> Work:
        engine, client_id = self._engine, self._prompt.client_id
        return Work(
            engine.files,
            self._prompt.graph,
            lambda value, most: self._step(node, value, most),
            engine.temp_word(),
            send_image=lambda png: engine.send_image(png, client_id),
            send_preview=lambda: engine.send_preview(client_id),
            held=engine.held,
            end_worker=engine.end_worker,
            disable_metadata=engine.disable_metadata,
        )

    def _block(self, node: str, class_type: str, blocker: Blocker) -> None:
        """Tell so, where there is a message, and hold back what comes after the node, too."""
        if blocker.message:
            failure = NodeFailure("ExecutionBlocked", f"Execution Blocked: {blocker.message}")
            told = {**self._failure(node, failure), "exception_message": str(failure)}
            self._send("execution_error", {**told, "traceback": []})
            blocker = Blocker("")
        self._results[node] = Result((blocker,) * len(NODE_CLASSES[class_type].outputs))

    async def _become(self, node: str, result: Result) -> None:
        """Execute the nodes that it becomes, in their order; they come after those they need."""
        for name, (class_type, inputs) in result.becomes.items():
            inner = _inner_id(node, name)
            self._parents[inner] = node
            resolved = {key: self._linked(node, value) for key, value in inputs.items()}
            await self._execute(inner, class_type, resolved)
        outputs = tuple(self._linked(node, output) for output in result.outputs)
        self._results[node] = Result(outputs, result.ui)

    def _linked(self, node: str, value: object) -> object:
        """What a link between nodes that this one becomes leads to."""
        if not isinstance(value, list):
            return value
        name, slot = value
        return self._results[_inner_id(node, str(name))].outputs[slot]

    def _shown(self, node: str) -> str:
        """The node of the workflow that this one is, or that became it."""
        while node in self._parents:
            node = self._parents[node]
        return node

    def _tell_ui(self, node: str) -> None:
        ui = self._results[node].ui
        if ui is not None:
            data: Json = {"node": node, "display_node": self._shown(node), "output": {**ui}}
            self._send("executed", data)

    async def _step(self, node: str, value: int, most: int) -> None:
        await self._engine.step(self._run)
        self._send_state(node, value, most, "running")
        self._send("progress", {"value": value, "max": most, "node": node})
        if (
            self._engine.faults.previews
            or self._prompt.extra_data.get("preview_method") in _METHODS
        ):
            self._engine.send_preview(self._prompt.client_id)

    def _upstream_first(self) -> list[str]:
        order: dict[str, None] = {}
        waiting = [(node, False) for node in reversed(self._prompt.outputs)]
        while waiting:
            node, upstream_done = waiting.pop()
            if node in order:
                continue
            if upstream_done:
                order[node] = None
                continue
            waiting.append((node, True))
            links = list(_inputs(_node(self._prompt.graph, node)).values())
            waiting += [(str(link[0]), False) for link in links if isinstance(link, list)]
        return list(order)

    def _signature(self, node: str) -> str:
        spec = _node(self._prompt.graph, node)
        parts: list[object] = [spec["class_type"]]
        for name, value in sorted(_inputs(spec).items()):
            if isinstance(value, list):
                parts.append((name, self._signatures[str(value[0])], value[1]))
            else:
                parts.append((name, value))
        if NODE_CLASSES[str(spec["class_type"])].changes_always:
            parts.append(str(self._run.start))
        file_input = NODE_CLASSES[str(spec["class_type"])].file_input
        if file_input:
            name = str(_inputs(spec).get(file_input))
            parts.append(self._engine.files.read(input_record(name)))
        self._signatures[node] = word_of(*parts)
        return self._signatures[node]

    def _resolved(self, value: JsonValue) -> object:
        if not isinstance(value, list):
            return value
        node, slot = value
        assert isinstance(slot, int)
        return self._results[str(node)].outputs[slot]

    def _place(self, node: str) -> Json:
        return {
            "node_id": node,
            "node_type": _node(self._prompt.graph, node)["class_type"],
            "executed": [*self._run.executed],
        }

    def _failure(self, node: str, failure: NodeFailure) -> Json:
        return {
            **self._place(node),
            "exception_message": f"{failure}\n{_ADVICE if failure.kind == _OUT_OF_MEMORY else ''}",
            "exception_type": failure.kind,
            "traceback": ['  File "execution.py", line 1, in execute\n'],
            "current_inputs": {},
            "current_outputs": [],
        }

    def _send_state(self, node: str, value: int, most: int, state: str) -> None:
        self._states[node] = {"value": value, "max": most, "state": state, "node_id": node}
        self._send("progress_state", {"nodes": {**self._states}})

    def _end(self, outcome: str, event: str, data: Json) -> None:
        self._run.outcome = outcome
        self._tell(event, data)

    def _tell(self, event: str, data: Json) -> None:
        """Send an event that history keeps too."""
        stamped: Json = {**data, "prompt_id": self._prompt.id, "timestamp": int(time.time() * 1000)}
        self._messages.append([event, stamped])
        self._send(event, stamped)

    def _send(self, event: str, data: Json) -> None:
        """Of a prompt that nobody owns, all hear how far it is, and nobody anything else."""
        client_id = self._prompt.client_id
        if client_id is not None or event in _HEARD_BY_ALL:
            self._engine.send(event, {**data, "prompt_id": self._prompt.id}, client_id)


def _inner_id(node: str, name: str) -> str:
    return f"{node}.0.0.{name}"


def _node(graph: Mapping[str, JsonValue], node_id: str) -> Json:
    node = graph[node_id]
    assert isinstance(node, dict)
    return node


def _inputs(node: Json) -> Json:
    inputs = node["inputs"]
    assert isinstance(inputs, dict)
    return inputs
