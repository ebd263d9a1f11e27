"""The calls of one kind of jobs: create, ask, fetch, end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final

from pydantic import JsonValue
from pydantic_core import to_json
from yarl import URL

from queue_agent.runtime import Artifact, Asset, Spools
from queue_agent.runtime.http import (
    ASK,
    DOWNLOAD,
    UPLOAD,
    WORK,
    Base64,
    Body,
    Form,
    FormFile,
    OutputFetcher,
    Part,
    Response,
    RuntimeClient,
    StreamedResponse,
    Timeout,
    form,
    words_of,
)
from queue_agent.runtime.images import decode_images
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.media_types import UNKNOWN, extension, extension_of, media_type_by_name
from queue_agent_runtimes.openai_images.answer import error_from
from queue_agent_runtimes.openai_images.files import form_text
from queue_agent_runtimes.openai_videos.engines import EngineFacts
from queue_agent_runtimes.openai_videos.fields import Json, extended
from queue_agent_runtimes.openai_videos.records import (
    EngineRecord,
    created_record,
    failure_of,
    found_record,
)

MOST_BYTES: Final = 2**30
"""Of one file; more is taken for a fault of the runtime."""
RECORD_LIMIT: Final = 16 * 2**20
"""Bytes; some models' records hold what they thought of."""

Files = Sequence[tuple[str, Asset]]
"""Images by the request's field for each."""


@dataclass(frozen=True)
class RemoteJobs:
    """Jobs of one kind at a server: videos or meshes."""

    client: RuntimeClient
    outputs: OutputFetcher
    path: str
    """The route that lists them."""

    async def create(
        self, fields: Json, files: Files, engine: EngineFacts, run_id: str
    ) -> EngineRecord:
        """Hand over a job; raises like `created_record`."""
        answer = await self.client.send(
            "POST",
            self.path,
            body=_body(fields, files, engine),
            headers={"X-Request-Id": run_id},
            timeout=UPLOAD,
            limit=RECORD_LIMIT,
        )
        return created_record(answer)

    async def find(self, job_id: str) -> EngineRecord:
        """The record of a job; raises like `found_record`."""
        record = found_record(await self._send("GET", f"{self.path}/{job_id}", ASK))
        if record.id != job_id:
            raise Unavailable("The runtime tells of another job.", type="invalid_answer")
        return record

    async def delete(self, job_id: str) -> Response:
        """Have the server end or forget a job."""
        return await self._send("DELETE", f"{self.path}/{job_id}", ASK)

    async def fetch(self, record: EngineRecord, spools: Spools, seed: int | None) -> list[Artifact]:
        """The files of a job that is completed.

        Raises:
            Unavailable: one of them is not there, or is none.
        """
        return [await self._fetch(record, number, spools, seed) for number in range(record.outputs)]

    async def answered(
        self, fields: Json, files: Files, engine: EngineFacts, run_id: str, spools: Spools
    ) -> tuple[list[Artifact], Json]:
        """Have the work done within one call: the files, and the answer without them.

        Raises:
            Rejected: the server refuses the job.
            Unavailable: it fails, or its answer makes no sense.
        """
        async with self.client.stream(
            "POST",
            self.path,
            body=_body({**fields, "response_format": "b64_json"}, files, engine),
            headers={"X-Request-Id": run_id},
            timeout=WORK,
            limit=2 * MOST_BYTES,
        ) as streamed:
            if not streamed.ok:
                created_record(await streamed.read())
            answer = await streamed.json_object(spools)
        return await _read_answer(answer, fields)

    async def _fetch(
        self, record: EngineRecord, number: int, spools: Spools, seed: int | None
    ) -> Artifact:
        if url := record.url(number):
            whole = self.outputs.whole(url)
            return _artifact(await self.outputs.fetch(whole, spools.new()), seed, URL(whole).name)
        async with self.client.stream(
            "GET",
            f"{self.path}/{record.id}/content",
            params={"variant": str(number)} if number else None,
            timeout=DOWNLOAD,
            limit=MOST_BYTES,
        ) as answer:
            if not answer.ok:
                raise _not_handed_out(await answer.read())
            asset = await answer.into(spools.new())
            name = _filename(answer)
        return _artifact(asset, seed, name or f"{number}.{record.fields.get('format')}")

    async def _send(self, method: str, path: str, timeout: Timeout) -> Response:  # noqa: ASYNC109
        return await self.client.send(method, path, timeout=timeout, limit=RECORD_LIMIT)


def _body(fields: Json, files: Files, engine: EngineFacts) -> Form | Body:
    if engine.sends_json:
        return _json_body(extended(fields, engine), files, engine)
    return form(
        {name: form_text(value) for name, value in fields.items()},
        [
            FormFile(name, asset, f"{name}-{number}.{extension(asset.media_type)}")
            for number, (name, asset) in enumerate(files, 1)
        ],
    )


def _json_body(fields: Json, files: Files, engine: EngineFacts) -> Body:
    """The images amid the JSON: Dynamo takes data URLs, TensorRT-LLM bare base64."""
    parts: list[Part] = [b"{"]
    for name, asset in files:
        prefix = f"data:{asset.media_type};base64," if engine.extension else ""
        parts += [f'"{name}":"{prefix}'.encode(), Base64(asset), b'",']
    return Body([*parts, to_json(fields)[1:]], "application/json")


async def _read_answer(
    answer: dict[str, JsonValue], fields: Mapping[str, JsonValue]
) -> tuple[list[Artifact], Json]:
    data = answer.get("data")
    entries = [
        entry for entry in (data if isinstance(data, list) else []) if isinstance(entry, dict)
    ]
    if answer.get("status") == "failed":
        raise failure_of(EngineRecord(str(answer.get("id")), "failed", answer))
    if not entries:
        raise Unavailable("The runtime's answer holds no video.", type="invalid_answer")
    assets = await decode_images(entry.get("b64_json") for entry in entries)
    seed = fields.get("seed")
    artifacts = [
        _artifact(asset, seed if isinstance(seed, int) else None, f"0.{entry.get('output_format')}")
        for asset, entry in zip(assets, entries, strict=True)
    ]
    told: list[JsonValue] = [
        {name: value for name, value in entry.items() if name != "b64_json"} for entry in entries
    ]
    return artifacts, {**answer, "data": told}


def _artifact(asset: Asset, seed: int | None, name: str) -> Artifact:
    with asset.open() as file:
        head = file.read(64).lstrip().lower()
    if not head or head.startswith((b"<!doctype html", b"<html")):
        raise Unavailable("The runtime's output is empty, or a web page.", type="invalid_answer")
    media_type = asset.media_type if asset.media_type != UNKNOWN else media_type_by_name(name)
    if media_type == UNKNOWN:
        raise Unavailable("The runtime's output is of no known kind.", type="invalid_answer")
    return Artifact(asset.content, media_type, seed, extension=extension_of(name))


def _filename(answer: StreamedResponse) -> str:
    header = EmailMessage()
    header["content-disposition"] = answer.headers.get("content-disposition", "")
    return header.get_filename("")


def _not_handed_out(answer: Response) -> Unavailable:
    """SGLang with object storage of its own hands out nothing, say; no job is at fault."""
    error = error_from(answer)
    if isinstance(error, Unavailable):
        return error
    return Unavailable(
        f"The runtime does not hand out its output ({answer.status}): {words_of(answer)}",
        type="output_missing",
        details=error.details,
        retry_after=answer.retry_after,
    )
