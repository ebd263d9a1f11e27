"""Gateways in front of one cloud in memory, without a process."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx
from fastapi import FastAPI

from queue_agent.cloud.memory import MemoryBucket, MemoryCloud
from queue_agent.gateway.app import create_app
from queue_agent.gateway.keys import digest_of
from queue_agent.settings.gateway import GatewaySettings

BUCKET: Final = "images-results"
KEYS: Final = {"one": "qag_one", "two": "qag_two", "once": "qag_once"}
"""Keys by owner; `once` may have one unfinished job."""


class Gateways:
    """Makes them; what `connect` connects to is `cloud`."""

    def __init__(self, folder: Path) -> None:
        self.cloud = MemoryCloud()
        self.stack = AsyncExitStack()
        self.keys_file = folder / "keys.json"
        entries = [
            {"name": name, "sha256": digest_of(key), "jobs_in_flight": int(name == "once")}
            for name, key in KEYS.items()
        ]
        self.keys_file.write_text(json.dumps({"keys": entries}))

    @property
    def bucket(self) -> MemoryBucket:
        return self.cloud.bucket(BUCKET)

    def app(self, *, keys: bool = False, **settings: Any) -> FastAPI:
        """A gateway that is not started."""
        return create_app(
            GatewaySettings.model_construct(
                job_topic="jobs",
                notification_topic="notifications",
                bucket=BUCKET,
                runtimes=("sdruntime",),
                keys_file=self.keys_file if keys else None,
                **settings,
            )
        )

    async def start(self, *, keys: bool = False, **settings: Any) -> FastAPI:
        """A gateway that runs until the test's end."""
        app = self.app(keys=keys, **settings)
        await self.stack.enter_async_context(app.router.lifespan_context(app))
        return app


def client_of(app: FastAPI, owner: str | None = None, **headers: str) -> httpx.AsyncClient:
    """A program that uses the gateway, with the owner's key."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://localhost",
        headers=headers | ({"X-Api-Key": KEYS[owner]} if owner else {}),
    )
