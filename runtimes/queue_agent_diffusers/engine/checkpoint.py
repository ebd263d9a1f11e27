"""What a job has done so far, as a file with which another engine goes on: its head, and its owner.

The file is safetensors (https://github.com/huggingface/safetensors#format): no code is in it. Its
metadata holds, as text:

    format       `FORMAT`
    version      `VERSION`
    fingerprint  of the model and of all that the request asks for
    seed         of the job, which a request without one had by chance
    predictions  how many there are, of all images together
    passes       of each image, in JSON, the calls that are made again though their predictions are
                 here, since step caches keep more of their passes: ``[network, question, call]``
    sha256       of the tensors' bytes, in the order of their names

The tensors are the predictions of the model's network, in the order of its calls:
``{image}.{call}``, or ``{image}.{call}.{part}`` where a call has several.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from typing import Final

from PIL import Image

from queue_agent_diffusers.engine.requests import ImageRequest

FORMAT: Final = "sd-queue-agent checkpoint"
VERSION: Final = "1"
MEDIA_TYPE: Final = "application/octet-stream"
_MOST_HEAD: Final = 2 * 1024 * 1024
"""Bytes of the head; a tensor takes about a hundred of it."""
_CHANGES_NOTHING: Final = frozenset({"model", "previews", "preview_interval"})
"""Fields of a request by which its pictures do not differ. The model is told by its weights."""


class CheckpointUnusable(Exception):
    """It is damaged, or of something else than it is to be used for; the message says why."""


@dataclass(frozen=True)
class CheckpointHead:
    """What is known of a checkpoint without its tensors."""

    fingerprint: str
    seed: int
    predictions: int
    passes: str
    sha256: str

    def metadata(self) -> dict[str, str]:
        """As the file holds it."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "seed": str(self.seed),
            "predictions": str(self.predictions),
            "passes": self.passes,
            "sha256": self.sha256,
        }


def read_head(data: bytes) -> CheckpointHead:
    """The head of a checkpoint.

    Raises:
        CheckpointUnusable: it is none, or of another version.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(_MOST_HEAD, len(data) - 8):
        raise CheckpointUnusable("it is no file of safetensors")
    try:
        content = json.loads(data[8 : 8 + size])
        known: Mapping[str, str] = content["__metadata__"]
        if not all(isinstance(value, str) for value in known.values()):
            raise CheckpointUnusable("its metadata are no texts")
        if known["format"] != FORMAT:
            raise CheckpointUnusable("it is another file of safetensors")
        if known["version"] != VERSION:
            raise CheckpointUnusable(f"it is of version {known['version']}, not {VERSION}")
        return CheckpointHead(
            known["fingerprint"],
            int(known["seed"]),
            int(known["predictions"]),
            known["passes"],
            known["sha256"],
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointUnusable(f"its head cannot be read: {error!r}") from error


def request_fingerprint(request: ImageRequest, model: str) -> str:
    """Of a request and a model of that fingerprint: of what a picture hangs on, all of it.

    Raises:
        CheckpointUnusable: the request holds something that nobody can compare.
    """
    values = [
        (field.name, _comparable(getattr(request, field.name)))
        for field in fields(request)
        if field.name not in _CHANGES_NOTHING
    ]
    return sha256(json.dumps([VERSION, model, values]).encode()).hexdigest()


def _comparable(value: object) -> object:
    if value is None or isinstance(value, str | int | float | bool):
        return repr(value)
    if isinstance(value, Image.Image):
        return ["image", value.mode, value.size, sha256(value.tobytes()).hexdigest()]
    if isinstance(value, bytes):
        return ["bytes", sha256(value).hexdigest()]
    if isinstance(value, list | tuple):
        return ["list", *map(_comparable, value)]
    if isinstance(value, Mapping):
        return ["mapping", *sorted([str(name), _comparable(one)] for name, one in value.items())]
    if is_dataclass(value) and not isinstance(value, type):
        parts = [[field.name, _comparable(getattr(value, field.name))] for field in fields(value)]
        return [type(value).__name__, *parts]
    raise CheckpointUnusable(f"a request with a {type(value).__name__} cannot be told from others")
