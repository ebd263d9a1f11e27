"""A busy pod goes last: the agent marks its own pod while a job runs.

Three annotations say the same to three parties: the ReplicaSet controller takes pods with a lower
deletion cost first when it scales in, and neither Karpenter nor the cluster autoscaler empties a
node under a marked pod. An idle pod carries none of them.

A spot node that is reclaimed is drained by Karpenter, which waits for pods that must not be
disrupted until the instance is gone: there the pod goes without that annotation, is told to stop
at the notice, and has the two minutes for its job.

https://kubernetes.io/docs/reference/labels-annotations-taints/#pod-deletion-cost
https://karpenter.sh/docs/concepts/disruption/#pod-level-controls
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import httpx
import structlog

from queue_agent.wire.errors import SettingsError

log = structlog.get_logger()

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT: Final = 3.0
_SHORTEST_PAUSE: Final = 10.0
_LONGEST_PAUSE: Final = 300.0
"""Seconds until a mark that was refused is tried once more."""
DO_NOT_DISRUPT: Final = "karpenter.sh/do-not-disrupt"
BUSY: Final = {
    "controller.kubernetes.io/pod-deletion-cost": "1000",
    DO_NOT_DISRUPT: "true",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
}
"""The chart's admission policy allows these annotations and no others."""
_IDLE: Final = dict.fromkeys(BUSY)
"""In a merge patch null removes a key (RFC 7396)."""


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
    ) -> None:
        """`client` speaks to the API server; `token` is the file that Kubernetes renews.

        `do_not_disrupt`: Karpenter is told, too.
        """
        self._client = client
        self._busy = {
            name: value for name, value in BUSY.items() if do_not_disrupt or name != DO_NOT_DISRUPT
        }
        self._path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
        self._token = token
        self._marked: bool | None = None

    @classmethod
    def in_cluster(
        cls,
        environment: Mapping[str, str],
        *,
        do_not_disrupt: bool = True,
        service_account: Path = SERVICE_ACCOUNT,
    ) -> Self:
        """For the pod this process runs in, as ``POD_NAME`` and ``POD_NAMESPACE`` name it.

        Raises:
            SettingsError: the process runs in no pod, or the pod was given no token.
        """
        names = ("POD_NAME", "POD_NAMESPACE", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
        missing = [name for name in names if not environment.get(name)]
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
        return cls(client, namespace=namespace, pod=pod, token=token, do_not_disrupt=do_not_disrupt)

    async def busy(self) -> None:
        """A job runs: take other pods first."""
        await self._mark(busy=True)

    async def idle(self) -> None:
        """No job runs: this pod may go."""
        await self._mark(busy=False)

    async def follow(self, *, busy: asyncio.Event, idle: asyncio.Event) -> None:
        """Mark the pod as the events say, until cancelled; again where the API server refuses.

        An agent that crashed may have left its mark, so the first is set, whichever it is.
        """
        pause = _SHORTEST_PAUSE
        while True:
            wanted = busy.is_set()
            await self._mark(busy=wanted)
            refused = self._marked is not wanted
            with suppress(TimeoutError):
                async with asyncio.timeout(pause if refused else None):
                    await (idle if wanted else busy).wait()
            pause = min(2 * pause, _LONGEST_PAUSE) if refused else _SHORTEST_PAUSE

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _mark(self, *, busy: bool) -> None:
        if busy is self._marked:
            return
        self._marked = None  # until the API server has said so
        try:
            answer = await self._client.patch(
                self._path,
                json={"metadata": {"annotations": self._busy if busy else _IDLE}},
                headers={
                    "Authorization": f"Bearer {self._token.read_text().strip()}",
                    "Content-Type": "application/merge-patch+json",
                },
            )
            answer.raise_for_status()
        except (httpx.HTTPError, OSError) as error:
            reason = str(error) or type(error).__name__
            log.warning("pod not marked", busy=busy, reason=reason)
        else:
            self._marked = busy
