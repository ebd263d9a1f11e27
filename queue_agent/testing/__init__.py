"""What authors of adapters and clouds test with; needs the extra ``testing``.

Subclass `RuntimeContract` to test an adapter against its server, `CloudContract` to test a
provider of queues, topics and buckets.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from queue_agent.testing.cloud_contract import CloudContract
    from queue_agent.testing.fault_proxy import FaultProxy
    from queue_agent.testing.process import ServerProcess
    from queue_agent.testing.runtime_contract import RuntimeContract
    from queue_agent.testing.samples import sample_png
    from queue_agent.testing.waiting import eventually

__all__ = [
    "CloudContract",
    "FaultProxy",
    "RuntimeContract",
    "ServerProcess",
    "eventually",
    "sample_png",
]

_MODULES: Final = {
    "CloudContract": "cloud_contract",
    "FaultProxy": "fault_proxy",
    "RuntimeContract": "runtime_contract",
    "ServerProcess": "process",
    "eventually": "waiting",
    "sample_png": "samples",
}


def __getattr__(name: str) -> Any:
    """Import on use: whoever wants a server in a process needs no pytest."""
    if name not in _MODULES:
        raise AttributeError(name)
    module = f"{__name__}.{_MODULES[name]}"
    if name.endswith("Contract") and module not in sys.modules:
        import pytest  # noqa: PLC0415

        pytest.register_assert_rewrite(module)
    return getattr(import_module(module), name)
