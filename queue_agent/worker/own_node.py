"""The node of the agent's own pod, watched for its end.

Karpenter taints a node before it drains it, a spot node that is reclaimed among them, and then
waits for pods that must not be disrupted.

https://karpenter.sh/docs/concepts/disruption/
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import structlog

log = structlog.get_logger()

TAINTS: Final = frozenset({"karpenter.sh/disrupted", "karpenter.sh/disruption"})
"""Keys of taints on a node that is drained; the second is that of versions before 1."""
_WATCH_SECONDS: Final = 300
_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 300.0
"""Seconds until a watch that was refused or broke is begun anew."""


class OwnNode:
    """Watches one node. What goes wrong is logged and never reaches the caller."""

    def __init__(self, client: httpx.AsyncClient, *, name: str, token: Path) -> None:
        """`client` speaks to the API server; `token` is the file that Kubernetes renews."""
        self._client = client
        self._name = name
        self._token = token
        self.stays = asyncio.Event()
        """Set while the node is known not to be drained."""
        self.leaves = asyncio.Event()
        """Set while it is, or nobody knows."""
        self.leaves.set()

    async def watch(self) -> None:
        """Keep `stays` and `leaves` as the API server tells, until cancelled."""
        pause = _SHORTEST_PAUSE
        while True:
            try:
                await self._watch_once()
            except (httpx.HTTPError, OSError, ValueError) as error:
                self._tell(stays=False)
                reason = str(error) or type(error).__name__
                log.warning("node not watched", node=self._name, reason=reason, pause=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = _SHORTEST_PAUSE
                await asyncio.sleep(pause)

    async def _watch_once(self) -> None:
        """One watch, which begins with the node as it is."""
        parameters = {
            "watch": "true",
            "fieldSelector": f"metadata.name={self._name}",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        headers = {"Authorization": f"Bearer {self._token.read_text().strip()}"}
        async with self._client.stream(
            "GET",
            "/api/v1/nodes",
            params=parameters,
            headers=headers,
            timeout=httpx.Timeout(10.0, read=_WATCH_SECONDS + 30.0),
        ) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.strip():
                    self._observe(json.loads(line))

    def _observe(self, event: Mapping[str, Any]) -> None:
        if event.get("type") == "ERROR":
            raise ValueError(f"the watch ended: {event.get('object')}")
        if event.get("type") not in {"ADDED", "MODIFIED"}:
            return
        taints = event["object"].get("spec", {}).get("taints") or ()
        self._tell(stays=not any(taint.get("key") in TAINTS for taint in taints))

    def _tell(self, *, stays: bool) -> None:
        now, before = (self.stays, self.leaves) if stays else (self.leaves, self.stays)
        if not now.is_set():
            log.info("own node", node=self._name, stays=stays)
        now.set()
        before.clear()
