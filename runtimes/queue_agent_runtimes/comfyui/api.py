"""ComfyUI's HTTP routes, one method each.

The routes: https://docs.comfy.org/development/comfyui-server/comms_routes
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

from pydantic import JsonValue

from queue_agent.runtime import Asset, RuntimeOptions, Spool
from queue_agent.runtime.http import (
    ASK,
    DOWNLOAD,
    FAULTS_OF_THE_CONTENT,
    READY,
    UPLOAD,
    FormFile,
    Response,
    RuntimeClient,
    Timeout,
    error_from,
    form,
)
from queue_agent.wire.errors import Unavailable
from queue_agent_runtimes.comfyui.events import EventStream
from queue_agent_runtimes.comfyui.failures import refused

Json = dict[str, JsonValue]
_PROMPT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_NO_SUCH_ROUTE: Final = frozenset({404, 405})
WhereAbouts = Literal["running", "pending", "stranded", "unknown"]
"""Of a prompt in the server's queue; it is `stranded` while it waits though nothing runs."""


@dataclass(frozen=True)
class Submission:
    """The server's word that it will execute a prompt."""

    prompt_id: str
    node_errors: Json
    """Errors of the parts of the graph that the server dropped."""


class ComfyUIApi:
    """The server, spoken to in values; errors are those of `queue_agent.wire.errors`."""

    def __init__(self, options: RuntimeOptions, default_url: str) -> None:
        self._client = RuntimeClient(options, default_url)

    async def aclose(self) -> None:
        await self._client.aclose()

    def events(self, prompt_id: str, *, previews: bool = False) -> EventStream:
        """The events of one prompt, on a connection of its own; those of `previews` if wanted.

        The client id follows from the prompt id, so that an agent that restarted hears of
        the prompt again.
        """
        url = self._client.url("/ws").with_query(clientId=client_id_of(prompt_id))
        url = url.with_scheme("wss" if url.scheme == "https" else "ws")
        return EventStream(
            str(url), self._client.headers, self._client.tls, prompt_id, previews=previews
        )

    async def system_stats(self) -> Json:
        return await self._ask("GET", "/system_stats", timeout=READY)

    async def submit(self, prompt_id: str, request: Mapping[str, JsonValue]) -> Submission:
        """Queue a workflow.

        Raises:
            Rejected: no part of it can be executed; the message has the server's words.
        """
        body: Json = {
            **request,
            "prompt_id": prompt_id,
            "client_id": client_id_of(prompt_id),
        }
        answer = await self._client.send("POST", "/prompt", json=body, timeout=UPLOAD)
        if not answer.ok:
            raise refused(answer)
        accepted = answer.json_object()
        errors, given = accepted.get("node_errors"), accepted.get("prompt_id") or prompt_id
        if not (isinstance(given, str) and _PROMPT_ID.fullmatch(given)):
            raise _makes_no_sense("it names no prompt")
        return Submission(given, errors if isinstance(errors, dict) else {})

    async def history(self, prompt_id: str) -> Json | None:
        """The entry of a finished prompt; None while it is not finished, or when forgotten."""
        entry = (await self._ask("GET", f"/history/{prompt_id}")).get(prompt_id)
        if not isinstance(entry, dict | None):
            raise _makes_no_sense("the history's entry of a prompt is no object")
        return entry

    async def forget(self, prompt_id: str) -> None:
        """Remove a prompt from the history, so that its id can be used again."""
        await self._tell("/history", {"delete": [prompt_id]})

    async def whereabouts(self, prompt_id: str) -> WhereAbouts:
        """Where in the server's queue a prompt is."""
        queue = await self._ask("GET", "/queue")
        running, pending = queue.get("queue_running"), queue.get("queue_pending")
        if not (isinstance(running, list) and isinstance(pending, list)):
            raise _makes_no_sense("it holds no queue")
        if _has(running, prompt_id):
            return "running"
        if not _has(pending, prompt_id):
            return "unknown"
        return "pending" if running else "stranded"

    async def stop(self, prompt_id: str) -> bool:
        """Delete the prompt from the queue, or interrupt it; whether it is the one that runs.

        Older servers interrupt whatever runs, so they are only told to when it is ours. It runs
        on until the node or the sampler's step under way is done. An interrupt that comes just
        before the server begins with the prompt is lost.
        """
        await self._tell("/queue", {"delete": [prompt_id]})
        if await self.whereabouts(prompt_id) != "running":
            return False
        await self._tell("/interrupt", {"prompt_id": prompt_id})
        return True

    async def free_memory(self) -> None:
        """Have the server forget the models that it has loaded, and what nodes have made.

        It does so between two prompts: what runs is not disturbed, and what is submitted after this
        finds the memory free.
        """
        await self._tell("/free", {"unload_models": True, "free_memory": True})

    async def choices(self, node_class: str, input_name: str) -> list[str]:
        """The values that an input of a node class can take, e.g. the checkpoints."""
        info = await self._ask("GET", f"/object_info/{node_class}")
        return _options(info.get(node_class), input_name)

    async def input_options(self, node_class: str, input_name: str) -> Json:
        """What is said of an input's values, e.g. the least and the largest of a number."""
        info = await self._ask("GET", f"/object_info/{node_class}")
        spec = _spec(info.get(node_class), input_name)
        return spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}

    async def models(self, folder: str) -> list[str] | None:
        """The files of one kind of model, by slashes; None where the server knows no such kind.

        Those of a kind are listed anew when a folder of theirs has changed.
        """
        answer = await self._client.send("GET", f"/models/{quote(folder)}")
        if answer.status in _NO_SUCH_ROUTE:
            return None
        _raise_unless_ok(answer)
        listed = answer.json()
        if not isinstance(listed, list):
            return None
        return [name.replace("\\", "/") for name in listed if isinstance(name, str)]

    async def object_info(self) -> Json:
        """What the server says of all its node classes; some megabytes where it has many."""
        return await self._ask("GET", "/object_info", timeout=DOWNLOAD)

    async def upload(self, asset: Asset, *, filename: str, subfolder: str, folder: str) -> str:
        """Upload a file; the name by which a loading node finds it.

        Raises:
            Rejected: the server does not take the file.
        """
        body = form(
            {"type": folder, "subfolder": subfolder},
            [FormFile("image", asset, filename, "application/octet-stream")],
        )
        answer = await self._client.send("POST", "/upload/image", body=body, timeout=UPLOAD)
        if not answer.ok:
            raise error_from(answer, faults_of_the_job=FAULTS_OF_THE_CONTENT)
        stored = answer.json_object()
        name, below = stored.get("name"), stored.get("subfolder") or ""
        if not (isinstance(name, str) and name and isinstance(below, str)):
            raise _makes_no_sense("it names no file that was uploaded")
        name = "/".join(filter(None, (below, name)))
        return name if folder == "input" else f"{name} [{folder}]"

    async def view(self, record: Mapping[str, str], spool: Spool) -> Asset:
        """A file that a node produced, of the type of its bytes.

        Raises:
            Rejected, Unavailable: the server does not hand it out.
        """
        async with self._client.stream("GET", "/view", params=record, timeout=DOWNLOAD) as answer:
            if not answer.ok:
                raise error_from(await answer.read())
            return await answer.into(spool)

    async def _ask(self, method: str, path: str, *, timeout: Timeout = ASK) -> Json:  # noqa: ASYNC109  aiohttp's
        answer = await self._client.send(method, path, timeout=timeout)
        _raise_unless_ok(answer)
        return answer.json_object()

    async def _tell(self, path: str, body: Json) -> None:
        _raise_unless_ok(await self._client.send("POST", path, json=body))


