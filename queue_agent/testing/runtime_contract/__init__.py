"""The promises of an adapter, one test each; every adapter passes them.

    class TestMyRuntime(RuntimeContract):
        adapter = MyRuntime

        @classmethod
        def new_server(cls) -> ServerProcess:
            return ServerProcess([sys.executable, "-m", "my_fake", "--port", "{port}"])

        def jobs(self): ...  # and the other hooks of `RuntimeHooks`

Every hook that raises `NotImplementedError` there is to be overridden. The server may be the
real one or a fake that refuses what the real one refuses. The tests wait for what the server
says of itself, never for time, so that they hold on a slow machine too.
"""

from queue_agent.testing.runtime_contract.hooks import RuntimeHooks
from queue_agent.testing.runtime_contract.promises import RuntimeContract

__all__ = ["RuntimeContract", "RuntimeHooks"]
