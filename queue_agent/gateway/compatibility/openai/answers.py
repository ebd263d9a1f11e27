"""What is told of a finished job: the images, and what is known of them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from queue_agent.gateway.compatibility.openai.fields import ImagesRequest
from queue_agent.gateway.compatibility.synchronous import Content
from queue_agent.gateway.records import Record
from queue_agent.gateway.service import JobService
from queue_agent.tasks import together
from queue_agent.wire.notification import Image
from queue_agent.wire.problems import Problem
from queue_agent.wire.result import Result

_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}


@dataclass(frozen=True)
class Answer:
    """The images of one result, for one request."""

    service: JobService
    body: ImagesRequest
    result: Result
    noted: Sequence[str] = field(default=())
    """What the door itself has to warn of."""

    @property
    def outputs(self) -> list[Image]:
        return [image for image in self.result.images if image.role == "output"]

    @property
    def warnings(self) -> list[str]:
        """The door's, and those of the job."""
        asked = self.body.output_format
        others = {image.media_type for image in self.outputs} - {f"image/{asked}"}
        if not asked or not others:
            return [*self.noted, *self.result.warnings]
        words = f"output_format: the runtime made {', '.join(sorted(others))}."
        return [*self.noted, words, *self.result.warnings]

    @property
    def usage(self) -> JsonValue:
        """As the runtime told it, if it counts anything."""
        return self.result.response.get("usage")

    async def whole(self, record: Record) -> Content:
        """The answer to a request that streams nothing."""
        data = await together(self._item(image) for image in self.outputs)
        told: Content = {"created": round(record.submitted_at.timestamp()), "data": [*data]}
        if self.outputs:
            told |= facts(self.outputs[0])
        told |= {"usage": self.usage} if self.usage else {}
        return told | ({"warnings": [*self.warnings]} if self.warnings else {})

    async def encoded(self, image: Image) -> str:
        """The file in base64."""
        return base64.b64encode(await self.service.download(image)).decode()

    async def _item(self, image: Image) -> Content:
        if self.body.response_format == "b64_json":
            return {"b64_json": await self.encoded(image), "revised_prompt": None}
        link = await self.service.presigned(image)
        if link is None:
            words = "An image lies where this gateway can give no link to."
            raise Problem(422, "no_links", words, param="response_format")
        return {"url": link, "revised_prompt": None}


def facts(image: Image) -> dict[str, JsonValue]:
    """Format and size of a file, as far as the dialect has words for them."""
    told: dict[str, JsonValue] = {}
    if image.media_type in _FORMATS:
        told["output_format"] = _FORMATS[image.media_type]
    if image.width and image.height:
        told["size"] = f"{image.width}x{image.height}"
    return told
