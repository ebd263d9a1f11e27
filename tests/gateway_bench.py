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
"""Keys by owner; `once` may have one unfinished job, unless a test says otherwise."""


class Gateways:
    """Makes them; what `connect` connects to is `cloud`."""

    def __init__(self, folder: Path) -> None:
        self.cloud = MemoryCloud()
        self.stack = AsyncExitStack()
        self.keys_file = folder / "keys.json"
        self.allow("once", 1)

    @property
    def bucket(self) -> MemoryBucket:
        return self.cloud.bucket(BUCKET)

    def allow(self, owner: str, jobs_in_flight: int) -> None:
        """Give one owner so many unfinished jobs, and the others as many as they like."""
        entries = [
            {
                "name": name,
                "sha256": digest_of(key),
                "jobs_in_flight": jobs_in_flight if name == owner else 0,
            }
            for name, key in KEYS.items()
        ]
        written = self.keys_file.with_suffix(".new")
        written.write_text(json.dumps({"keys": entries}))
        written.replace(self.keys_file)

    def app(self, *, keys: bool = False, **settings: Any) -> FastAPI:
        """A gateway that is not started."""
        usual: dict[str, Any] = {
            "job_topic": "jobs",
            "notification_topic": "notifications",
            "bucket": BUCKET,
            "runtimes": ("sdruntime",),
            "keys_file": self.keys_file if keys else None,
        }
        return create_app(GatewaySettings.model_construct(**usual | settings))

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
