"""Ask for an image and save it, without a line of asynchronous code."""

import sys

from queue_agent.client import SyncClient


def main(prompt: str, folder: str) -> None:
    with SyncClient.from_env() as client:
        job = client.submit(prompt, steps=20, width=512, height=512)
        print("submitted", job.id)
        for path in job.save(folder, timeout=600):
            print("saved", path)


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv))
    main(arguments.get(1, "a lighthouse at dusk"), arguments.get(2, "out"))
