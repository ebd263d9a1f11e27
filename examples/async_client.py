"""Ask for an image, watch it being made, save it: the client library."""

import asyncio
import sys

from queue_agent.client import Client


async def main(prompt: str, folder: str) -> None:
    async with Client.from_env() as client:
        job = await client.submit(prompt, steps=20, width=512, height=512)
        print("submitted", job.id)
        async for event in job.events():
            print(event.status, "" if event.progress is None else f"{event.progress:.0%}")
        for path in await job.save(folder):
            print("saved", path)


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv))
    asyncio.run(main(arguments.get(1, "a lighthouse at dusk"), arguments.get(2, "out")))
