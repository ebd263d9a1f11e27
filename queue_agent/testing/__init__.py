"""What authors of adapters test with; needs the extra ``testing``.

Subclass `RuntimeContract` to test an adapter against its server.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queue_agent.testing.fault_proxy import FaultProxy
    from queue_agent.testing.process import ServerProcess
    from queue_agent.testing.runtime_contract import RuntimeContract

__all__ = ["FaultProxy", "RuntimeContract", "ServerProcess"]


def __getattr__(name: str) -> Any:
    """Import on use: the fakes live in this package too and start faster without pytest."""
    match name:
        case "RuntimeContract":
            import pytest  # noqa: PLC0415

            pytest.register_assert_rewrite("queue_agent.testing.runtime_contract")
            from queue_agent.testing.runtime_contract import RuntimeContract  # noqa: PLC0415

            return RuntimeContract
        case "FaultProxy":
            from queue_agent.testing.fault_proxy import FaultProxy  # noqa: PLC0415

            return FaultProxy
        case "ServerProcess":
            from queue_agent.testing.process import ServerProcess  # noqa: PLC0415

            return ServerProcess
    raise AttributeError(name)
