"""The project's images, where no registry has them: `cdk deploy` builds and pushes them.

An asset is of one platform, so what runs on system nodes has one of its own.
"""

from pathlib import Path
from typing import Final

from aws_cdk import IgnoreMode
from aws_cdk.aws_ec2 import InstanceArchitecture
from aws_cdk.aws_ecr_assets import DockerImageAsset, Platform
from constructs import Construct

from image_service.chart_values import Values
from image_service.config import RuntimeConfig

ROOT: Final = Path(__file__).resolve().parents[2]

_ON_GPU_NODES: Final = {
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
}
"""What needs no GPU, and has no other node that could run its image."""


class BuiltImages(Construct):
    """The agent's and the bundled runtime's; `values` names them to the chart."""

    def __init__(
        self, scope: Construct, construct_id: str, *, runtime: RuntimeConfig,
        system: InstanceArchitecture | None,
    ) -> None:  # fmt: skip
        """`system`: of the nodes that are not for GPUs; None: not known."""
        super().__init__(scope, construct_id)
        agent = {"image": self._built("Agent", "agent", Platform.LINUX_AMD64)}
        self.values: Values = {"agent": agent}
        if runtime.has_services and system == InstanceArchitecture.ARM_64:
            agent["serviceImage"] = self._built("Services", "agent", Platform.LINUX_ARM64)
        elif system != InstanceArchitecture.X86_64:
            self.values["helmTest"] = _ON_GPU_NODES
        if not runtime.image.repository:
            bundled = self._built("Diffusers", "diffusers", Platform.LINUX_AMD64)
            self.values["runtime"] = {"image": bundled}

    def _built(self, construct_id: str, target: str, platform: Platform) -> Values:
        image = DockerImageAsset(
            self,
            construct_id,
            directory=str(ROOT),
            target=target,
            platform=platform,
            ignore_mode=IgnoreMode.DOCKER,
            display_name=f"sd-queue-agent {construct_id}",
        )
        return {"repository": image.repository.repository_uri, "tag": image.image_tag}
