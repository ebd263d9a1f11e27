"""What the engines do differently, as read in their sources.

vLLM-Omni 0.30 (`entrypoints/openai/api_server.py`, `protocol/videos.py`), SGLang 0.5.23
(`multimodal_gen/runtime/entrypoints/openai/video_api.py`, `mesh_api.py`), TensorRT-LLM
(`serve/openai_video_routes.py`, `serve/visual_gen_utils.py`), Dynamo
(`lib/llm/src/protocols/openai/videos.rs`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue


@dataclass(frozen=True)
class EngineFacts:
    """One of them."""

    name: str
    sends_json: bool = False
    """Whether it is asked in JSON, with images as base64, instead of by a form."""
    whole_seconds: bool = True
    """Whether a length in seconds must be a whole number."""
    stops: bool = True
    """Whether DELETE ends the work; else it would only make the server forget the record, so that
    nobody could ask any more whether it goes on."""
    tells_of_the_start: bool = False
    """Whether a job's status says when the engine begins with it, beside others in its queue."""
    answers_when_done: bool = False
    """Whether POST answers with the video itself, without a job in between."""
    last_frames: bool = False
    """Whether models may take a second image, with which the video ends."""
    loras: bool = False
    """Whether a request may name a LoRA."""
    lists_loras: bool = False
    """Whether it may name several, in `loras`."""
    extension: str | None = None
    """The object of the request that holds what OpenAI's API has no word for."""


VLLM_OMNI: Final = EngineFacts(
    "vLLM-Omni", tells_of_the_start=True, last_frames=True, loras=True
)  # DELETE takes effect at the end of the batch unless the pipeline looks in between
SGLANG: Final = EngineFacts("SGLang-Diffusion", stops=False)
TENSORRT_LLM: Final = EngineFacts("TensorRT-LLM", sends_json=True, whole_seconds=False, stops=False)
DYNAMO: Final = EngineFacts("Dynamo", sends_json=True, answers_when_done=True, extension="nvext")
UNKNOWN: Final = EngineFacts("The server")

_BY_OWNER: Final[Mapping[str, EngineFacts]] = {
    "vllm": VLLM_OMNI,
    "vllm-omni": VLLM_OMNI,
    "sglang": SGLANG,
    "tensorrt_llm": TENSORRT_LLM,
    "nvidia": DYNAMO,
}
"""By `owned_by` of the models that ``/v1/models`` lists."""


@dataclass(frozen=True)
class Server:
    """Who answers, and which models it has."""

    engine: EngineFacts = UNKNOWN
    models: tuple[str, ...] = ()


def read_server(answer: Mapping[str, JsonValue]) -> Server:
    """Who lists models like that."""
    data = answer.get("data")
    entries = [
        entry for entry in (data if isinstance(data, list) else []) if isinstance(entry, dict)
    ]
    owners = [entry.get("owned_by") for entry in entries]
    known = [_BY_OWNER[owner] for owner in owners if isinstance(owner, str) and owner in _BY_OWNER]
    models = tuple(str(entry["id"]) for entry in entries if isinstance(entry.get("id"), str))
    return Server(known[0] if known else UNKNOWN, models)
