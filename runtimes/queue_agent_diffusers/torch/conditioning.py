"""What leads a model beside the prompt: ControlNets and IP-Adapters that the operator named."""

from collections.abc import Hashable, Mapping
from typing import Any

from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.options import Options
from queue_agent_diffusers.torch.conditioning_files import adapter_files, control_net_folder
from queue_agent_diffusers.torch.control_nets import ControlNets, load_control_nets
from queue_agent_diffusers.torch.ip_adapters import IPAdapters, load_ip_adapters


class Conditioning:
    """Those of one model."""

    def __init__(
        self, control_nets: ControlNets | None = None, ip_adapters: IPAdapters | None = None
    ) -> None:
        self.control_nets = control_nets or ControlNets()
        self.ip_adapters = ip_adapters or IPAdapters()

    @property
    def memory(self) -> int:
        """Bytes of their weights."""
        return self.control_nets.memory + self.ip_adapters.memory

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what is not there, or not for this model."""
        self.control_nets.check(request)
        self.ip_adapters.check(request.image_prompts)

    def batch_key(self, request: ImageRequest) -> Hashable:
        """IP-Adapters act on the network's own layers: equal ones share a pass."""
        return tuple((prompt.name, prompt.scale) for prompt in request.image_prompts)

    def fingerprints(self, request: ImageRequest) -> list[str]:
        """Of the weights of all that leads the request."""
        adapters = self.ip_adapters.fingerprints
        return [
            *(self.control_nets.fingerprint(control) for control in request.controls),
            *(adapters[prompt.name] for prompt in request.image_prompts),
        ]

    def apply(self, request: ImageRequest) -> None:
        """Make the request's IP-Adapters, and no others, act on the network."""
        self.ip_adapters.apply(request.image_prompts)

    def parts(self, request: ImageRequest) -> Mapping[str, Any]:
        """What the request's call of a pipeline has in place of the pipeline's own parts."""
        return self.ip_adapters.parts(request.image_prompts)


def load_conditioning(pipeline: Any, options: Options) -> Conditioning:
    """What the operator named, as far as it suits the pipeline.

    Raises:
        ModelNotFound, ModelUnreadable: one of them cannot be had.
    """
    nets = {name: control_net_folder(source) for name, source in options.control_nets.items()}
    adapters = {name: adapter_files(source) for name, source in options.ip_adapters.items()}
    control_nets = load_control_nets(pipeline, nets, options.control_modes)
    return Conditioning(control_nets, load_ip_adapters(pipeline, adapters))