def client_id_of(prompt_id: str) -> str:
    return f"queue-agent-{prompt_id}"


def _raise_unless_ok(answer: Response) -> None:
    """No job is to blame for these routes' failures, whatever the status."""
    if not answer.ok:
        raise error_from(answer, faults_of_the_job=())


def _makes_no_sense(reason: str) -> Unavailable:
    return Unavailable(f"ComfyUI's answer makes no sense: {reason}.", type="invalid_answer")


def _has(queue: Sequence[JsonValue], prompt_id: str) -> bool:
    return any(isinstance(entry, list) and entry[1:2] == [prompt_id] for entry in queue)


def _spec(info: JsonValue, input_name: str) -> list[JsonValue]:
    """What a class says of a required input: its type, and often more."""
    inputs = info.get("input") if isinstance(info, dict) else None
    required = inputs.get("required") if isinstance(inputs, dict) else None
    spec = required.get(input_name) if isinstance(required, dict) else None
    return spec if isinstance(spec, list) else []


def _options(info: JsonValue, input_name: str) -> list[str]:
    """An input's options: ``[[…], {}]``, or ``["COMBO", {"options": […]}]`` in newer versions."""
    spec = _spec(info, input_name)
    if not spec:
        return []
    options = spec[0]
    if len(spec) > 1 and isinstance(spec[1], dict) and not isinstance(options, list):
        options = spec[1].get("options")
    return (
        [option for option in options if isinstance(option, str)]
        if isinstance(options, list)
        else []
    )
