"""What authors of adapters test with; needs the extra ``testing``.

Subclass `RuntimeContract` to test an adapter against its server.
"""

import pytest

pytest.register_assert_rewrite("queue_agent.testing.contract")

from queue_agent.server_process import ServerProcess  # noqa: E402  after the rewrite hook
from queue_agent.testing.contract import RuntimeContract  # noqa: E402  after the rewrite hook
from queue_agent.testing.fault_proxy import FaultProxy  # noqa: E402  after the rewrite hook

__all__ = ["FaultProxy", "RuntimeContract", "ServerProcess"]
