"""A busy pod goes last: the agent marks its own pod while a job runs.

Three annotations say the same to three parties: the ReplicaSet controller takes pods with a lower
deletion cost first when it scales in, and neither Karpenter nor the cluster autoscaler empties a
node under a marked pod. An idle pod carries none of them.

A spot node that is reclaimed is drained by Karpenter, which waits for pods that must not be
disrupted until the instance is gone: there the pod goes without that annotation, or loses it as
soon as its node is drained, is told to stop at the notice, and has the two minutes for its job.

https://kubernetes.io/docs/reference/labels-annotations-taints/#pod-deletion-cost
https://karpenter.sh/docs/concepts/disruption/#pod-level-controls
"""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import httpx
import structlog

from queue_agent.tasks import background
from queue_agent.wire.errors import SettingsError
from queue_agent.worker.own_node import OwnNode

log = structlog.get_logger()

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT: Final = 3.0
_SHORTEST_PAUSE: Final = 10.0
_LONGEST_PAUSE: Final = 300.0
"""Seconds until a mark that was refused is tried once more."""
DO_NOT_DISRUPT: Final = "karpenter.sh/do-not-disrupt"
BUSY: Final[Mapping[str, str]] = {
    "controller.kubernetes.io/pod-deletion-cost": "1000",
    DO_NOT_DISRUPT: "true",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
}
"""The chart's admission policy allows these annotations and no others."""
_IDLE: Final[Mapping[str, str | None]] = dict.fromkeys(BUSY)
"""In a merge patch null removes a key (RFC 7396)."""
_BUSY_BUT_LEAVING: Final[Mapping[str, str | None]] = {**BUSY, DO_NOT_DISRUPT: None}


class PodDeletionCost:
    """Marks one pod as busy or idle. A failure is logged and never reaches the caller.

    The API server is asked only when the mark changes; call `busy` and `idle` for the pod as a
    whole, one after the other, not for each of several jobs.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        namespace: str,
        pod: str,
        token: Path,
        do_not_disrupt: bool = True,
        node: OwnNode | None = None,
    ) -> None:
        """`client` speaks to the API server; `token` is the file that Kubernetes renews.

        `do_not_disrupt`: Karpenter is told, too; with a `node` only while that one stays.
        """
        self._client = client
        self._do_not_disrupt = do_not_disrupt
        self._node = node
        self._path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
        self._token = token
        self._marked: Mapping[str, str | None] | None = None

    @classmethod
    def in_cluster(
        cls,
        environment: Mapping[str, str],
        *,
        do_not_disrupt: bool = True,
        watch_node: bool = False,
        service_account: Path = SERVICE_ACCOUNT,
    ) -> Self:
        """For the pod this process runs in, as ``POD_NAME`` and ``POD_NAMESPACE`` name it.

        `watch_node`: and for the node that ``NODE_NAME`` names.

        Raises:
            SettingsError: the process runs in no pod, or the pod was given no token.
        """
        names = ("POD_NAME", "POD_NAMESPACE", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
        needed = (*names, "NODE_NAME") if watch_node else names
        missing = [name for name in needed if not environment.get(name)]
        if missing:
            raise SettingsError(f"The pod deletion cost needs {', '.join(missing)}.")
        pod, namespace, host, port = (environment[name] for name in names)
        try:
            tls = ssl.create_default_context(cafile=service_account / "ca.crt")
        except OSError as error:
            raise SettingsError(f"The pod deletion cost needs a token: {error}") from error
        address = f"[{host}]" if ":" in host else host
        client = httpx.AsyncClient(
            base_url=f"https://{address}:{port}", verify=tls, timeout=_TIMEOUT, trust_env=False
        )
        token = service_account / "token"
        node = OwnNode(client, name=environment["NODE_NAME"], token=token) if watch_node else None
        return cls(
            client,
            namespace=namespace,
            pod=pod,
            token=token,
            do_not_disrupt=do_not_disrupt,
            node=node,
        )

    async def busy(self) -> None:
        """A job runs: take other pods first."""
        await self._mark(self._marks(busy=True))

    async def idle(self) -> None:
        """No job runs: this pod may go."""
        await self._mark(self._marks(busy=False))

    async def follow(self, *, busy: asyncio.Event, idle: asyncio.Event) -> None:
        """Mark the pod as the events say, until cancelled; again where the API server refuses.

        An agent that crashed may have left its mark, so the first is set, whichever it is.
        """
        if self._node is None:
            await self._follow(busy, idle)
            return
        async with background(self._node.watch()):
            await self._follow(busy, idle)

    async def _follow(self, busy: asyncio.Event, idle: asyncio.Event) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            is_busy = busy.is_set()
            changes = [idle if is_busy else busy]
            if self._node is not None:
                changes.append(self._node.leaves if self._node.stays.is_set() else self._node.stays)
            wanted = self._marks(busy=is_busy)
            await self._mark(wanted)
            refused = self._marked != wanted
            with suppress(TimeoutError):
                async with asyncio.timeout(pause if refused else None):
                    await _any_of(changes)
            pause = min(2 * pause, _LONGEST_PAUSE) if refused else _SHORTEST_PAUSE

    def _marks(self, *, busy: bool) -> Mapping[str, str | None]:
        """What the pod should carry now."""
        if not busy:
            return _IDLE
        stays = self._node is None or self._node.stays.is_set()
        return BUSY if self._do_not_disrupt and stays else _BUSY_BUT_LEAVING

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _mark(self, wanted: Mapping[str, str | None]) -> None:
        if wanted == self._marked:
            return
        self._marked = None  # until the API server has said so
        try:
            answer = await self._client.patch(
                self._path,
                json={"metadata": {"annotations": wanted}},
                headers={
                    "Authorization": f"Bearer {self._token.read_text().strip()}",
                    "Content-Type": "application/merge-patch+json",
                },
            )
            answer.raise_for_status()
        except (httpx.HTTPError, OSError) as error:
            reason = str(error) or type(error).__name__
            log.warning("pod not marked", busy=wanted is not _IDLE, reason=reason)
        else:
            self._marked = wanted


async def _any_of(events: Iterable[asyncio.Event]) -> None:
    """Wait until one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
