"""Images that a node sends over the WebSocket and saves nowhere."""

from typing import Final

from pydantic import JsonValue

from queue_agent.media.facts import media_type_of
from queue_agent.runtime import Asset, Spools
from queue_agent.wire.errors import Unavailable
from queue_agent_runtimes.comfyui.events import IMAGE, Event
from queue_agent_runtimes.comfyui.outputs import MOST_BYTES, Found
from queue_agent_runtimes.comfyui.workflow import Graph, class_of

_SENDING_CLASS: Final = "SaveImageWebsocket"
"""https://docs.comfy.org/development/comfyui-server/api-examples: each image is sent at full size,
where previews of other nodes are sent too, while the node is the one under way."""


class SentImages:
    """Those of one prompt, in the order in which they came.

    A node that another became is of a class that nobody tells. It is taken for one that sends its
    images where one comes at each step and its steps count from 0: those of others count from 1.
    """

    def __init__(self, graph: Graph, spools: Spools) -> None:
        self._graph = graph
        self._nodes = {name for name, node in graph.items() if class_of(node) == _SENDING_CLASS}
        self._spools = spools
        self._size = 0
        self.found: list[Found] = []
        self._current: str | None = None
        self._step: JsonValue = None
        self._next = 0
        """The step at which an image comes, of a node that sends its images."""

    @property
    def awaited(self) -> bool:
        """Whether there is a node that sends its images, as far as is known."""
        return bool(self._nodes or self.found)

    def forget(self) -> None:
        """The prompt is executed anew."""
        self.found.clear()
        self._size = 0
        self._enter(None)

    async def update(self, event: Event) -> None:
        """Take in an event of the prompt.

        Raises:
            Unavailable: the images are too many, or cannot be kept.
        """
        if event.type == "executing":
            if isinstance(node := event.data.get("node"), str | None):
                self._enter(node)
        elif event.type == "progress" and event.data.get("node") == self._current:
            self._step = event.data.get("value")
            self._next = 0 if self._step == 0 else self._next
        elif event.type == IMAGE and self._current is not None and self._is_sent():
            await self._keep(self._current, event.image)

    def _enter(self, node: str | None) -> None:
        self._current = node
        self._step, self._next = None, 0

    def _is_sent(self) -> bool:
        if self._current in self._graph:
            return self._current in self._nodes
        if self._step is None or self._step != self._next:
            return False
        self._next += 1
        return True

    async def _keep(self, node: str, image: bytes) -> None:
        self._size += len(image)
        if self._size > MOST_BYTES:
            raise Unavailable(f"The outputs have over {MOST_BYTES} bytes.", type="answer_too_large")
        spool = self._spools.new()
        await spool.write(image)
        content = (await spool.asset()).content
        self.found.append(Found(node, Asset(content, media_type_of(image))))
