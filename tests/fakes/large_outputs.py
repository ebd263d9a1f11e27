"""Runtimes whose every picture is large: as many images of as many bytes as the command says.

    python large_outputs.py PORT COUNT BYTES

It speaks as much of the Web UI, of the OpenAI Images dialect and of ComfyUI as the adapters ask.
"""

import asyncio
import base64
import json
import random
import struct
import sys
import zlib
from collections.abc import AsyncIterator

from aiohttp import web

_PIECE = 3 * 2**18


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def large_png(size: int) -> bytes:
    """A PNG of about so many bytes, most of them in a chunk that no decoder looks at."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    noise = random.Random(1).randbytes(2**20) * (size // 2**20 + 1)  # noqa: S311  no secret
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(b"\0\0"))
        + _chunk(b"noTe", noise[:size])
        + _chunk(b"IEND", b"")
    )


class Runtime:
    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.png = large_png(size)
        self.prompts: dict[str, object] = {}

    async def base64(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.png), _PIECE):
            yield base64.b64encode(self.png[start : start + _PIECE])

    async def say(self, request: web.Request, *parts: bytes | None) -> web.StreamResponse:
        """The parts, one after another; None stands for the image's text."""
        await request.read()
        answer = web.StreamResponse(headers={"content-type": "application/json"})
        await answer.prepare(request)
        for part in parts:
            if part is not None:
                await answer.write(part)
                continue
            async for piece in self.base64():
                await answer.write(piece)
        await answer.write_eof()
        return answer

    async def txt2img(self, request: web.Request) -> web.StreamResponse:
        info = json.dumps({"all_seeds": list(range(self.count))})
        images = [b'"', None, b'"', b","] * self.count
        end = b'], "parameters": {}, "info": ' + json.dumps(info).encode() + b"}"
        return await self.say(request, b'{"images": [', *images[:-1], end)

    async def generations(self, request: web.Request) -> web.StreamResponse:
        images = [b'{"b64_json": "', None, b'"}', b","] * self.count
        return await self.say(request, b'{"created": 1, "data": [', *images[:-1], b"]}")

    async def prompt(self, request: web.Request) -> web.Response:
        prompt_id = (await request.json())["prompt_id"]
        files = [{"filename": f"{n}.png", "type": "output"} for n in range(self.count)]
        status = {"status_str": "success", "completed": True, "messages": []}
        self.prompts[prompt_id] = {"outputs": {"9": {"images": files}}, "status": status}
        return web.json_response({"prompt_id": prompt_id, "node_errors": {}})

    async def history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        found = self.prompts.get(prompt_id)
        return web.json_response({prompt_id: found} if found else {})

    async def queue(self, _: web.Request) -> web.Response:
        return web.json_response({"queue_running": [], "queue_pending": []})

    async def view(self, _: web.Request) -> web.Response:
        return web.Response(body=self.png, content_type="image/png")

    async def nothing(self, _: web.Request) -> web.Response:
        return web.json_response({})


async def main() -> None:
    port, count, size = map(int, sys.argv[1:])
    runtime = Runtime(count, size)
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/sdapi/v1/txt2img", runtime.txt2img)
    app.router.add_post("/v1/images/generations", runtime.generations)
    app.router.add_post("/prompt", runtime.prompt)
    app.router.add_get("/history/{id}", runtime.history)
    app.router.add_get("/queue", runtime.queue)
    app.router.add_get("/view", runtime.view)
    app.router.add_route("*", "/{path:.*}", runtime.nothing)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
