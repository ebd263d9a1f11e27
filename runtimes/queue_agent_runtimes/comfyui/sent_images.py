"""Images that a node sends over the WebSocket and saves nowhere."""

from typing import Final

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
    """Those of one prompt, in the order in which they came."""

    def __init__(self, graph: Graph, spools: Spools) -> None:
        self._nodes = {name for name, node in graph.items() if class_of(node) == _SENDING_CLASS}
        self._spools = spools
        self._current: str | None = None
        self._size = 0
        self.found: list[Found] = []

    @property
    def awaited(self) -> bool:
        """Whether there is a node that sends its images."""
        return bool(self._nodes)

    def forget(self) -> None:
        """The prompt is executed anew."""
        self.found.clear()
        self._current, self._size = None, 0

    async def update(self, event: Event) -> None:
        """Take in an event of the prompt.

        Raises:
            Unavailable: the images are too many, or cannot be kept.
        """
        if event.type == "executing":
            node = event.data.get("node")
            self._current = node if isinstance(node, str) else None
        elif event.type == IMAGE and self._current is not None and self._current in self._nodes:
            self._size += len(event.image)
            if self._size > MOST_BYTES:
                raise Unavailable(
                    f"The outputs have over {MOST_BYTES} bytes.", type="answer_too_large"
                )
            spool = self._spools.new()
            await spool.write(event.image)
            content = (await spool.asset()).content
            asset = Asset(content, media_type_of(event.image))
            self.found.append(Found(self._current, asset))
