"""The route of Dynamo: JSON, and the answer comes with the video in it."""

import asyncio
import base64
from typing import Any

from fastapi import APIRouter, HTTPException, Request

from fakes.openai.engine import Engine, Failed, Work
from fakes.openai.requests import Requests

Json = dict[str, Any]


def router(engine: Engine, requests: Requests) -> APIRouter:
    routes = APIRouter(prefix="/v1/videos")

    @routes.post("")
    async def create(request: Request) -> Json:
        fields, files = await requests.json(request)
        for name in ("prompt", "model"):
            if not isinstance(fields.get(name), str):
                raise HTTPException(422, f"missing field `{name}`")
        asked = {**fields, **fields.pop("nvext", {})}
        work = engine.submit(Work("video-1", "video", asked, files))
        outcome = asyncio.ensure_future(asyncio.shield(work.outcome))
        while not outcome.done():
            if await request.is_disconnected():
                engine.abort(work)
                outcome.cancel()
                break
            await asyncio.wait({outcome}, timeout=0.05)
        try:
            made = await outcome
        except Failed as error:
            raise HTTPException(500, str(error)) from error
        data = {"output_format": "mp4", "b64_json": base64.b64encode(made).decode()}
        return {
            "id": work.id,
            "object": "video",
            "model": fields["model"],
            "status": "completed",
            "progress": 100,
            "created": work.created_at,
            "data": [data],
        }

    return routes
